"""Restore photos, away from the web server: no Django, no database, no network.

A worker starts ``python -m media COMMAND`` as a limited process, writes one JSON
request to its standard input and reads JSON lines from its standard output.
"""

"""Connections that this server opens: safe HTTP to strangers' hosts, and local mail."""

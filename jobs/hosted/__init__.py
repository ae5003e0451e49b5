"""Hosted work: what this server's own media engine does for people, and its prices."""

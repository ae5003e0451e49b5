"""Connections that this server opens: safe HTTP to unknown hosts, and local mail."""

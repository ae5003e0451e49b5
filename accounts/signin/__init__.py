"""Signing in and out: passwords, sessions, devices, and the ownership of an email."""

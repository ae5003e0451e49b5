"""Passkeys: the WebAuthn ceremonies, enrolment, and signing in."""

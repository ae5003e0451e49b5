"""Passkeys: WebAuthn ceremonies, enrolment and sign-in."""

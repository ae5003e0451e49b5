"""How surely a sign-in is the person's own, where that matters."""

from accounts.models import Session
from focus.errors import DomainError


class SecondProofRequired(DomainError):
    code = "second_proof_required"


def require_second(*, session: Session) -> None:
    """Refuse a sign-in by a passkey that asked for no PIN, finger or face.

    Whoever picked a security key up may look around, but not make themselves at home.
    """
    if "pop" in session.methods and "mfa" not in session.methods:
        raise SecondProofRequired(
            "Sign in with a password, or with a passkey that asks for your PIN, "
            "fingerprint or face, before you add a passkey, token or key."
        )

"""How surely a sign-in is the person's own, where that matters."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from accounts.credentials.principals import TokenEnded
from accounts.models import Session, User
from focus.errors import DomainError

# How long a sign-in counts as a recent proof.
RECENT = timedelta(minutes=10)


def lock_account(*, user: User) -> User:
    """The account that was believed, locked until the transaction ends.

    For whatever adds a way to act for it. Raises `TokenEnded` where all ways have been
    ended since `user` was read: then this one comes too late.
    """
    rows = User.objects.select_for_update(no_key=True)
    row = rows.filter(pk=user.pk, epoch=user.epoch, is_active=True).first()
    if row is None:
        raise TokenEnded("Everything that opened this account was ended just now.")
    return row


class SecondProofRequired(DomainError):
    code = "second_proof_required"


class ProofTooOld(SecondProofRequired):
    """The sign-in is fine and more than `RECENT` ago. Facts: `signin_url`."""


def require_second_proof(*, session: Session) -> None:
    """Refuse a sign-in by a passkey that asked for no PIN, finger or face, and a
    browser's sign-in that is not recent.

    For everything that changes who may act for the account. A person who found an
    unlocked screen or a security key may look around and no more. Sign-ins by tokens
    keep what the guides print for them. Raises `SecondProofRequired` or `ProofTooOld`.
    """
    if "pop" in session.methods and "mfa" not in session.methods:
        raise SecondProofRequired(
            "Sign in with a password, or with a passkey that asks for your PIN, "
            "fingerprint or face, before you add a passkey, token or key."
        )
    in_browser = session.kind == Session.Kind.BROWSER
    if in_browser and timezone.now() - session.created_at > RECENT:
        raise ProofTooOld(
            "Sign in again first: this needs a sign-in of the last 10 minutes.",
            signin_url=f"{settings.PUBLIC_BASE_URL}/signin?again=1",
        )

"""Checks before an account gets a new credential: account lock and recent sign-in."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from accounts.credentials.principals import TokenEnded
from accounts.models import Session, User
from focus.errors import DomainError

# How long a sign-in counts as a recent proof.
RECENT = timedelta(minutes=10)


def lock_account(*, user: User) -> User:
    """Return the account of `user`, locked until the transaction ends.

    Call it before adding a session, token, key or passkey. Account recovery raises the
    `epoch` and ends all of them. If that happened after `user` was read, or the account
    was closed, this raises `TokenEnded`.
    """
    rows = User.objects.select_for_update(no_key=True)
    row = rows.filter(pk=user.pk, epoch=user.epoch, is_active=True).first()
    if row is None:
        raise TokenEnded("Everything that opened this account was ended just now.")
    return row


class SecondProofRequired(DomainError):
    code = "second_proof_required"


class ProofTooOld(SecondProofRequired):
    """The sign-in is strong enough and older than `RECENT`. Facts: `signin_url`."""


def require_second_proof(*, session: Session) -> None:
    """Raise unless `session` is strong and recent enough to change account access.

    Call it before every change of who may act for the account. A person who finds an
    unlocked screen or a security key can then only read.

    Raises `SecondProofRequired` for a passkey sign-in without PIN, fingerprint or face,
    and `ProofTooOld` for a browser sign-in older than `RECENT`. Token sessions need not
    be recent, because the guides promise that.
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

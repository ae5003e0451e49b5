"""One email, several ways in: who holds it, and who has it after somebody's arrival.

What a provider calls a person decides who they are; an email is only an attribute. Who
proves a mailbox gets its address: from an account that never proved it the address is
taken away (*evicted*), and the newcomer gets an account of their own, so that nothing
planted in the old one can follow. Accounts are never merged, and only an account that
has proven the address itself is *linked* to a newcomer who proves it too.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, transaction
from psycopg.errors import DeadlockDetected

from accounts import audit, mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import User
from accounts.signin import passwords, sessions
from focus.errors import DomainError

T = TypeVar("T")
_TRIES = 5


class Again(Exception):
    """What was read is no longer so: the transaction starts anew."""


class EmailInUse(DomainError):
    """A proven account has the email, and the newcomer does not prove it as well."""

    code = "email_in_use"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a newcomer gets: the account that proved the email before (`holder`), or an
    account of their own, with the `email` if it is free for them.
    """

    holder: User | None
    email: str | None


def retry_lost_races(arrive: Callable[[], T]) -> T:
    """Run `arrive` in a transaction of its own and return its result.

    A lost race is retried up to five times; the next try reads what the winner wrote.
    Two arrivals of one person can also deadlock. An account has two unique columns
    (`email`, `clerk_id`), so an insert that waits for one of them can wait for an
    update that waits for the other. PostgreSQL then ends one of the two transactions,
    and that one starts again.
    """
    for _ in range(_TRIES - 1):
        try:
            with transaction.atomic(durable=True):
                return arrive()
        except (IntegrityError, Again):
            continue
        except OperationalError as refusal:
            if not isinstance(refusal.__cause__, DeadlockDetected):
                raise
    with transaction.atomic(durable=True):
        return arrive()


def claim(
    *, email: str, proven: bool, way: str, visitor: Visitor = NO_VISITOR
) -> Claim:
    """Decide about the `email` of somebody new, who came by `way`.

    In the transaction that opens or links their account. An email that is none of ours
    counts as none. Raises `EmailInUse`.
    """
    address = _normal(email)
    if address is None:
        return Claim(None, None)
    # Locked: what they have proven cannot change meanwhile.
    rows = User.objects.with_email(address).select_for_update(no_key=True)
    holder = rows.first()
    if holder is None:
        return Claim(None, address)
    if proven and holder.email_verified_at is not None:
        return Claim(holder, address)
    if proven:
        evict(holder=holder, way=way, visitor=visitor)
        return Claim(None, address)
    if holder.email_verified_at is not None:
        raise EmailInUse(
            "An account has this email. Sign in as you did before, then link the other "
            "way in on its security page."
        )
    # Neither has proven it, so who came first keeps it.
    return Claim(None, None)


def evict(*, holder: User, way: str, visitor: Visitor = NO_VISITOR) -> None:
    """Take its email away from a locked account that never proved it.

    The account keeps its id, credits and history; its sessions end. A mail goes to the
    address, where its owner reads it.
    """
    mails.write(
        user=holder,
        subject="Your email address was removed from an account",
        what="You have just verified that this address is yours. Another account used "
        "it without verification. We removed the address from that account and signed "
        "it out everywhere. You have a separate account. If the other account is yours "
        "too, contact support: its credits are still there.",
        visitor=visitor,
    )
    actor = f"system:{way}"
    audit.record("email_evicted", user=holder, actor=actor, visitor=visitor)
    holder.email, holder.email_verified_at = None, None
    holder.save(update_fields=["email", "email_verified_at"])
    sessions.revoke_all(user=holder, actor=actor, visitor=visitor)


def mail_identity_linked(
    *, user: User, name: str, visitor: Visitor = NO_VISITOR
) -> None:
    """Mail to the owner of an account: there is a new way in."""
    mails.write(
        user=user,
        subject=f"{name} can now sign in to your account",
        what=f"A {name} account was linked to your account. It can now sign in to it.",
        visitor=visitor,
    )


def mail_email_left_alone(
    *, holder: User, way: str, visitor: Visitor = NO_VISITOR
) -> None:
    """Tell the owner of an email that an account without it is, by its proof, theirs.

    It could not be linked: it is there already, or `holder` has another such way in.
    """
    actor = f"system:{way}"
    audit.record("email_left_alone", user=holder, actor=actor, visitor=visitor)
    mails.write(
        user=holder,
        subject="Another account verified your email address",
        what="A person verified your email address with our sign-in service and has a "
        "separate account, without an address. Your account did not change, because "
        "accounts are never merged. If both are yours, contact support.",
        visitor=visitor,
    )


def _normal(email: str) -> str | None:
    # Who proves an address that only looks like another has proven another mailbox.
    if unicodedata.normalize("NFKC", email) != email:
        return None
    try:
        return passwords.normal_email(email) if email else None
    except (passwords.InvalidEmail, ValidationError):
        return None

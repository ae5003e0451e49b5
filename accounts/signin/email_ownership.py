"""Email ownership: which account gets an address when a provider signs in a new user.

The provider's id identifies a user; an email is only an attribute. These rules stop an
attacker who registers another person's address first (decision 0012):

* A newcomer who proves the mailbox gets the address. An account that never proved it
  loses it (*evict*). The newcomer gets a new account, so nothing that the attacker
  planted in the old one follows.
* An account that proved the address itself is *linked* to a newcomer who also proves
it.
* Accounts are never merged.
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


class LostRace(Exception):
    """A concurrent transaction changed the rows: run the transaction again."""


class EmailInUse(DomainError):
    """Another account proved this email, and the newcomer did not prove it."""

    code = "email_in_use"


@dataclass(frozen=True, slots=True)
class Claim:
    """The result of `claim`: link the newcomer to `holder`, or open a new account.

    A new account gets `email`, which is None if the address is not free.
    """

    holder: User | None
    email: str | None


def retry_lost_races(arrive: Callable[[], T]) -> T:
    """Run `arrive` in a transaction of its own and return its result.

    A lost race is retried up to five times; the next try reads what the winner wrote.
    Two arrivals of one person can also deadlock, because `email` and `clerk_id` are
    unique columns. An insert that waits for one column can wait for an update that
    waits for the other. PostgreSQL then ends one of the two transactions, and that one
    starts again.
    """
    for _ in range(_TRIES - 1):
        try:
            with transaction.atomic(durable=True):
                return arrive()
        except (IntegrityError, LostRace):
            continue
        except OperationalError as refusal:
            if not isinstance(refusal.__cause__, DeadlockDetected):
                raise
    with transaction.atomic(durable=True):
        return arrive()


def claim(
    *, email: str, proven: bool, way: str, visitor: Visitor = NO_VISITOR
) -> Claim:
    """Decide which account gets the `email` of a new user of the provider `way`.

    Call it in the transaction that opens or links the account. It locks the account
    that has the email and may evict it. An invalid email counts as no email. Raises
    `EmailInUse`.
    """
    address = _normal(email)
    if address is None:
        return Claim(None, None)
    # The lock keeps `email_verified_at` from changing before the commit.
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
    # Neither account proved the address, so the first one keeps it.
    return Claim(None, None)


def evict(*, holder: User, way: str, visitor: Visitor = NO_VISITOR) -> None:
    """Remove the email from a locked account that never proved it.

    The account keeps its id, credits and history; its sessions end. A mail tells the
    owner of the address.
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
    """Mail the user that an account of the provider `name` can now sign in."""
    mails.write(
        user=user,
        subject=f"{name} can now sign in to your account",
        what=f"A {name} account was linked to your account. It can now sign in to it.",
        visitor=visitor,
    )


def mail_email_left_alone(
    *, holder: User, way: str, visitor: Visitor = NO_VISITOR
) -> None:
    """Mail `holder` that a separate account proved the same email.

    The two cannot be linked: both accounts exist already, or `holder` has another
    identity of that provider.
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
    # NFKC would turn a look-alike address into another one, and the newcomer has not
    # proved that mailbox.
    if unicodedata.normalize("NFKC", email) != email:
        return None
    try:
        return passwords.normal_email(email) if email else None
    except (passwords.InvalidEmail, ValidationError):
        return None

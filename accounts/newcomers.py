"""One email, several ways in: whose account it is when somebody comes by another way.

What a provider calls a person (`Identity`) decides; an email is only an attribute. Who
proves a mailbox gets its address: from an account that never proved it the address is
taken away (*evicted*), and the newcomer gets an account of their own, so that nothing
planted in the old one can follow. Accounts are never merged, and only an account that
has proven the address itself is *linked* to a newcomer who proves it too.
"""

from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, mails, passwords, sessions
from accounts.audit import NOBODY, Visitor
from accounts.google import PROVIDER as GOOGLE
from accounts.google import Claims
from accounts.models import Identity, User
from focus.errors import DomainError

T = TypeVar("T")


class _Again(Exception):
    """What was read is no longer so."""


# Each try that fails has lost a race to somebody who has committed, so the next one
# sees what they did.
_TRIES = 5


class AccountClosed(DomainError):
    code = "account_closed"


class EmailInUse(DomainError):
    """A proven account has the email, and this provider does not prove it as well."""

    code = "email_in_use"


class AlreadyLinked(DomainError):
    code = "already_linked"


def by_google(
    *, claims: Claims, begin: Callable[[User], T], visitor: Visitor = NOBODY
) -> T:
    """Let `begin` open a sign-in for whoever Google says it is, in one transaction.

    An account is found by Google's subject, opened, or linked by a proven email. Safe
    under any number of parallel arrivals. Raises `AccountClosed` and `EmailInUse`.
    """

    def arrive() -> T:
        user = _known(claims)
        if user is None:
            user, was_there = _newcomer(claims, visitor)
            _link(user, claims, visitor, tell=was_there)
        if not user.is_active:
            raise AccountClosed("This account is closed.")
        return begin(user)

    return _settled(arrive)


def link_google(*, user: User, claims: Claims, visitor: Visitor = NOBODY) -> Identity:
    """Let this Google account sign `user` in as well, who is signed in now.

    Their email stays as it is, proven or not. Raises `AlreadyLinked` where it signs in
    somebody else. Twice is once.
    """

    def arrive() -> Identity:
        row = User.objects.select_for_update(no_key=True).get(pk=user.pk)
        identity = Identity.objects.filter(provider=GOOGLE, subject=claims.subject)
        linked = identity.first()
        if linked is None:
            return _link(row, claims, visitor, tell=True)
        if linked.user_id != row.pk:
            raise AlreadyLinked("That Google account signs in another account here.")
        return linked

    return _settled(arrive)


def _settled(arrive: Callable[[], T]) -> T:
    """What `arrive` comes to in a transaction of its own, where no twin was faster."""
    for _ in range(_TRIES - 1):
        try:
            with transaction.atomic(durable=True):
                return arrive()
        except (IntegrityError, _Again):
            continue
    with transaction.atomic(durable=True):
        return arrive()


def _known(claims: Claims) -> User | None:
    """The person whom Google's subject signs in, locked, if there is one."""
    linked = Identity.objects.filter(provider=GOOGLE, subject=claims.subject)
    found = linked.first()
    if found is None:
        return None
    # The account before its identities, as unlinking locks them.
    user = User.objects.select_for_update(no_key=True).get(pk=found.user_id)
    seen = linked.filter(user=user).update(
        email=claims.email, last_used_at=timezone.now()
    )
    if not seen:
        raise _Again
    return user


def _newcomer(claims: Claims, visitor: Visitor) -> tuple[User, bool]:
    """The account for somebody whom we do not know by Google's subject, and whether it
    was there before.
    """
    email = _normal(claims.email)
    holder = _holder(email) if email else None
    if holder is None:
        return _open(email, claims, visitor), False
    if claims.proves_email:
        if holder.email_verified_at is not None:
            return holder, True
        evict(holder=holder, way=GOOGLE, visitor=visitor)
        return _open(email, claims, visitor), False
    if holder.email_verified_at is not None:
        raise EmailInUse(
            "An account has this email. Sign in as you did before, then link Google on "
            "your account page."
        )
    # Neither has proven it, so who came first keeps it.
    return _open(None, claims, visitor), False


def evict(*, holder: User, way: str, visitor: Visitor = NOBODY) -> None:
    """Take its email away from a locked account that never proved it.

    The account keeps its id, credits and history; its sessions end. A mail goes to the
    address, where its owner reads it.
    """
    mails.write(
        user=holder,
        subject="Your email address was taken off an account",
        what="You have just shown that this mailbox is yours. Another account had its "
        "address without ever having shown that, so the address was taken off it and "
        "that account is signed out everywhere. You have an account of your own. If "
        "the other one was yours too, its credits are still there: write to support.",
        visitor=visitor,
    )
    audit.record("email_evicted", user=holder, actor=way, visitor=visitor)
    holder.email, holder.email_verified_at = None, None
    holder.save(update_fields=["email", "email_verified_at"])
    sessions.revoke_all(user=holder, actor=f"evicted by {way}", visitor=visitor)


def _open(email: str | None, claims: Claims, visitor: Visitor) -> User:
    now = timezone.now()
    user = User(
        email=email,
        email_verified_at=now if email and claims.proves_email else None,
        first_name=claims.first_name,
        last_name=claims.last_name,
    )
    user.set_unusable_password()
    user.save(force_insert=True)
    audit.record("registered", user=user, visitor=visitor, method=GOOGLE)
    return user


def _link(user: User, claims: Claims, visitor: Visitor, *, tell: bool) -> Identity:
    now = timezone.now()
    identity = Identity.objects.create(
        user=user,
        provider=GOOGLE,
        subject=claims.subject,
        email=claims.email,
        created_at=now,
        last_used_at=now,
    )
    audit.record("identity_linked", user=user, visitor=visitor, provider=GOOGLE)
    if tell:
        mails.write(
            user=user,
            subject="Google signs in to your account now",
            what="A Google account was linked to your account and can sign in to it.",
            visitor=visitor,
        )
    return identity


def _holder(email: str) -> User | None:
    """Who has the email, locked: what they have proven cannot change meanwhile."""
    return User.objects.with_email(email).select_for_update(no_key=True).first()


def _normal(email: str) -> str | None:
    try:
        return passwords.normal_email(email) if email else None
    except passwords.InvalidEmail:
        return None

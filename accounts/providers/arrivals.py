"""Arrivals: users who sign in at Clerk or at Google, and their accounts here.

The identity of a user is the provider's id, never an email. One id has one account,
however many first calls arrive at once. `accounts.signin.email_ownership` decides what
the email of an arrival is worth.

While Clerk's API does not answer, a new user gets an account without an email. A row of
the queue `QUEUE` makes a worker read the email and the name from Clerk later.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import proofs
from accounts.credentials.principals import TokenEnded
from accounts.models import ClerkLookup, Identity, User
from accounts.providers import clerk_backend
from accounts.providers.clerk_backend import Profile
from accounts.providers.google import PROVIDER as GOOGLE
from accounts.providers.google import Claims
from accounts.providers.outbound import ServiceDown
from accounts.signin import email_ownership
from focus import due
from focus.background.sweeps import Sweep
from focus.errors import DomainError

T = TypeVar("T")

# How long one run goes on. Beat starts the next one 15 seconds later.
RUN_SECONDS = 20
QUEUE = due.Queue(
    ClerkLookup.objects.select_related("user"),
    task="accounts.learn_from_clerk",
    # Longer than a request to Clerk takes.
    lease=timedelta(seconds=30),
    backoff=due.Backoff(first=timedelta(seconds=30), longest=timedelta(hours=6)),
    is_on=clerk_backend.is_configured,
)


class AccountClosed(DomainError):
    code = "account_closed"


class IdentityTaken(DomainError):
    """The identity signs in another account."""

    code = "already_linked"


def by_clerk(*, clerk_id: str, visitor: Visitor = NO_VISITOR) -> User:
    """Return the account of Clerk user `clerk_id`; the first call opens or links it.

    The first call asks Clerk for the user's email. Where Clerk does not answer, the
    account opens without one, and a worker asks again later. Asks Clerk, so no
    transaction may be open. Raises `TokenEnded` where the account to link is closed.
    """
    known = User.objects.filter(clerk_id=clerk_id).first()
    if known is not None:
        return known
    profile = _profile_if_available(clerk_id)
    return email_ownership.retry_lost_races(
        lambda: _first_seen(clerk_id, profile, visitor)
    )


def by_google(
    *, claims: Claims, begin: Callable[[User], T], visitor: Visitor = NO_VISITOR
) -> T:
    """Find, link or open the account of a Google user; return what `begin` returns.

    The account is found by Google's subject, else linked by an email that both sides
    have proven, else opened. `begin` opens the sign-in in the same transaction. Safe
    with any number of parallel arrivals, so `begin` may run more than once. Raises
    `AccountClosed` and `email_ownership.EmailInUse`.
    """

    def arrive() -> T:
        user = _locked_account(claims) or _newcomer(claims, visitor)
        if not user.is_active:
            raise AccountClosed("This account is closed.")
        return begin(user)

    return email_ownership.retry_lost_races(arrive)


def link_google(
    *, user: User, claims: Claims, visitor: Visitor = NO_VISITOR
) -> Identity:
    """Let a Google account sign in `user`, who is signed in now. Idempotent.

    The email of `user` stays as it is. Mails the user about a new link. Raises
    `IdentityTaken` where the Google account signs in another account.
    """

    def arrive() -> Identity:
        row = proofs.lock_account(user=user)
        linked = _linked(claims).first()
        if linked is None:
            email_ownership.mail_identity_linked(
                user=row, name="Google", visitor=visitor
            )
            return _link(row, claims, visitor)
        if linked.user_id != row.pk:
            raise IdentityTaken("That Google account signs in another account here.")
        return linked

    return email_ownership.retry_lost_races(arrive)


def learn_due(*, limit: int = 100) -> int:
    """Ask Clerk about users who arrived while it did not answer.

    Runs for `RUN_SECONDS` at most, and does nothing without a key for Clerk's API.
    Returns how many users are done.
    """
    sweep, done = Sweep("accounts.learn_from_clerk"), 0
    ends = time.monotonic() + RUN_SECONDS
    for _ in range(limit if clerk_backend.is_configured() else 0):
        lookup = QUEUE.claim() if time.monotonic() < ends else None
        if lookup is None:
            break
        with sweep.each(lookup.pk):
            done += _look_up(lookup)
    return done


def _look_up(lookup: ClerkLookup) -> bool:
    """Whether Clerk answered and this worker wrote the answer down."""
    done = False
    try:
        profile = _profile_if_available(str(lookup.user.clerk_id))
        if profile is not None:
            done = email_ownership.retry_lost_races(partial(_learned, lookup, profile))
    finally:
        if not done:
            QUEUE.retry(lookup)
    return done


def _learned(lookup: ClerkLookup, profile: Profile) -> bool:
    """Write Clerk's answer and delete the lookup. False where the lookup is lost."""
    user = User.objects.select_for_update(no_key=True).get(pk=lookup.user_id)
    ended, _ = QUEUE.claimed_row(lookup).delete()
    if ended:
        _fill_in_profile(user, profile)
    return bool(ended)


def _profile_if_available(clerk_id: str) -> Profile | None:
    """Return what Clerk knows, or None where Clerk cannot be asked now."""
    if not clerk_backend.is_configured():
        return None
    try:
        return clerk_backend.fetch_profile(clerk_id=clerk_id)
    except ServiceDown:
        return None


def _first_seen(clerk_id: str, profile: Profile | None, visitor: Visitor) -> User:
    twin = User.objects.filter(clerk_id=clerk_id).first()
    if twin is not None:
        return twin
    user = User(clerk_id=clerk_id)
    if profile is not None and profile.email is not None:
        claim = _claim_clerks(profile.email, visitor)
        if claim.holder is not None and claim.holder.clerk_id is None:
            if not claim.holder.is_active:
                raise TokenEnded("The token is invalid.")
            return _link_clerk(claim.holder, clerk_id, visitor)
        _take_email(user, claim, visitor)
    if profile is not None:
        user.first_name, user.last_name = profile.first_name, profile.last_name
    user.set_unusable_password()
    user.save(force_insert=True)
    audit.record("registered", user=user, visitor=visitor, by="clerk")
    if profile is None:
        ClerkLookup.objects.create(user=user, due_at=due.NOW)
    return user


def _link_clerk(holder: User, clerk_id: str, visitor: Visitor) -> User:
    holder.clerk_id = clerk_id
    holder.save(update_fields=["clerk_id"])
    audit.record("identity_linked", user=holder, visitor=visitor, provider="clerk")
    email_ownership.mail_identity_linked(
        user=holder, name="Focus sign-in (Clerk)", visitor=visitor
    )
    return holder


def _fill_in_profile(user: User, profile: Profile) -> None:
    """Fill in the name and the email that `user` has not set meanwhile.

    An email that another account has proven stays with that account: accounts are never
    merged.
    """
    user.first_name = user.first_name or profile.first_name
    user.last_name = user.last_name or profile.last_name
    if user.email is None and profile.email is not None:
        _take_email(user, _claim_clerks(profile.email, NO_VISITOR), NO_VISITOR)
    user.save(update_fields=["first_name", "last_name", "email", "email_verified_at"])


def _take_email(user: User, claim: email_ownership.Claim, visitor: Visitor) -> None:
    """Give `user` an email that is free; mail the holder of one that is not."""
    if claim.holder is not None:
        email_ownership.mail_email_left_alone(
            holder=claim.holder, way="clerk", visitor=visitor
        )
    elif claim.email is not None:
        user.email, user.email_verified_at = claim.email, timezone.now()


def _claim_clerks(email: str, visitor: Visitor) -> email_ownership.Claim:
    return email_ownership.claim(email=email, proven=True, way="clerk", visitor=visitor)


def _locked_account(claims: Claims) -> User | None:
    """Return the locked account that Google's subject signs in, or None."""
    found = _linked(claims).first()
    if found is None:
        return None
    # The account before its identities, as unlinking locks them.
    user = User.objects.select_for_update(no_key=True).get(pk=found.user_id)
    seen = _linked(claims).filter(user=user)
    if not seen.update(email=claims.email, last_used_at=timezone.now()):
        raise email_ownership.LostRace
    return user


def _newcomer(claims: Claims, visitor: Visitor) -> User:
    """Link an account to a new Google subject, or open one; return it."""
    proven = claims.proves_email
    claim = email_ownership.claim(
        email=claims.email, proven=proven, way=GOOGLE, visitor=visitor
    )
    user = claim.holder
    if user is None:
        user = User(
            email=claim.email,
            email_verified_at=timezone.now() if claim.email and proven else None,
            first_name=claims.first_name,
            last_name=claims.last_name,
        )
        user.set_unusable_password()
        user.save(force_insert=True)
        audit.record("registered", user=user, visitor=visitor, by=GOOGLE)
    else:
        email_ownership.mail_identity_linked(user=user, name="Google", visitor=visitor)
    _link(user, claims, visitor)
    return user


def _link(user: User, claims: Claims, visitor: Visitor) -> Identity:
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
    return identity


def _linked(claims: Claims) -> QuerySet[Identity]:
    return Identity.objects.filter(provider=GOOGLE, subject=claims.subject)

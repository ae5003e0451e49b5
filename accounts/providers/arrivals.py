"""People who arrive with somebody else's word for who they are: Clerk's, or Google's.

The identity is the provider's id of them, never an email; one id has one account under
any number of first calls at once. What an email that comes with it is worth, is decided
in holders.py.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from django.db import transaction
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
from focus.background.sweeps import Sweep
from focus.errors import DomainError

T = TypeVar("T")

# How long one run goes on; the next is rung for 15 seconds later.
RUN_SECONDS = 20
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=6)


class AccountClosed(DomainError):
    code = "account_closed"


class IdentityTaken(DomainError):
    code = "already_linked"


def by_clerk(*, clerk_id: str, visitor: Visitor = NO_VISITOR) -> User:
    """The account of this person at Clerk, made or linked when they are first seen.

    Clerk is asked for their email then, if it may be; where it cannot answer the
    account is there at once, and the email comes later. Never call it in a transaction.
    """
    known = User.objects.filter(clerk_id=clerk_id).first()
    if known is not None:
        return known
    profile = _ask(clerk_id)
    return email_ownership.settled(lambda: _first_seen(clerk_id, profile, visitor))


def by_google(
    *, claims: Claims, begin: Callable[[User], T], visitor: Visitor = NO_VISITOR
) -> T:
    """Let `begin` open a sign-in for whoever Google says it is, in one transaction.

    An account is found by Google's subject, opened, or linked by a proven email. Safe
    under any number of parallel arrivals. Raises `AccountClosed` and
    `holders.EmailInUse`.
    """

    def arrive() -> T:
        user = _known(claims) or _newcomer(claims, visitor)
        if not user.is_active:
            raise AccountClosed("This account is closed.")
        return begin(user)

    return email_ownership.settled(arrive)


def link_google(
    *, user: User, claims: Claims, visitor: Visitor = NO_VISITOR
) -> Identity:
    """Let this Google account sign `user` in as well, who is signed in now.

    Their email stays as it is, proven or not. Raises `IdentityTaken` where it signs in
    somebody else. Twice is once.
    """

    def arrive() -> Identity:
        row = proofs.hold(user=user)
        linked = _linked(claims).first()
        if linked is None:
            email_ownership.tell_linked(user=row, name="Google", visitor=visitor)
            return _link(row, claims, visitor)
        if linked.user_id != row.pk:
            raise IdentityTaken("That Google account signs in another account here.")
        return linked

    return email_ownership.settled(arrive)


def learn_due(*, limit: int = 100) -> int:
    """Ask Clerk for those whom it could not tell us about. Returns how many are done.

    Each try moves its row on before it asks, so two workers never ask for the same one.
    """
    sweep, done = Sweep("accounts.learn_from_clerk"), 0
    ends = time.monotonic() + RUN_SECONDS
    for _ in range(limit if clerk_backend.configured() else 0):
        lookup = _next(timezone.now()) if time.monotonic() < ends else None
        if lookup is None:
            break
        with sweep.each(lookup.pk):
            profile = _ask(str(lookup.user.clerk_id))
            if profile is not None:
                email_ownership.settled(partial(_learned, lookup, profile))
                done += 1
    return done


def _learned(lookup: ClerkLookup, profile: Profile) -> None:
    user = User.objects.select_for_update(no_key=True).get(pk=lookup.user_id)
    _learn(user, profile)
    ClerkLookup.objects.filter(pk=lookup.pk).delete()


@transaction.atomic
def _next(now: datetime) -> ClerkLookup | None:
    lookup = (
        ClerkLookup.objects.select_for_update(
            no_key=True, skip_locked=True, of=("self",)
        )
        .select_related("user")
        .filter(due_at__lte=now)
        .order_by("tries", "due_at", "pk")
        .first()
    )
    if lookup is not None:
        lookup.due_at = now + min(FIRST_WAIT * 2**lookup.tries, LONGEST_WAIT)
        lookup.tries = min(lookup.tries + 1, 30)
        lookup.save(update_fields=["due_at", "tries"])
    return lookup


def _ask(clerk_id: str) -> Profile | None:
    """None: not now."""
    if not clerk_backend.configured():
        return None
    try:
        return clerk_backend.profile(clerk_id=clerk_id)
    except ServiceDown:
        return None


def _first_seen(clerk_id: str, profile: Profile | None, visitor: Visitor) -> User:
    twin = User.objects.filter(clerk_id=clerk_id).first()
    if twin is not None:
        return twin
    now, user = timezone.now(), User(clerk_id=clerk_id)
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
        ClerkLookup.objects.create(user=user, due_at=now)
    return user


def _link_clerk(holder: User, clerk_id: str, visitor: Visitor) -> User:
    holder.clerk_id = clerk_id
    holder.save(update_fields=["clerk_id"])
    audit.record("identity_linked", user=holder, visitor=visitor, provider="clerk")
    email_ownership.tell_linked(
        user=holder, name="Focus sign-in (Clerk)", visitor=visitor
    )
    return holder


def _learn(user: User, profile: Profile) -> None:
    """Fill in what the person has not said themselves.

    The account is there, so an email that a proven account has is left to that one:
    two accounts are never merged.
    """
    user.first_name = user.first_name or profile.first_name
    user.last_name = user.last_name or profile.last_name
    if user.email is None and profile.email is not None:
        _take_email(user, _claim_clerks(profile.email, NO_VISITOR), NO_VISITOR)
    user.save(update_fields=["first_name", "last_name", "email", "email_verified_at"])


def _take_email(user: User, claim: email_ownership.Claim, visitor: Visitor) -> None:
    """Give a free email to an account of its own; tell the owner of one that is not."""
    if claim.holder is not None:
        email_ownership.tell_left_alone(
            holder=claim.holder, way="clerk", visitor=visitor
        )
    elif claim.email is not None:
        user.email, user.email_verified_at = claim.email, timezone.now()


def _claim_clerks(email: str, visitor: Visitor) -> email_ownership.Claim:
    return email_ownership.claim(email=email, proven=True, way="clerk", visitor=visitor)


def _known(claims: Claims) -> User | None:
    """The person whom Google's subject signs in, locked, if there is one."""
    found = _linked(claims).first()
    if found is None:
        return None
    # The account before its identities, as unlinking locks them.
    user = User.objects.select_for_update(no_key=True).get(pk=found.user_id)
    seen = _linked(claims).filter(user=user)
    if not seen.update(email=claims.email, last_used_at=timezone.now()):
        raise email_ownership.Again
    return user


def _newcomer(claims: Claims, visitor: Visitor) -> User:
    """The account for somebody whom we do not know by Google's subject."""
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
        email_ownership.tell_linked(user=user, name="Google", visitor=visitor)
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

"""People who arrive with somebody else's word for who they are: Clerk's, so far.

The identity is the provider's id of them, never an email; one id has one account under
any number of first calls at once. An email comes with it only where the provider has
seen it proved and nobody here holds it.
"""

from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, clerk_backend, passwords
from accounts.audit import NOBODY, Visitor
from accounts.clerk_backend import Profile
from accounts.models import ClerkLookup, User
from accounts.outbound import ServiceDown

FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=6)


def by_clerk(*, clerk_id: str, visitor: Visitor = NOBODY) -> User:
    """The account of this person at Clerk, made when they are first seen.

    Clerk is asked for their email then, if it may be; where it cannot answer the
    account is there at once, and the email comes later. Never call it in a transaction.
    """
    known = User.objects.filter(clerk_id=clerk_id).first()
    if known is not None:
        return known
    profile = _ask(clerk_id)
    now = timezone.now()
    with transaction.atomic():
        fresh = User(clerk_id=clerk_id)
        fresh.set_unusable_password()
        # Of many at once one inserts; the others wait for it here, and write nothing.
        User.objects.bulk_create([fresh], ignore_conflicts=True)
        user = User.objects.get(clerk_id=clerk_id)
        if user.pk == fresh.pk:
            audit.record("registered", user=user, visitor=visitor, by="clerk")
            if profile is None:
                ClerkLookup.objects.create(user=user, due_at=now)
            else:
                _learn(user, profile, now)
    return user


def learn_due(*, limit: int = 100) -> int:
    """Ask Clerk for those whom it could not tell us about. Returns how many are done.

    Each try moves its row on before it asks, so two workers never ask for the same one.
    """
    done = 0
    for _ in range(limit if clerk_backend.configured() else 0):
        lookup = _claim(timezone.now())
        if lookup is None:
            break
        profile = _ask(str(lookup.user.clerk_id))
        if profile is None:
            continue
        with transaction.atomic():
            user = User.objects.select_for_update(no_key=True).get(pk=lookup.user_id)
            _learn(user, profile, timezone.now())
            lookup.delete()
        done += 1
    return done


@transaction.atomic
def _claim(now: datetime) -> ClerkLookup | None:
    lookup = (
        ClerkLookup.objects.select_for_update(
            no_key=True, skip_locked=True, of=("self",)
        )
        .select_related("user")
        .filter(due_at__lte=now)
        .order_by("due_at", "pk")
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


def _learn(user: User, profile: Profile, now: datetime) -> None:
    """Fill in what the person has not said themselves."""
    user.first_name = user.first_name or profile.first_name
    user.last_name = user.last_name or profile.last_name
    user.save(update_fields=["first_name", "last_name"])
    if user.email is None and profile.email is not None:
        _take_email(user, profile.email, now)


def _take_email(user: User, email: str, now: datetime) -> None:
    """Let `user` have an email that they have proved, unless somebody holds it."""
    try:
        address = passwords.normal_email(email)
    except (passwords.InvalidEmail, ValidationError):
        return
    user.email, user.email_verified_at = address, now
    try:
        with transaction.atomic():
            user.save(update_fields=["email", "email_verified_at"])
    except IntegrityError:
        user.email, user.email_verified_at = None, None

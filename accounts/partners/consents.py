"""Which apps may act for a person: granted by use, revoked on the account page."""

import uuid

from django.db import connection, transaction
from django.db.models import DateTimeField, Func, QuerySet
from django.utils import timezone

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import proofs
from accounts.models import Consent, User
from focus.errors import DomainError

NOW = Func(function="clock_timestamp", output_field=DateTimeField())


class AppNotGranted(DomainError):
    """The person never allowed the app, took it back, or does not exist."""

    code = "app_not_granted"


def grant(*, user: User, app_id: uuid.UUID, after_movement: bool = False) -> bool:
    """Let the app act for the person. Returns whether that is new.

    Writes nothing where it is granted already, so it may be called on every use. Safe
    under any number of parallel calls. Raises `TokenEnded` where all that opened the
    account was ended since `user` was read.

    `after_movement`: the caller's transaction holds the wallet's lock and has moved
    credits on this consent. A live consent is then locked. So this call waits for a
    revocation that has not committed yet, and renews the consent after it. Without the
    lock, the consent would end before the movement that it allowed.
    """
    live = Consent.objects.filter(user=user, app_id=app_id, revoked_at=None)
    if after_movement:
        live = live.select_for_update(no_key=True)
    if live.values_list("pk").first() is not None:
        return False
    with transaction.atomic(), connection.cursor() as cursor:
        proofs.lock_account(user=user)
        cursor.execute(
            "INSERT INTO accounts_consent (user_id, app_id, granted_at) "
            "VALUES (%s, %s, %s) ON CONFLICT (user_id, app_id) DO UPDATE "
            "SET granted_at = EXCLUDED.granted_at, revoked_at = NULL "
            "WHERE accounts_consent.revoked_at IS NOT NULL RETURNING id",
            [user.pk, app_id, timezone.now()],
        )
        if cursor.fetchone() is None:
            return False
        audit.record("app_granted", user=user, app_id=str(app_id))
    return True


def is_granted(*, user_id: uuid.UUID, app_id: uuid.UUID) -> bool:
    return Consent.objects.filter(
        user_id=user_id, app_id=app_id, revoked_at=None
    ).exists()


def is_revoked(*, user: User, app_id: uuid.UUID) -> bool:
    """Whether the person took this app's permission back and never renewed it."""
    rows = Consent.objects.filter(user=user, app_id=app_id)
    return rows.filter(revoked_at__isnull=False).exists()


def was_ever_granted(*, user: User, app_id: uuid.UUID) -> bool:
    """Whether the person ever let this app act for them."""
    return Consent.objects.filter(user=user, app_id=app_id).exists()


def require(*, user_id: uuid.UUID, app_id: uuid.UUID) -> None:
    """Let pass what a person allowed this app; raises `AppNotGranted` otherwise.

    A closed account allows nothing any more.
    """
    live = Consent.objects.filter(user__is_active=True, revoked_at=None)
    if not live.filter(user=user_id, app=app_id).exists():
        raise AppNotGranted("This person has not let the app spend their credits.")


def granted(*, user: User) -> QuerySet[Consent]:
    """The apps that may act for `user` now, newest first."""
    return (
        Consent.objects.select_related("app")
        .filter(user=user, revoked_at=None)
        .order_by("-granted_at", "-id")
    )


@transaction.atomic
def revoke(*, user: User, app_id: uuid.UUID, visitor: Visitor = NO_VISITOR) -> bool:
    """Take the app's permission back. Returns whether it had one.

    Waits for a charge by the app that is under way; once this is committed, no charge
    beyond what is reserved can follow.
    """
    live = Consent.objects.filter(user=user, app_id=app_id, revoked_at=None)
    # Locked first: the moment comes after every charge that this has waited for. By the
    # database's clock, as the charges' own.
    row = live.select_for_update(no_key=True).first()
    if row is not None:
        row.revoked_at = NOW
        row.save(update_fields=["revoked_at"])
        audit.record("app_revoked", user=user, visitor=visitor, app_id=str(app_id))
    return row is not None

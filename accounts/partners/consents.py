"""Users' consents to apps: granted by use, revoked on the account page."""

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
    """The user has never allowed the app, has revoked it, or does not exist."""

    code = "app_not_granted"


def grant(*, user: User, app_id: uuid.UUID, after_movement: bool = False) -> bool:
    """Grant the app consent to act for the user. Return whether the consent is new.

    Writes nothing if the consent is already live, so callers may call it on every use.
    Safe under parallel calls. Raises `TokenEnded` if all access to the account has been
    ended since `user` was read.

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
    """Return whether the user's consent to this app is live."""
    return Consent.objects.filter(
        user_id=user_id, app_id=app_id, revoked_at=None
    ).exists()


def is_revoked(*, user: User, app_id: uuid.UUID) -> bool:
    """Return whether the user has revoked this app and not granted it again."""
    rows = Consent.objects.filter(user=user, app_id=app_id)
    return rows.filter(revoked_at__isnull=False).exists()


def was_ever_granted(*, user: User, app_id: uuid.UUID) -> bool:
    """Return whether the user has ever granted this app consent, even if revoked."""
    return Consent.objects.filter(user=user, app_id=app_id).exists()


def require(*, user_id: uuid.UUID, app_id: uuid.UUID) -> None:
    """Raise `AppNotGranted` unless the user's consent to this app is live.

    The consents of a closed account do not count.
    """
    live = Consent.objects.filter(user__is_active=True, revoked_at=None)
    if not live.filter(user=user_id, app=app_id).exists():
        raise AppNotGranted("This person has not let the app spend their credits.")


def granted(*, user: User) -> QuerySet[Consent]:
    """Return the live consents of `user` with their apps, newest first."""
    return (
        Consent.objects.select_related("app")
        .filter(user=user, revoked_at=None)
        .order_by("-granted_at", "-id")
    )


@transaction.atomic
def revoke(*, user: User, app_id: uuid.UUID, visitor: Visitor = NO_VISITOR) -> bool:
    """Revoke the app's consent. Return whether there was a live one.

    Locks the consent and so waits for a charge by the app that is under way. After the
    commit, the app can only charge what it has already reserved.
    """
    live = Consent.objects.filter(user=user, app_id=app_id, revoked_at=None)
    # Lock before reading the clock, so that `revoked_at` is later than every charge
    # that this call has waited for. Charges use the database's clock, too.
    row = live.select_for_update(no_key=True).first()
    if row is not None:
        row.revoked_at = NOW
        row.save(update_fields=["revoked_at"])
        audit.record("app_revoked", user=user, visitor=visitor, app_id=str(app_id))
    return row is not None

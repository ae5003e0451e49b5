"""An account's endpoints: their secrets, and when an endpoint is disabled.

Every function that changes an endpoint locks its row first, then its deliveries.
"""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts import audit, mails, sealed
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import proofs
from accounts.models import User
from accounts.partners.tools import SwitchedOffBySupport
from focus import nudges
from focus.background.sweeps import Sweep
from focus.errors import DomainError, NotFound
from focus.outgoing import public_addresses
from jobs.models import Delivery, Endpoint
from jobs.webhooks import signatures

MOST = 20
MOST_EVENTS = 50
# How long a new secret signs beside the old one before it replaces the old one.
OVERLAP = timedelta(hours=24)
# An endpoint is disabled after this many deliveries failed all their tries, over at
# least this time and without a success.
GIVEN_UP = 20
FAILING = timedelta(hours=24)
_SEAL = "webhooks"


class TooManyEndpoints(DomainError):
    """The account has `MOST` endpoints, or the endpoint `MOST_EVENTS` event types."""

    code = "too_many_endpoints"


class EndpointDisabled(DomainError):
    """The endpoint receives nothing until it is enabled."""

    code = "endpoint_disabled"


class NoRotation(DomainError):
    """The endpoint has no new secret to promote or to cancel."""

    code = "no_rotation"


@dataclass(frozen=True, slots=True)
class Shown:
    """An endpoint and one of its secrets in clear, for the owner only."""

    endpoint: Endpoint
    secret: str = field(repr=False)
    created: bool = False


@transaction.atomic
def register(
    *, user: User, url: str, events: list[str], visitor: Visitor = NO_VISITOR
) -> Shown:
    """Subscribe `url` to these event types, and return the endpoint with its secret.

    A known address gets the types in addition, and is enabled if it was disabled.
    Unknown types are kept, because later versions may write them. Mails the owner about
    a new endpoint. Raises `public_addresses.BadAddress`, `TooManyEndpoints` and
    `SwitchedOffBySupport`.
    """
    public_addresses.check_url(url)
    # Two calls at once must count each other's endpoint. The lock also refuses a caller
    # of an account that its real owner recovered meanwhile.
    proofs.lock_account(user=user)
    known = listed(user=user).select_for_update(no_key=True, of=["self"])
    endpoint = known.filter(url=url).first()
    if endpoint is not None:
        _promote_by_time(endpoint)
        endpoint.events = _merged(endpoint.events, events)
        _enable(endpoint, visitor)
        endpoint.save()
        return Shown(endpoint, _unsealed(endpoint.secret))
    of_this_url = Endpoint.objects.filter(account=user, url=url)
    if of_this_url.filter(disabled_because=Endpoint.Disabled.STAFF).exists():
        # Otherwise deleting the endpoint would get around support.
        raise _disabled_by_support()
    if known.count() >= MOST:
        raise TooManyEndpoints(f"An account has at most {MOST} endpoints.")
    secret = signatures.new_secret()
    endpoint = Endpoint.objects.create(
        account=user,
        url=url,
        events=_merged([], events),
        secret=sealed.seal(secret.encode(), purpose=_SEAL),
        created_at=timezone.now(),
    )
    _record("webhook_endpoint_made", endpoint, visitor)
    mails.write(
        user=user,
        subject="A webhook endpoint was added",
        what=f"The webhook endpoint {endpoint.pk} now receives your webhook events.",
        visitor=visitor,
    )
    return Shown(endpoint, secret, created=True)


def listed(*, user: User) -> QuerySet[Endpoint]:
    """Return the endpoints of `user` that are not deleted, newest first."""
    mine = Endpoint.objects.filter(account=user, deleted_at=None)
    return mine.order_by("-created_at", "-id")


def find(*, user: User, endpoint_id: uuid.UUID) -> Endpoint:
    """Read one endpoint of `user`. Raises `NotFound`."""
    return _require(listed(user=user).filter(pk=endpoint_id).first())


@transaction.atomic
def delete(
    *, user: User, endpoint_id: uuid.UUID, visitor: Visitor = NO_VISITOR
) -> Endpoint:
    """Delete an endpoint for ever: erase its secrets and cancel pending deliveries.

    The history stays. Raises `NotFound`.
    """
    endpoint = _locked(user, endpoint_id)
    endpoint.deleted_at = timezone.now()
    endpoint.secret, endpoint.next_secret, endpoint.promotes_at = b"", None, None
    endpoint.save()
    _end_pending(endpoint, Delivery.State.CANCELED, "deleted")
    _record("webhook_endpoint_deleted", endpoint, visitor)
    return endpoint


@transaction.atomic
def delete_all(*, user: User, visitor: Visitor = NO_VISITOR) -> None:
    """Delete all endpoints of an account that changes hands.

    A previous holder of the account may have made them.
    """
    for endpoint in listed(user=user):
        delete(user=user, endpoint_id=endpoint.pk, visitor=visitor)


@transaction.atomic
def rotate(
    *, user: User, endpoint_id: uuid.UUID, visitor: Visitor = NO_VISITOR
) -> Shown:
    """Make a new secret that signs beside the old one and replaces it after `OVERLAP`.

    A repeat during the overlap replaces the new secret by another. Mails the owner.
    Raises `NotFound`.
    """
    endpoint = _locked(user, endpoint_id)
    secret = signatures.new_secret()
    endpoint.next_secret = sealed.seal(secret.encode(), purpose=_SEAL)
    endpoint.promotes_at = timezone.now() + OVERLAP
    endpoint.save()
    _record("webhook_secret_rotated", endpoint, visitor)
    mails.write(
        user=user,
        subject="A webhook secret was rotated",
        what=f"The webhook endpoint {endpoint.pk} has a new secret. It replaces the "
        "old one in 24 hours, unless you cancel the rotation.",
        visitor=visitor,
    )
    return Shown(endpoint, secret)


@transaction.atomic
def promote(
    *, user: User, endpoint_id: uuid.UUID, visitor: Visitor = NO_VISITOR
) -> Endpoint:
    """Replace the old secret by the new one now. Raises `NotFound`, `NoRotation`."""
    endpoint = _locked(user, endpoint_id)
    if endpoint.next_secret is None:
        raise NoRotation("There is no new secret to promote.")
    _promote(endpoint)
    endpoint.save()
    _record("webhook_secret_promoted", endpoint, visitor)
    return endpoint


@transaction.atomic
def cancel_rotation(
    *, user: User, endpoint_id: uuid.UUID, visitor: Visitor = NO_VISITOR
) -> Endpoint:
    """Discard the new secret and keep the old. Raises `NotFound`, `NoRotation`."""
    endpoint = _locked(user, endpoint_id)
    if endpoint.next_secret is None:
        raise NoRotation("There is no new secret to cancel.")
    endpoint.next_secret = endpoint.promotes_at = None
    endpoint.save()
    _record("webhook_rotation_cancelled", endpoint, visitor)
    return endpoint


@transaction.atomic
def enable(
    *,
    user: User,
    endpoint_id: uuid.UUID,
    actor: str = "",
    visitor: Visitor = NO_VISITOR,
) -> Endpoint:
    """Enable an endpoint for events from now on. Missed deliveries can be recovered.

    `actor` names the member of staff. Without one the owner asks, which raises
    `SwitchedOffBySupport` for an endpoint that support disabled. Raises `NotFound`.
    """
    endpoint = _locked(user, endpoint_id)
    _enable(endpoint, visitor, actor)
    endpoint.save()
    return endpoint


@transaction.atomic
def disable(
    *,
    user: User,
    endpoint_id: uuid.UUID,
    actor: str = "",
    visitor: Visitor = NO_VISITOR,
) -> Endpoint:
    """Disable an endpoint until it is enabled. Its pending deliveries fail.

    `actor` names the member of staff; then the owner gets an email. Raises `NotFound`.
    """
    endpoint = _locked(user, endpoint_id)
    if endpoint.disabled_at is None:
        because = Endpoint.Disabled.STAFF if actor else Endpoint.Disabled.OWNER
        disable_locked(endpoint, because=because, actor=actor, visitor=visitor)
    return endpoint


def disable_locked(
    endpoint: Endpoint, *, because: str, actor: str = "", visitor: Visitor = NO_VISITOR
) -> None:
    """Disable an endpoint that the caller has locked.

    Its pending deliveries fail, so that they can be recovered once it is enabled. Mails
    the owner, unless the owner disabled the endpoint.
    """
    endpoint.disabled_at, endpoint.disabled_because = timezone.now(), because
    endpoint.save(update_fields=["disabled_at", "disabled_because"])
    _end_pending(endpoint, Delivery.State.FAILED, "disabled")
    _record("webhook_endpoint_disabled", endpoint, visitor, actor, because=because)
    if because != Endpoint.Disabled.OWNER:
        mails.write(
            user=endpoint.account,
            subject="A webhook endpoint was paused",
            what=f"The webhook endpoint {endpoint.pk} is paused: "
            f"{endpoint.get_disabled_because_display()}. Enable it when it works "
            "again. Then you can replay failed deliveries.",
        )


def secrets_of(
    secret: bytes,
    next_secret: bytes | None,
    promotes_at: datetime | None,
    *,
    now: datetime,
) -> tuple[str, str | None]:
    """Return the secret that signs as of `now`, and the new one during a rotation.

    At `promotes_at` the new secret takes over, before any sweeper writes it. Raises
    `sealed.Unreadable`.
    """
    if next_secret is None or promotes_at is None:
        return _unsealed(secret), None
    if promotes_at <= now:
        return _unsealed(next_secret), None
    return _unsealed(secret), _unsealed(next_secret)


def promote_due() -> int:
    """Write the promotions that are due; returns how many.

    Takes one short transaction for each endpoint. One that fails stops no other.
    """
    sweep, done = Sweep("jobs.promote_secrets"), 0
    due = Endpoint.objects.filter(promotes_at__lte=Now())
    ready = due.exclude(pk__in=sweep.backing_off)
    for endpoint_id in list(ready.values_list("pk", flat=True)):
        with sweep.each(endpoint_id):
            done += _promote_one(endpoint_id)
    sweep.end(complete=True)
    return done


@transaction.atomic
def _promote_one(endpoint_id: uuid.UUID) -> bool:
    endpoint = Endpoint.objects.select_for_update(no_key=True).get(pk=endpoint_id)
    return _promote_by_time(endpoint)


def _promote_by_time(endpoint: Endpoint) -> bool:
    if endpoint.promotes_at is None or endpoint.promotes_at > timezone.now():
        return False
    _promote(endpoint)
    endpoint.save()
    return True


def _promote(endpoint: Endpoint) -> None:
    assert endpoint.next_secret is not None  # noqa: S101 — every caller has checked
    endpoint.secret = endpoint.next_secret
    endpoint.next_secret = endpoint.promotes_at = None


def _enable(endpoint: Endpoint, visitor: Visitor, actor: str = "") -> None:
    if endpoint.disabled_at is None:
        return
    if endpoint.disabled_because == Endpoint.Disabled.STAFF and not actor:
        raise _disabled_by_support()
    endpoint.disabled_at, endpoint.disabled_because = None, ""
    endpoint.failing_since, endpoint.given_up = None, 0
    endpoint.paused_until = None
    # A transaction that wrote a delivery while the endpoint was being disabled may
    # have left it pending.
    nudges.wake_courier()
    _record("webhook_endpoint_enabled", endpoint, visitor, actor)


def _disabled_by_support() -> SwitchedOffBySupport:
    return SwitchedOffBySupport(
        "Support disabled this endpoint. Contact support to enable it."
    )


def _end_pending(endpoint: Endpoint, state: str, error: str) -> None:
    """End the endpoint's pending deliveries.

    A delivery with a running request ends too. Its answer is written to the attempt.
    """
    pending = Delivery.objects.filter(endpoint=endpoint, state=Delivery.State.PENDING)
    pending.update(state=state, last_error=error, ended_at=Now(), lease=None)


def _locked(user: User, endpoint_id: uuid.UUID) -> Endpoint:
    locked = listed(user=user).select_for_update(no_key=True, of=["self"])
    endpoint = _require(locked.filter(pk=endpoint_id).first())
    _promote_by_time(endpoint)
    return endpoint


def _require(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise NotFound("There is no such endpoint.")
    return endpoint


def _merged(events: list[str], more: list[str]) -> list[str]:
    merged = list(dict.fromkeys([*events, *more]))
    if len(merged) > MOST_EVENTS:
        raise TooManyEndpoints(f"An endpoint takes at most {MOST_EVENTS} events.")
    return merged


def _unsealed(secret: bytes | memoryview) -> str:
    return sealed.unseal(bytes(secret), purpose=_SEAL).decode()


def _record(
    kind: str, endpoint: Endpoint, visitor: Visitor, actor: str = "", **facts: str
) -> None:
    audit.record(
        kind,
        user=endpoint.account,
        actor=actor,
        visitor=visitor,
        endpoint_id=str(endpoint.pk),
        **facts,
    )

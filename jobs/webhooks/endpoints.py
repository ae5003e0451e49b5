"""Who is told: an account's endpoints, their secrets, and when one is put aside.

Whatever changes an endpoint locks its row first and its deliveries after it.
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
# How long a new secret waits beside the old one, unless it is promoted before.
OVERLAP = timedelta(hours=24)
# An endpoint is put aside after so many deliveries given up, over so long a time,
# and no success among them.
GIVEN_UP = 20
FAILING = timedelta(hours=24)
_SEAL = "webhooks"


class TooManyEndpoints(DomainError):
    code = "too_many_endpoints"


class EndpointDisabled(DomainError):
    """Nothing is sent to it until it is enabled again."""

    code = "endpoint_disabled"


class NoRotation(DomainError):
    """There is no new secret to promote or to cancel."""

    code = "no_rotation"


@dataclass(frozen=True, slots=True)
class Shown:
    """An endpoint, and a secret of it for its owner's eyes."""

    endpoint: Endpoint
    secret: str = field(repr=False)
    created: bool = False


@transaction.atomic
def register(
    *, user: User, url: str, events: list[str], visitor: Visitor = NO_VISITOR
) -> Shown:
    """Tell `url` of these events. The same address again adds to its events.

    An endpoint that was put aside is enabled by it. Event names that nobody knows are
    kept: they may come. Raises `public_addresses.BadAddress`, `TooManyEndpoints` and
    `SwitchedOffBySupport`.
    """
    public_addresses.check_url(url)
    # Two at once must count each other, and nobody adds one to an account whose owner
    # has come meanwhile.
    proofs.lock_account(user=user)
    known = listed(user=user).select_for_update(no_key=True, of=["self"])
    endpoint = known.filter(url=url).first()
    if endpoint is not None:
        _promote_by_time(endpoint)
        endpoint.events = _united(endpoint.events, events)
        _enable(endpoint, visitor)
        endpoint.save()
        return Shown(endpoint, _opened(endpoint.secret))
    off = Endpoint.objects.filter(account=user, url=url)
    if off.filter(disabled_because=Endpoint.Disabled.STAFF).exists():
        raise _support_did()  # Deleting it would be the way around.
    if known.count() >= MOST:
        raise TooManyEndpoints(f"An account has at most {MOST} endpoints.")
    secret = signatures.new_secret()
    endpoint = Endpoint.objects.create(
        account=user,
        url=url,
        events=_united([], events),
        secret=sealed.seal(secret.encode(), purpose=_SEAL),
        created_at=timezone.now(),
    )
    _record("webhook_endpoint_made", endpoint, visitor)
    mails.write(
        user=user,
        subject="A webhook endpoint was added",
        what=f"The webhook endpoint {endpoint.pk} now receives events of your apps.",
        visitor=visitor,
    )
    return Shown(endpoint, secret, created=True)


def listed(*, user: User) -> QuerySet[Endpoint]:
    """The endpoints of `user`, newest first."""
    mine = Endpoint.objects.filter(account=user, deleted_at=None)
    return mine.order_by("-created_at", "-id")


def find(*, user: User, endpoint_id: uuid.UUID) -> Endpoint:
    """Raises `NotFound`."""
    return _found(listed(user=user).filter(pk=endpoint_id).first())


@transaction.atomic
def delete(
    *, user: User, endpoint_id: uuid.UUID, visitor: Visitor = NO_VISITOR
) -> Endpoint:
    """Tell it nothing more, for ever. Its secrets are gone, its history stays."""
    endpoint = _locked(user, endpoint_id)
    endpoint.deleted_at = timezone.now()
    endpoint.secret, endpoint.next_secret, endpoint.promotes_at = b"", None, None
    endpoint.save()
    _end_waiting(endpoint, Delivery.State.CANCELED, "deleted")
    _record("webhook_endpoint_deleted", endpoint, visitor)
    return endpoint


@transaction.atomic
def delete_all(*, user: User, visitor: Visitor = NO_VISITOR) -> None:
    """Tell an account nothing more: who made its endpoints may be somebody else."""
    for endpoint in listed(user=user):
        delete(user=user, endpoint_id=endpoint.pk, visitor=visitor)


@transaction.atomic
def rotate(
    *, user: User, endpoint_id: uuid.UUID, visitor: Visitor = NO_VISITOR
) -> Shown:
    """A new secret that signs beside the old one, and replaces it after `OVERLAP`.

    Asked again meanwhile, there is another new one instead.
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
    """The new secret replaces the old one now. Raises `NoRotation`."""
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
    """The old secret stays, the new one is forgotten. Raises `NoRotation`."""
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
    """Tell it again from now on. What it missed can be recovered.

    Without an `actor` it is the owner who asks: raises `SwitchedOffBySupport`.
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
    """Tell it nothing until it is enabled. What was on its way counts as failed.

    With an `actor` it is support that does so, and the owner is mailed.
    """
    endpoint = _locked(user, endpoint_id)
    if endpoint.disabled_at is None:
        because = Endpoint.Disabled.STAFF if actor else Endpoint.Disabled.OWNER
        put_aside(endpoint, because=because, actor=actor, visitor=visitor)
    return endpoint


def put_aside(
    endpoint: Endpoint, *, because: str, actor: str = "", visitor: Visitor = NO_VISITOR
) -> None:
    """Disable a locked endpoint; its owner hears of it unless they did it themselves.

    Its waiting deliveries fail, so that they can be recovered once it is enabled.
    """
    endpoint.disabled_at, endpoint.disabled_because = timezone.now(), because
    endpoint.save(update_fields=["disabled_at", "disabled_because"])
    _end_waiting(endpoint, Delivery.State.FAILED, "disabled")
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
    """The secret that signs as of `now`, and the one that will. Time promotes.

    Raises `sealed.Unreadable`.
    """
    if next_secret is None or promotes_at is None:
        return _opened(secret), None
    if promotes_at <= now:
        return _opened(next_secret), None
    return _opened(secret), _opened(next_secret)


def promote_due() -> int:
    """Write down the promotions that time has made; returns how many."""
    sweep, done = Sweep("jobs.promote_secrets"), 0
    due = Endpoint.objects.filter(promotes_at__lte=Now())
    rested = due.exclude(pk__in=sweep.backing_off)
    for endpoint_id in list(rested.values_list("pk", flat=True)):
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
    assert endpoint.next_secret is not None  # noqa: S101 — every caller has looked
    endpoint.secret = endpoint.next_secret
    endpoint.next_secret = endpoint.promotes_at = None


def _enable(endpoint: Endpoint, visitor: Visitor, actor: str = "") -> None:
    if endpoint.disabled_at is None:
        return
    if endpoint.disabled_because == Endpoint.Disabled.STAFF and not actor:
        raise _support_did()
    endpoint.disabled_at, endpoint.disabled_because = None, ""
    endpoint.failing_since, endpoint.given_up = None, 0
    endpoint.paused_until = None
    # A transaction that wrote a delivery while the endpoint was being disabled may
    # have left it pending.
    nudges.wake_courier()
    _record("webhook_endpoint_enabled", endpoint, visitor, actor)


def _support_did() -> SwitchedOffBySupport:
    return SwitchedOffBySupport(
        "Support switched this endpoint off; write to them to have it back."
    )


def _end_waiting(endpoint: Endpoint, state: str, error: str) -> None:
    """One that is being sent is ended too: its answer is still noted as an attempt."""
    waiting = Delivery.objects.filter(endpoint=endpoint, state=Delivery.State.PENDING)
    waiting.update(state=state, last_error=error, ended_at=Now(), lease=None)


def _locked(user: User, endpoint_id: uuid.UUID) -> Endpoint:
    mine = listed(user=user).select_for_update(no_key=True, of=["self"])
    endpoint = _found(mine.filter(pk=endpoint_id).first())
    _promote_by_time(endpoint)
    return endpoint


def _found(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise NotFound("There is no such endpoint.")
    return endpoint


def _united(events: list[str], more: list[str]) -> list[str]:
    united = list(dict.fromkeys([*events, *more]))
    if len(united) > MOST_EVENTS:
        raise TooManyEndpoints(f"An endpoint hears of at most {MOST_EVENTS} events.")
    return united


def _opened(secret: bytes | memoryview) -> str:
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

"""Tools: apps that users buy. Owners publish and manage them here.

An app of another owner raises the same `NotFound` as an app that does not exist.
"""

import uuid

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import app_keys, proofs
from accounts.credentials.app_keys import IssuedAppKey
from accounts.credentials.principals import AppInactive
from accounts.models import App, AppKey, User
from accounts.partners import app_names
from accounts.partners import apps as partner_apps
from accounts.partners.apps import Offer
from focus.errors import DomainError, NotFound

# Limits, so that one account cannot fill the public list of tools.
MOST_TOOLS = 20
MOST_KEYS = 10


class TooMany(DomainError):
    """The owner has `MOST_TOOLS` apps, or the app has `MOST_KEYS` keys."""

    code = "too_many"


class SwitchedOffBySupport(DomainError):
    """Staff have switched the app off, so its owner cannot switch it on."""

    code = "switched_off_by_support"


def offered() -> QuerySet[App]:
    """Return the tools that users can buy, by name."""
    named = App.objects.live().filter(name_needs_approval=False)
    return named.filter(is_tool=True).order_by("name", "pk")


def find_offered(*, tool_id: uuid.UUID) -> App:
    """Return the tool with this id if it is for sale.

    Raises `NotFound` or `AppInactive`.
    """
    app = App.objects.select_related("owner").filter(pk=tool_id, is_tool=True).first()
    if app is None:
        raise NotFound("There is no such tool.")
    require_offered(app)
    return app


def require_offered(app: App) -> None:
    """Raise `AppInactive` if the tool is not for sale now."""
    if not app.is_live or not app.is_tool:
        raise AppInactive("This tool is inactive.")
    if app.name_needs_approval:
        raise AppInactive("Users can buy this tool once our staff approve its name.")


@transaction.atomic
def publish(*, owner: User, slug: str, name: str, offer: Offer) -> IssuedAppKey:
    """Register a tool and issue its first key. Its secret can be shown only once.

    Raises `TooMany`, and the errors of `partners.apps.create`.
    """
    # Serialize two forms sent at the same time, so that neither exceeds MOST_TOOLS.
    proofs.lock_account(user=owner)
    if App.objects.filter(owner=owner).count() >= MOST_TOOLS:
        raise TooMany(f"An account has {MOST_TOOLS} tools at most.")
    app = partner_apps.create(
        slug=slug,
        name=name,
        owner=owner,
        offer=offer,
        actor=str(owner),
        name_needs_approval=app_names.needs_approval(
            name=name, slug=slug, owner_id=owner.pk
        ),
    )
    return app_keys.issue(app=app, name="first key", actor=str(owner))


def owned(*, owner: User) -> QuerySet[App]:
    """Return the apps of `owner`, tools or not, newest first."""
    return App.objects.filter(owner=owner).order_by("-created_at", "pk")


def find_owned(*, owner: User, app_id: uuid.UUID) -> App:
    """Return one of `owner`'s own apps. Raises `NotFound`."""
    return _owned(App.objects.all(), owner, app_id)


@transaction.atomic
def change(
    *,
    owner: User,
    app_id: uuid.UUID,
    name: str,
    offer: Offer,
    visitor: Visitor = NO_VISITOR,
) -> App:
    """Change a tool's name and offer. A started checkout keeps its price.

    A new name that looks like another app's stops the sale until staff approve it.
    Raises `NotFound`, and the errors of `Offer.apply_to`.
    """
    app = _locked(owner, app_id)
    if name and name != app.name:
        app.name = name
        app.name_needs_approval = app_names.needs_approval(
            name=name, slug=app.slug, owner_id=owner.pk, app_id=app.pk
        )
    offer.apply_to(app)
    app.save(
        update_fields=[
            *("name", "name_needs_approval", "is_tool", "price_micro", "tool_url"),
            *("duplicate_mode", "sold_per_use"),
        ]
    )
    audit.record("app_changed", user=owner, visitor=visitor, app=app.slug)
    return app


@transaction.atomic
def set_settling(
    *, owner: User, app_id: uuid.UUID, key_only: bool, visitor: Visitor = NO_VISITOR
) -> App:
    """Set whether only the app's keys can settle jobs that users have started.

    Jobs that a key has started can always only be settled by the app's keys. Raises
    `NotFound`.
    """
    app = _locked(owner, app_id)
    if app.settle_with_app_key_only != key_only:
        app.settle_with_app_key_only = key_only
        app.save(update_fields=["settle_with_app_key_only"])
        audit.record(
            "app_changed",
            user=owner,
            visitor=visitor,
            app=app.slug,
            fields=["settle_with_app_key_only"],
        )
    return app


@transaction.atomic
def set_active(
    *, owner: User, app_id: uuid.UUID, active: bool, visitor: Visitor = NO_VISITOR
) -> App:
    """Switch an app on or off, with its keys and purchases. Idempotent.

    Raises `NotFound`, and `SwitchedOffBySupport` if staff have switched it off.
    """
    app = _locked(owner, app_id)
    if app.active == active:
        return app
    if active and not app.paused_by_owner:
        raise SwitchedOffBySupport("Support switched this app off. Contact support.")
    app.active, app.paused_by_owner = active, not active
    app.save(update_fields=["active", "paused_by_owner"])
    kind = "app_switched_on" if active else "app_switched_off"
    audit.record(kind, user=owner, visitor=visitor, app=app.slug)
    return app


def keys(*, owner: User, app_id: uuid.UUID) -> QuerySet[AppKey]:
    """Return the live keys of an own app, newest first. Raises `NotFound`."""
    app = find_owned(owner=owner, app_id=app_id)
    now = timezone.now()
    live = AppKey.objects.filter(app=app, revoked_at=None).exclude(expires_at__lte=now)
    return live.order_by("-created_at", "-pk")


@transaction.atomic
def add_key(*, owner: User, app_id: uuid.UUID, name: str) -> IssuedAppKey:
    """Issue another key for an own app. Raises `NotFound` and `TooMany`."""
    proofs.lock_account(user=owner)
    app = _locked(owner, app_id)
    if keys(owner=owner, app_id=app_id).count() >= MOST_KEYS:
        raise TooMany(f"An app has {MOST_KEYS} keys at most; revoke one first.")
    return app_keys.issue(app=app, name=name or "key", actor=str(owner))


@transaction.atomic
def rotate_key(
    *, owner: User, app_id: uuid.UUID, key_id: uuid.UUID, overlap_seconds: int
) -> IssuedAppKey:
    """Rotate a key of an own app, as `app_keys.rotate` does. Also raises `NotFound`."""
    proofs.lock_account(user=owner)
    _own_key(owner, app_id, key_id)
    return app_keys.rotate(
        key_id=key_id, overlap_seconds=overlap_seconds, actor=str(owner)
    )


def revoke_key(*, owner: User, app_id: uuid.UUID, key_id: uuid.UUID) -> AppKey:
    """Revoke a key of an own app, as `app_keys.revoke` does. Also raises `NotFound`."""
    _own_key(owner, app_id, key_id)
    return app_keys.revoke(key_id=key_id, actor=str(owner))


def _own_key(owner: User, app_id: uuid.UUID, key_id: uuid.UUID) -> None:
    if not AppKey.objects.filter(pk=key_id, app=app_id, app__owner=owner).exists():
        raise NotFound("There is no such key.")


def _locked(owner: User, app_id: uuid.UUID) -> App:
    return _owned(App.objects.select_for_update(no_key=True), owner, app_id)


def _owned(apps: QuerySet[App], owner: User, app_id: uuid.UUID) -> App:
    app = apps.filter(pk=app_id, owner=owner).first()
    if app is None:
        raise NotFound("There is no such app.")
    return app

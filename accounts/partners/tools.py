"""Tools: apps that people buy, published and kept by their owners.

Whoever asks for an app that is not theirs learns no more than that of one that is not
there.
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

# So that nobody fills the list that everybody reads.
MOST_TOOLS = 20
MOST_KEYS = 10


class TooMany(DomainError):
    code = "too_many"


class SwitchedOffBySupport(DomainError):
    code = "switched_off_by_support"


def offered() -> QuerySet[App]:
    """What people can buy, by name."""
    named = App.objects.live().filter(name_needs_approval=False)
    return named.filter(is_tool=True).order_by("name", "pk")


def find_offered(*, tool_id: uuid.UUID) -> App:
    """The tool with this id; raises `NotFound` or `AppInactive`."""
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
        raise AppInactive("Nobody can buy this tool until our staff approve its name.")


@transaction.atomic
def publish(*, owner: User, slug: str, name: str, offer: Offer) -> IssuedAppKey:
    """Register a tool and make its first key, whose secret can be shown this once.

    Raises `TooMany`, and what `partners.create` does.
    """
    # Two forms sent at once stand in line here.
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
    """The apps of `owner`, tools or not, newest first."""
    return App.objects.filter(owner=owner).order_by("-created_at", "pk")


def find_owned(*, owner: User, app_id: uuid.UUID) -> App:
    """One of `owner`'s own apps; raises `NotFound`."""
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
    """Change a tool's name and offer. A checkout under way keeps its price.

    A new name that imitates another app's stops its sale until staff approve it.
    Raises `NotFound`, and what `Offer.apply_to` does.
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
    """Say whether only the app's keys settle jobs that people started themselves.

    Only its keys ever settle jobs that one of them started. Raises `NotFound`.
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
    """Switch an app off, its keys and purchases with it, or on again. Twice is once.

    Raises `NotFound`, and `SwitchedOffBySupport` where it was not the owner who
    switched it off.
    """
    app = _locked(owner, app_id)
    if app.active == active:
        return app
    if active and not app.paused_by_owner:
        raise SwitchedOffBySupport("Support switched this app off; write to them.")
    app.active, app.paused_by_owner = active, not active
    app.save(update_fields=["active", "paused_by_owner"])
    kind = "app_switched_on" if active else "app_switched_off"
    audit.record(kind, user=owner, visitor=visitor, app=app.slug)
    return app


def keys(*, owner: User, app_id: uuid.UUID) -> QuerySet[AppKey]:
    """The keys of an own app that have not ended, newest first; raises `NotFound`."""
    app = find_owned(owner=owner, app_id=app_id)
    now = timezone.now()
    live = AppKey.objects.filter(app=app, revoked_at=None).exclude(expires_at__lte=now)
    return live.order_by("-created_at", "-pk")


@transaction.atomic
def add_key(*, owner: User, app_id: uuid.UUID, name: str) -> IssuedAppKey:
    """Another key, beside those there are. Raises `NotFound` and `TooMany`."""
    proofs.lock_account(user=owner)
    app = _locked(owner, app_id)
    if keys(owner=owner, app_id=app_id).count() >= MOST_KEYS:
        raise TooMany(f"An app has {MOST_KEYS} keys at most; revoke one first.")
    return app_keys.issue(app=app, name=name or "key", actor=str(owner))


@transaction.atomic
def rotate_key(
    *, owner: User, app_id: uuid.UUID, key_id: uuid.UUID, overlap_seconds: int
) -> IssuedAppKey:
    """As `app_keys.rotate`, for an own app; raises `NotFound` too."""
    proofs.lock_account(user=owner)
    _own_key(owner, app_id, key_id)
    return app_keys.rotate(
        key_id=key_id, overlap_seconds=overlap_seconds, actor=str(owner)
    )


def revoke_key(*, owner: User, app_id: uuid.UUID, key_id: uuid.UUID) -> AppKey:
    """As `app_keys.revoke`, for an own app; raises `NotFound` too."""
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

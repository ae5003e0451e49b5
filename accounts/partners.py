"""Partner apps: registered by staff, found by slug, deactivated rather than deleted."""

import re
import uuid
from collections.abc import Sequence
from typing import LiteralString

from django.db import IntegrityError, transaction

from accounts import audit, origins
from accounts.models import App, User
from focus.database.statements import columns, instance, tuples
from focus.errors import DomainError

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LONGEST_SLUG = 64


class UnknownApp(DomainError):
    code = "unknown_app"


class InvalidSlug(DomainError):
    code = "invalid_slug"


class SlugTaken(DomainError):
    code = "slug_taken"


def find_active(slug: str) -> App:
    """The app with this slug: one query, none if it cannot be a slug.

    Raises `UnknownApp`, also for an app that is switched off.
    """
    if _is_slug(slug):
        app = App.objects.filter(slug=slug, active=True).first()
        if app is not None:
            return app
    raise UnknownApp("There is no such app.")


def find_for(slug: str, *, user_id: uuid.UUID) -> tuple[App, bool]:
    """The active app with this slug, and whether this person lets it act for them.

    One query. Raises `UnknownApp`.
    """
    found = _is_slug(slug) and tuples(_FIND_FOR, {"slug": slug, "user": user_id})
    if not found:
        raise UnknownApp("There is no such app.")
    app, place = instance(App, found[0])
    return app, found[0][place]


_FIND_FOR: LiteralString = f"""
    SELECT {columns(App, "a")}, EXISTS (SELECT FROM accounts_consent c
      WHERE c.user_id = %(user)s AND c.app_id = a.id AND c.revoked_at IS NULL)
    FROM accounts_app a WHERE a.slug = %(slug)s AND a.active
"""  # noqa: S608 — only column names are put in


def create(
    *,
    slug: str,
    name: str = "",
    owner: User | None = None,
    starter_credits_micro: int = 0,
    allowed_origins: Sequence[str] = (),
    actor: str = "",
) -> App:
    """Register an app.

    Raises `InvalidSlug`, `SlugTaken` or `origins.InvalidOrigin`.
    """
    if not _is_slug(slug):
        raise InvalidSlug("A slug is made of a-z, 0-9 and single hyphens, 64 at most.")
    exact = list(dict.fromkeys(map(origins.exact, allowed_origins)))
    try:
        with transaction.atomic():
            app = App.objects.create(
                slug=slug,
                name=name or slug.replace("-", " ").capitalize(),
                owner=owner,
                starter_credits_micro=starter_credits_micro,
                origins=exact,
            )
            audit.record("app_created", user=owner, actor=actor, app=slug)
    except IntegrityError as twin:
        if not App.objects.filter(slug=slug).exists():
            raise
        raise SlugTaken(f"There is already an app {slug!r}.") from twin
    return app


def _is_slug(text: str) -> bool:
    return len(text) <= _LONGEST_SLUG and _SLUG.fullmatch(text) is not None

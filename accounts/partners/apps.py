"""Partner apps: register them and find them by slug. Apps are never deleted."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import App, User
from accounts.models.apps import LIVE
from accounts.partners import first_party, origins
from focus.database.statements import columns, instance, tuples
from focus.errors import DomainError
from focus.money import MICRO

# The highest price of one purchase, in credits.
MAX_PRICE = 1_000_000
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LONGEST_SLUG = 64


class UnknownApp(DomainError):
    """No live app has this slug."""

    code = "unknown_app"


class InvalidSlug(DomainError):
    code = "invalid_slug"


class SlugTaken(DomainError):
    code = "slug_taken"


class InvalidPrice(DomainError):
    code = "invalid_price"


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool's sale: its price, and the URL that a buyer's token is sent to."""

    price_micro: int
    url: str
    duplicate_mode: str = App.DuplicateMode.CONFLICT
    sold_per_use: bool = False

    def apply_to(self, app: App) -> None:
        """Set the offer on `app` without saving it.

        Raises `InvalidPrice` and `origins.InvalidRedirectUrl`.
        """
        if not 0 <= self.price_micro <= MAX_PRICE * MICRO:
            raise InvalidPrice(f"A price is 0 to {MAX_PRICE} credits.")
        app.is_tool = True
        app.price_micro = self.price_micro
        app.tool_url = origins.checked_redirect_url(self.url)
        app.duplicate_mode = self.duplicate_mode
        app.sold_per_use = self.sold_per_use


def find_active(slug: str) -> App:
    """Return the live app with this slug. One query; none if the text is no slug.

    Raises `UnknownApp`, also for an app that is not live.
    """
    if _is_slug(slug):
        app = App.objects.live().filter(slug=slug).first()
        if app is not None:
            return app
    raise UnknownApp("There is no such app.")


def find_with_consent(slug: str, *, user_id: uuid.UUID) -> tuple[App, bool]:
    """Return the live app with this slug, and whether the user's consent is live.

    One query. Raises `UnknownApp`.
    """
    found = _is_slug(slug) and tuples(
        _FIND_WITH_CONSENT, {"slug": slug, "user": user_id}
    )
    if not found:
        raise UnknownApp("There is no such app.")
    app, place = instance(App, found[0])
    return app, found[0][place]


_FIND_WITH_CONSENT: LiteralString = f"""
    SELECT {columns(App, "a")}, EXISTS (SELECT FROM accounts_consent c
      WHERE c.user_id = %(user)s AND c.app_id = a.id AND c.revoked_at IS NULL)
    FROM accounts_app a WHERE a.slug = %(slug)s AND {LIVE}
"""  # noqa: S608 — built from constants only


def create(
    *,
    slug: str,
    name: str = "",
    owner: User | None = None,
    starter_credits_micro: int = 0,
    allowed_origins: Sequence[str] = (),
    offer: Offer | None = None,
    actor: str = "",
    **rules: Any,
) -> App:
    """Register an app. With an `offer` it is a tool that users can buy.

    `rules` are further columns of `App`, such as `overage_policy`.

    Raises `InvalidSlug`, `SlugTaken` (also for the slug of a product of ours),
    `origins.InvalidOrigin`, `origins.OriginTaken`, and the errors of `Offer.apply_to`.
    """
    if not _is_slug(slug):
        raise InvalidSlug("A slug has at most 64 of a-z, 0-9 and single hyphens.")
    if slug in first_party.APPS:
        raise SlugTaken(f"There is already an app {slug!r}.")
    exact = list(dict.fromkeys(map(origins.checked_origin, allowed_origins)))
    origins.require_free(exact)
    app = App(
        slug=slug,
        name=name or slug.replace("-", " ").capitalize(),
        owner=owner,
        starter_credits_micro=starter_credits_micro,
        origins=exact,
        **rules,
    )
    if offer is not None:
        offer.apply_to(app)
    try:
        with transaction.atomic():
            app.save(force_insert=True)
            audit.record("app_created", user=owner, actor=actor, app=slug)
    except IntegrityError as twin:
        if not App.objects.filter(slug=slug).exists():
            raise
        raise SlugTaken(f"There is already an app {slug!r}.") from twin
    return app


def _is_slug(text: str) -> bool:
    return len(text) <= _LONGEST_SLUG and _SLUG.fullmatch(text) is not None

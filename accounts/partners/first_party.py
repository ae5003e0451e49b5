"""Focus's own products: apps that have their work done by this server (hosted work).

Each is an app without an owner and without keys, marked as family. Only the hosted work
itself starts and settles jobs of such an app, so every other caller is refused
(decision 0046). No partner can register one of the slugs.
"""

from collections.abc import Mapping

from django.db import transaction

from accounts import audit
from accounts.credentials import app_keys
from accounts.models import App, AppKey
from focus.errors import DomainError, NotFound

APPS: Mapping[str, str] = {
    "reviv": "Reviv",
    "cosmiv": "Cosmiv",
    "clipforge": "ClipForge",
}


class HostedApp(DomainError):
    """Only the server's hosted work acts for this app. Facts: `app`, its slug."""

    code = "hosted_app"


class ProductUnavailable(DomainError):
    """A partner has owned an app with the product's slug since before this release.

    Facts: `app`, the slug. The operator takes the app over (`take_over`).
    """

    code = "product_unavailable"


def app(slug: str) -> App:
    """Return a product's app, and create it where it is missing. Usually one query.

    Raises `ProductUnavailable`, and `KeyError` for the slug of no product.
    """
    found, _ = App.objects.get_or_create(
        slug=slug, defaults={"name": APPS[slug], "family": True}
    )
    if not is_hosted(found):
        raise ProductUnavailable(
            f"{APPS[slug]} is not available on this server.", app=slug
        )
    return found


def is_hosted(app: App) -> bool:
    """Return whether the app is one of our products. Takes no query."""
    return app.owner_id is None and app.slug in APPS


def refuse(app: App) -> None:
    """Raise `HostedApp` for one of our products. Takes no query."""
    if is_hosted(app):
        raise HostedApp(
            f"Jobs of {app.slug} are started and settled by its own work only.",
            app=app.slug,
        )


def refuse_slug(slug: str) -> None:
    """Raise `HostedApp` for a product's slug, also where its app is switched off.

    Takes one query for these slugs, and none for others.
    """
    if slug in APPS:
        refuse(App.objects.filter(slug=slug).first() or App(slug=slug))


@transaction.atomic
def take_over(*, slug: str, actor: str) -> App:
    """Make a partner's app the product's own: no owner, no keys, no sale.

    The slug is in the ledger's entries, so the app keeps it and its past jobs. The
    partner registers another app. A repeat changes nothing. Raises `NotFound`.
    """
    found = App.objects.select_for_update(no_key=True).filter(slug=slug).first()
    if found is None or slug not in APPS:
        raise NotFound(f"There is no app {slug!r} to take over.")
    if is_hosted(found):
        return found
    for key in AppKey.objects.filter(app=found, revoked_at=None).order_by("pk"):
        app_keys.revoke(key_id=key.pk, actor=actor)
    audit.record("app_taken_over", user=found.owner, actor=actor, app=slug)
    fresh = App(slug=slug, name=APPS[slug], family=True)
    for name in TAKEN_OVER:
        setattr(found, name, getattr(fresh, name))
    found.save(update_fields=[*TAKEN_OVER])
    return found


# The columns that a take-over sets to those of a new product's app.
TAKEN_OVER = (
    *("name", "name_needs_approval", "owner", "active", "paused_by_owner", "family"),
    *("starter_credits_micro", "starter_credits_at", "overage_policy", "origins"),
    *("settle_with_app_key_only", "max_ttl_seconds", "rate_limit_per_minute"),
    *("is_tool", "price_micro", "tool_url", "duplicate_mode", "sold_per_use"),
)

"""Which jobs a credential may start, settle and list.

A person's credential acts on that person's jobs, and an app's key on that app's jobs.
A credential that is bound to an app acts on the person's jobs of that app only.
"""

from contextlib import nullcontext
from typing import Any, cast
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from accounts.credentials import access
from accounts.credentials.principals import Principal
from accounts.models import App, User
from accounts.partners import apps as partner_apps
from accounts.partners import consents, first_party
from accounts.partners.consents import AppNotGranted
from jobs import lifecycle, listing
from jobs.lifecycle import Caller, JobAsOf, Outcome


def caller_of(principal: Principal) -> Caller:
    """The caller that a credential stands for. Takes no query."""
    if principal.app is not None:
        return Caller(f"app:{principal.app.slug}", app_id=principal.app.pk)
    user_id = cast(User, principal.user).pk
    return Caller(f"user:{user_id}", account_id=user_id, bound_to=principal.bound_to)


def start(
    *,
    principal: Principal,
    app: str | None,
    user_id: UUID | None,
    action: str,
    estimate_micro: int,
    metadata: dict[str, Any],
    ttl_seconds: int | None,
) -> Outcome:
    """Start a job as `lifecycle.start` does, for the account that the credential names.

    A person's credential needs `app`, a slug, and spends that person's credits. An
    app's key needs `user_id`. Takes one query before the reservation.

    A person's first job at an app records the consent in the reservation's transaction.
    Raises as `lifecycle.start`, `UnknownApp`, `TokenBoundToApp`, and `AppNotGranted`
    where the person has not let the app and this credential cannot.
    """
    wanted: dict[str, Any] = {
        "action": action,
        "estimate_micro": estimate_micro,
        "metadata": metadata,
        "ttl_seconds": ttl_seconds,
        "actor": caller_of(principal).actor,
    }
    if principal.app is not None:
        account_id = cast(UUID, user_id)
        first_party.refuse(principal.app)
        consents.require(user_id=account_id, app_id=principal.app.pk)
        return lifecycle.start(
            **wanted,
            account_id=account_id,
            app=principal.app,
            by_app=True,
            needs_consent=True,
        )
    user = cast(User, principal.user)
    found, granted = _find_app(principal, user, cast(str, app))
    # One transaction: of a job without a consent, only the reservation can be charged.
    with nullcontext() if granted else transaction.atomic():
        outcome = lifecycle.start(
            **wanted, account_id=user.pk, app=found, needs_consent=granted
        )
        if not granted:
            # After the wallet's lock, in the order of every other call: no deadlock.
            consents.grant(user=user, app_id=found.pk, after_movement=True)
    return outcome


def _find_app(principal: Principal, user: User, slug: str) -> tuple[App, bool]:
    """The app, and whether the person has let it before."""
    access.require_own_app(principal=principal, app=slug)
    first_party.refuse_slug(slug)
    app, granted = partner_apps.find_with_consent(slug, user_id=user.pk)
    if not granted and not access.may_let_in(principal=principal, app=app):
        raise AppNotGranted("This credential cannot let the app spend credits.")
    return app, granted


def listed(
    *,
    principal: Principal,
    app: str | None,
    status: str | None,
    after: Q | None,
    limit: int,
) -> list[JobAsOf]:
    """List the jobs that the credential may read, as `listing.listed` does.

    Raises `TokenBoundToApp` where `app` is another app than the credential's own.
    """
    if app is not None:
        access.require_own_app(principal=principal, app=app)
    return listing.listed(
        caller=caller_of(principal), app=app, status=status, after=after, limit=limit
    )

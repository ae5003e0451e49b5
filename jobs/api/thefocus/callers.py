"""The caller of the Focus guide's jobs: the account, the actor and the app."""

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request

from accounts.authentication import principal_of, user_of
from accounts.credentials import access
from accounts.credentials.access import TokenBoundToApp
from accounts.models import App
from accounts.partners import apps as partner_apps
from accounts.partners import consents
from accounts.partners.consents import AppNotGranted
from focus.errors import DomainError
from jobs.lifecycle import Caller
from jobs.models import Job


class NotThisApp(DomainError):
    code = "forbidden"


def for_whom(request: Request, new: dict[str, Any]) -> tuple[App, UUID, bool]:
    """Which app spends whose credits, and whether they have let it before.

    Raises `AppNotGranted` where they have not and this credential may not let it.
    """
    caller = principal_of(request)
    if caller.app is None:
        if "app" not in new:
            raise serializers.ValidationError({"app": ["This field is required."]})
        access.keep_to(principal=caller, app=new["app"])
        user_id = user_of(request).pk
        app, granted = partner_apps.find_with_consent(new["app"], user_id=user_id)
        if not granted and not access.may_let_in(principal=caller, app=app):
            raise AppNotGranted("This credential cannot let the app spend credits.")
        return app, user_id, granted
    if new.get("app", caller.app.slug) != caller.app.slug:
        raise NotThisApp("The key belongs to another app.")
    if "user_id" not in new:
        raise serializers.ValidationError(
            {"user_id": ["This field is required with an app's key."]}
        )
    consents.require(user_id=new["user_id"], app_id=caller.app.pk)
    return caller.app, new["user_id"], True


def caller(request: Request) -> Caller:
    principal = principal_of(request)
    if principal.app is not None:
        return Caller(f"app:{principal.app.slug}", app_id=principal.app.pk)
    user_id = user_of(request).pk
    return Caller(f"user:{user_id}", account_id=user_id)


def of_job(request: Request, job_id: UUID) -> Caller:
    """The caller, for one job. A credential that is bound to an app has that app's
    jobs only: raises `TokenBoundToApp` for another of the person's own.
    """
    principal = principal_of(request)
    bound = principal.bound_to
    if bound is not None:
        own = Job.objects.filter(pk=job_id, account=principal.user)
        if own.exclude(app=bound).exists():
            raise TokenBoundToApp(
                f"This credential serves only the jobs of {bound.slug}.", app=bound.slug
            )
    return caller(request)


def listed_app(request: Request, wanted: str | None) -> str | None:
    """The slug of the app whose jobs are listed, None for all of the caller's."""
    principal = principal_of(request)
    if principal.bound_to is None:
        return wanted
    if wanted is not None:
        access.keep_to(principal=principal, app=wanted)
    return principal.bound_to.slug

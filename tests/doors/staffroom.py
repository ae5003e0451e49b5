"""Members of staff by role, their test clients, and jobs for them to read."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Model
from django.test import Client

from accounts import roles
from accounts.models import App, User
from accounts.partners import consents
from focus.money import MICRO
from jobs import lifecycle
from jobs.models import Job


def in_role(role: str) -> User:
    """Create a member of staff with a role, as `superuser`, or with no role ("")."""
    person = User.objects.create_user(
        f"{role or 'no-role'}@staff.example.com",
        is_staff=True,
        is_superuser=role == "superuser",
    )
    if role in roles.ROLES:
        person.groups.add(Group.objects.get(name=role))
    return person


def browser(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def start(user: User, app: App, amount: int) -> Job:
    """Start a job that reserves `amount` credits, with the user's consent."""
    consents.grant(user=user, app_id=app.pk)
    return lifecycle.start(
        account_id=user.pk,
        app=app,
        action="render",
        estimate_micro=amount * MICRO,
        metadata={},
        actor=f"app:{app.slug}",
    ).job


def complete(job: Job, cost: int) -> None:
    lifecycle.complete(
        job_id=job.pk,
        caller=lifecycle.Caller(f"app:{job.app.slug}", app_id=job.app_id),
        cost_micro=cost * MICRO,
        metadata={},
    )


def assert_only_views(model: type[Model], staff: User, rf: Any) -> None:
    """Assert that `staff` may see the rows of `model`, and do nothing else to them."""
    request = rf.get("/")
    request.user = staff
    site = admin.site._registry[model]
    assert site.has_view_permission(request)
    assert not site.has_add_permission(request)
    assert not site.has_change_permission(request)
    assert not site.has_delete_permission(request)
    assert "delete_selected" not in site.get_actions(request)

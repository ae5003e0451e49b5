"""Rows of hosted work for staff pages and account pages, and the pages of staff."""

import uuid
from datetime import timedelta
from typing import Any

from django.db.models import Model
from django.utils import timezone

from accounts.models import App, User
from jobs.models import Restoration, Run, StoredFile
from tests.doors.staffroom import browser, in_role, start

ENDED = ("done", "failed", "cancelled")


def page(model: type[Model], row: Any = None) -> str:
    base = f"/admin/jobs/{model._meta.model_name}/"
    return f"{base}{row.pk}/change/" if row else base


def does(role: str, model: type[Model], action: str, *rows: Any) -> str:
    """Run a list's action on `rows` and return the page that follows."""
    form = {"action": action, "_selected_action": [row.pk for row in rows]}
    staff = browser(
        User.objects.filter(email__startswith=role).first() or in_role(role)
    )
    answer = staff.post(page(model), form, follow=True)
    assert answer.status_code == 200
    return str(answer.content.decode())


def run(user: User, app: App, state: str = "queued", **more: Any) -> Run:
    """Write a run in `state` with a job of its own that reserves nothing."""
    now = timezone.now()
    ended = state in ENDED
    about = {
        "kind": "restore",
        "finished_at": now if ended else None,
        "due_at": None if ended else now,
        **more,
    }
    job = start(user, app, 0)
    return Run.objects.create(account=user, job=job, state=state, **about)


def stored(user: User, purpose: str = "photo", **more: Any) -> StoredFile:
    """Write the row of a file that has arrived."""
    now = timezone.now()
    about = {
        "name": f"{purpose}.jpg",
        "content_type": "image/jpeg",
        "most_bytes": 10_000_000,
        "size": 1_500_000,
        "arrived_at": now,
        "due_at": now + timedelta(days=60),
        **more,
    }
    key = f"secret-key-{uuid.uuid4()}"
    return StoredFile.objects.create(account=user, purpose=purpose, key=key, **about)


def restoration(user: User, app: App, state: str = "done", **more: Any) -> Restoration:
    """Write a restoration with its run and three files."""
    return Restoration.objects.create(
        account=user,
        run=run(user, app, state),
        original=stored(user),
        preview=stored(user, "preview"),
        full=stored(user, "restored"),
        expires_at=timezone.now() + timedelta(days=60),
        **more,
    )

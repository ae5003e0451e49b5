"""Rows of hosted work for staff pages and account pages, and the pages of staff."""

import struct
import uuid
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db.models import Model
from django.utils import timezone

from accounts.models import App, User
from accounts.partners import consents, first_party
from jobs import lifecycle
from jobs.files import storage
from jobs.models import Restoration, Run, StoredFile
from tests.doors.staffroom import browser, in_role

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
    """Write a run in `state` with a job of its own that reserves nothing.

    `metadata` is the job's. The job of a first-party app has the action `restore`.
    """
    now = timezone.now()
    ended = state in ENDED
    hosted = first_party.is_hosted(app)
    consents.grant(user=user, app_id=app.pk)
    job = lifecycle.start(
        account_id=user.pk,
        app=app,
        action="restore" if hosted else "render",
        estimate_micro=0,
        metadata=more.pop("metadata", {}),
        actor=f"user:{user.pk}",
        hosted=hosted,
    ).job
    about = {
        "kind": "restore",
        "finished_at": now if ended else None,
        "due_at": None if ended else now,
        **more,
    }
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


def picture(user: User, folder: Path, purpose: str = "preview") -> StoredFile:
    """Store a real picture. Commits."""
    path = folder / f"{purpose}.png"
    row = b"\0" + bytes(range(0, 240, 2)) * 3
    header = struct.pack(">IIBBBBB", 120, 90, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(row * 90)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, parts)))
    file = storage.publish(
        path,
        account_id=user.pk,
        purpose=purpose,
        name=path.name,
        content_type="image/png",
    )
    storage.keep([file.pk], due_at=timezone.now() + timedelta(days=60))
    return file


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    name, data = part
    return (
        struct.pack(">I", len(data))
        + name
        + data
        + struct.pack(">I", zlib.crc32(name + data))
    )


def restoration(user: User, app: App, state: str = "done", **more: Any) -> Restoration:
    """Write a restoration with its run and three files."""
    return Restoration.objects.create(
        account=user,
        run=more.pop("run", None) or run(user, app, state),
        original=stored(user),
        preview=more.pop("preview", None) or stored(user, "preview"),
        full=stored(user, "restored"),
        expires_at=timezone.now() + timedelta(days=60),
        **more,
    )


def every_state_of_hosted_work(user: User, *, folder: Path) -> list[Restoration]:
    """Write a photo in each state, with long texts and real previews. Commits."""
    app = first_party.app("reviv")
    texts: dict[str, dict[str, Any]] = {
        "queued": {},
        "running": {"stage": "removing scratches", "percent": 43},
        "done": {"percent": 100},
        "failed": {
            "error_code": "too_small",
            "error_sentence": "The photo is 480 pixels on its shortest side.",
            "error_change": "Upload one with at least 500 pixels on each side.",
            "error_detail": f"Traceback\n{'/a/very/long/path' * 20}",
            "tries": 3,
        },
        "cancelled": {},
    }
    return [
        restoration(
            user,
            app,
            run=run(
                user,
                app,
                state,
                metadata={"description": f"Restoration of {'grandmother_' * 8}.jpg"},
                **more,
            ),
            preview=picture(user, folder),
        )
        for state, more in texts.items()
    ]

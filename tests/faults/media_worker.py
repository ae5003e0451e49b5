"""A media worker with the tests' kind of work, which may kill itself at a chosen step.

`DIE_AT` names the step; the file `DIE_MARK` says that it has been done. The results of
this kind are stored files, and each run costs its price.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

import django
from django.db import transaction

from focus.celery import app as app

django.setup()

from jobs.files import storage  # noqa: E402 — its models need what is above
from jobs.hosted import heartbeat, prices, runs, sandbox, working  # noqa: E402
from jobs.models import Run, StoredFile  # noqa: E402
from tests import hosted  # noqa: E402

STEP, MARK = os.environ.get("DIE_AT"), Path(os.environ.get("DIE_MARK", "/nowhere"))
GATES = Path(os.environ.get("GATES", "/nowhere"))


def die(step: str) -> None:
    if step == STEP and not MARK.exists():
        MARK.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def pass_gate(name: str) -> None:
    """Say that the worker has arrived, and wait until the test opens the gate."""
    if (GATES / f"{name} closed").exists():
        (GATES / f"{name} reached").touch()
        while (GATES / f"{name} closed").exists():
            time.sleep(0.02)


def prepare(run: Run, folder: Path) -> dict[str, Any]:
    asked = hosted.prepare(run, folder)
    die("prepared")
    return asked


def collect(run: Run, answer: dict[str, Any], folder: Path) -> list[StoredFile]:
    die("answered")
    stored = [
        storage.publish(
            path,
            account_id=run.account_id,
            purpose="test",
            name=path.name,
            content_type="text/plain",
        )
        for path in sorted(folder.iterdir())
    ]
    die("collected")
    return stored


def publish(run: Run, result: list[StoredFile]) -> int:
    pass_gate("publish")
    storage.keep([file.pk for file in result], due_at=None)
    names = ",".join(file.name for file in result)
    Run.objects.filter(pk=run.pk).update(message=f"published {names}")
    die("published, not committed")
    return prices.charge_of(run)


_claim, _succeed, _note = working._claim, working._succeed, heartbeat.Heartbeat.note


def claim() -> Any:
    with transaction.atomic():
        claimed = _claim()
        if claimed:
            die("claimed, not committed")
    if claimed:
        die("claimed")
    return claimed


def note(self: Any, percent: float, stage: str) -> None:
    _note(self, percent, stage)
    if stage == "working":
        die("the engine works")


def succeed(*what: Any) -> None:
    with transaction.atomic():
        _succeed(*what)
        die("settled, not committed")
    die("settled")


for module, name, replaced in (
    (working, "_claim", claim),
    (working, "_succeed", succeed),
    (heartbeat.Heartbeat, "note", note),
):
    setattr(module, name, replaced)

runs.register(
    runs.HostedKind(
        name="test",
        app_slug="reviv",
        action="restore",
        command="test",
        limits=sandbox.Limits(seconds=300, stall_seconds=300),
        prepare=prepare,
        collect=collect,
        publish=publish,
        ended=hosted.ended,
    )
)

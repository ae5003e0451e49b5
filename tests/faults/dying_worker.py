"""A webhook worker that kills itself, once, at a chosen step of an attempt.

`DIE_AT` names the step; the file `DIE_MARK` says that it has been done.
"""

import os
import signal
from pathlib import Path
from typing import Any

import django
from django.db import transaction

from focus.celery import app as app

django.setup()

from focus.outgoing import safe_http  # noqa: E402 — its models need what is above
from jobs.webhooks import delivery  # noqa: E402

STEP, MARK = os.environ["DIE_AT"], Path(os.environ["DIE_MARK"])


def die(step: str) -> None:
    if step == STEP and not MARK.exists():
        MARK.touch()
        os.kill(os.getpid(), signal.SIGKILL)


_claim, _post, _record = delivery.claim, safe_http.post, delivery.record


def claim(**how: Any) -> Any:
    with transaction.atomic():
        claimed = _claim(**how)
        if claimed:
            die("claimed, not committed")
    if claimed:
        die("claimed")
    return claimed


def post(*what: Any) -> Any:
    die("about to send")
    answer = _post(*what)
    die("answered")
    return answer


def record(sent: Any) -> Any:
    with transaction.atomic():
        soonest = _record(sent)
        die("recorded, not committed")
    die("recorded")
    return soonest


for module, replaced in ((delivery, claim), (delivery, record), (safe_http, post)):
    setattr(module, replaced.__name__, replaced)

"""A kind of hosted work for tests, and a program that speaks the engine's protocol.

The program is a process of its own and starts as the real engine does, so the sandbox
and the keeper run as with that one. Its request says what it does.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection

from accounts.models import User
from accounts.partners import first_party
from focus.money import MICRO
from jobs.hosted import runs, sandbox, working
from jobs.hosted.runs import HostedKind
from jobs.models import Price, Run

STAND_IN = """
import json, os, signal, subprocess, sys, time

def say(**line):
    print(json.dumps(line), flush=True)

def end(exit_code, /, **line):
    say(**line)
    sys.exit(exit_code)

if sys.argv[-1] == "capabilities":
    end(0, outcome="done")
asked = json.load(sys.stdin)
say(percent=10.0, stage="opening")
for step, value in asked["steps"]:
    if step == "sleep":
        time.sleep(value)
    elif step == "tell":
        say(percent=value, stage="working")
    elif step == "write":
        with open(value, "wb") as file:
            file.write(b"result")
    elif step == "print":
        print(value, flush=True)
    elif step == "log":
        sys.stderr.write(value)
    elif step == "allocate":
        try:
            kept = bytearray(value)
        except MemoryError:
            end(4, outcome="failed", code="memory", sentence="Too much.", detail="")
    elif step == "fill":
        with open("big", "wb") as file:
            file.write(b"x" * value)
    elif step == "child":
        # A child that outlives the engine, as far as the engine is concerned.
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", value])
    elif step == "wait for":
        while not os.path.exists(value):
            time.sleep(0.02)
    elif step == "die":
        os.kill(os.getpid(), getattr(signal, value))
    elif step == "refuse":
        end(3, outcome="refused", code=value, sentence="No photo.", change="Another.")
    elif step == "fail":
        end(4, outcome="failed", code=value, sentence="Broken.", detail="the detail")
    elif step == "bad":
        end(2, outcome="bad_request", sentence="No such field.")
    elif step == "exit":
        sys.exit(value)
    elif step == "python":
        exec(value)
end(0, outcome="done", report={"steps": len(asked["steps"])})
"""


def install_stand_in(folder: Path) -> dict[str, str]:
    """Write the program into `folder`; returns the environment of a media worker.

    In this process, set the settings of the same names.
    """
    program = folder / "engine"
    program.write_text(f"#!{sys.executable} -P\n{STAND_IN}")
    program.chmod(0o755)
    return {
        "MEDIA_PYTHON": str(program),
        "MEDIA_WORK_FOLDER": str(folder / "work"),
    }


def prepare(run: Run, folder: Path) -> dict[str, Any]:
    if run.request.get("refuse"):
        raise sandbox.Refused("too_dark", "The photo is too dark.", "Take another one.")
    if run.request.get("broken"):
        raise ValueError("no source")
    return {"steps": run.request.get("steps", [])}


def collect(run: Run, answer: dict[str, Any], folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def publish(run: Run, result: list[str]) -> int:
    # Reads the row: only the last transaction writes it.
    Run.objects.filter(pk=run.pk).update(message=f"published {','.join(result)}")
    return int(run.request.get("charge_micro", 0))


def ended(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(message=f"ended {run.state}")


KIND = HostedKind(
    name="test",
    app_slug="reviv",
    action="restore",
    command="test",
    limits=sandbox.Limits(seconds=120, stall_seconds=60),
    prepare=prepare,
    collect=collect,
    publish=publish,
    ended=ended,
)


def start(user: User, *steps: Any, units: int = 1, **request: Any) -> Run:
    return runs.start(
        kind="test",
        account_id=user.pk,
        request={"steps": [*steps], **request},
        description="A test",
        preview_url="https://example.com/preview.jpg",
        units=units,
    )


def work() -> bool:
    return working.work_one(threading.Event())


@contextmanager
def at_work(stop: threading.Event) -> Iterator[threading.Thread]:
    """A worker in a thread of its own, for one run."""
    from django.db import connection

    def one() -> None:
        try:
            working.work_one(stop)
        finally:
            connection.close()

    thread = threading.Thread(target=one)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def set_price(user: User, give: Any) -> None:
    """Give the person 20 credits, and let one unit of the test's action cost 2."""
    give(user, 20)
    Price.objects.create(
        app=first_party.app("reviv"),
        action="restore",
        unit="photo",
        credits_micro=2 * MICRO,
    )


def another_waits() -> bool:
    """Whether another connection waits for this one; looks for up to 30 seconds."""
    for _ in range(300):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*), pg_sleep(0.1) FROM pg_locks WHERE NOT granted"
                " AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            if cursor.fetchone()[0]:
                return True
    return False

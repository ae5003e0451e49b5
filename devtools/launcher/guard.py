# ruff: noqa: S607 - `ps` is found on PATH
"""Ends everything ./dev started, however ./dev itself ends.

./dev starts this script before anything else and writes one JSON line for each
process it starts or sees die. When that pipe closes, because ./dev has finished or
because it was killed, services are stopped, then what they left behind, then the
engines; throw-away folders are removed. There is one way to stop, so Ctrl-C and
SIGKILL take the same path. Standard library only; it imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PATIENCE = {"service": 10.0, "engine": 20.0}
Task = dict[str, Any]


def main() -> None:
    # The terminal's Ctrl-C is for ./dev; this process acts when ./dev is gone.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    tasks: dict[int, Task] = {}
    remove: list[str] = []
    for line in sys.stdin:
        message = json.loads(line)
        if "remove" in message:
            remove.append(message["remove"])
        elif "gone" in message:
            tasks.pop(message["gone"], None)
        else:
            tasks[message["pid"]] = message
    finish(tasks.values(), sys.argv[1], remove)


def finish(tasks: Iterable[Task], mark: str, remove: Iterable[str]) -> None:
    tasks = list(tasks)
    end([task for task in tasks if task["role"] == "service"], PATIENCE["service"])
    sweep(mark)
    end([task for task in tasks if task["role"] == "engine"], PATIENCE["engine"])
    for path in remove:
        clear(path)


def clear(path: str) -> None:
    """Remove a folder, more than once where something was still writing into it."""
    for _ in range(5):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.exists(path):
            return
        time.sleep(0.1)


def end(tasks: list[Task], patience: float) -> None:
    """Ask each task to stop; kill what is left of it when it does not, or is gone."""
    for task in tasks:
        send(task["pid"], task["stop"])
    limit = time.monotonic() + patience
    while tasks:
        table = running()
        tasks = [task for task in tasks if alive(task, table)]
        for task in tasks:
            if task["pid"] not in table or time.monotonic() > limit:
                kill(task)
        time.sleep(0.03)


def alive(task: Task, table: dict[int, int]) -> bool:
    if task["pid"] in table:
        return True
    return task["group"] and task["pid"] in table.values()


def kill(task: Task) -> None:
    if task["group"]:
        send(-task["pid"], signal.SIGKILL)
    else:
        send(task["pid"], signal.SIGKILL)


def send(pid: int, number: int) -> None:
    try:
        if pid < 0:
            os.killpg(-pid, number)
        else:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def running() -> dict[int, int]:
    """The process group of every process, zombies left out.

    A zombie counts as gone: in a container nobody may ever collect it.
    """
    if Path("/proc/self/stat").exists():
        return running_by_proc()
    return running_by_ps()


def running_by_ps() -> dict[int, int]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True
    ).stdout
    rows = (line.split() for line in listing.splitlines())
    return {int(row[0]): int(row[1]) for row in rows if not row[2].startswith("Z")}


def running_by_proc() -> dict[int, int]:
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text()
        except OSError:
            continue
        state, _parent, group = stat.rpartition(")")[2].split()[:3]
        if state not in "ZX":
            table[int(entry)] = int(group)
    return table


def sweep(mark: str) -> None:
    """Kill whatever carries our mark in its environment but left its group.

    For example a browser started by a test. Only Linux can look; elsewhere such
    processes end by themselves when their pipes close.
    """
    for _ in range(20):
        found = [pid for pid in running() if marked(pid, mark)]
        if not found:
            return
        for pid in found:
            send(pid, signal.SIGKILL)
        time.sleep(0.02)


def marked(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in Path("/proc", str(pid), "environ").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    main()

# ruff: noqa: S607 - `ps` is found on PATH
"""Ends every process that ./dev started, however ./dev itself ends.

./dev starts this script first, and writes a JSON line for each process that it starts
or that ends. The pipe closes when ./dev finishes or is killed. Then the guard

1. stops the services,
2. kills marked processes that the services left behind,
3. stops the engines,
4. removes temporary folders.

So Ctrl-C and SIGKILL take the same path. Standard library only, no imports of ours.
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
    # The terminal's Ctrl-C is meant for ./dev; the guard acts after ./dev has ended.
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
    """End services, marked processes and engines, in this order; remove the folders."""
    tasks = list(tasks)
    end([task for task in tasks if task["role"] == "service"], PATIENCE["service"])
    sweep(mark)
    end([task for task in tasks if task["role"] == "engine"], PATIENCE["engine"])
    for path in remove:
        clear(path)


def clear(path: str) -> None:
    """Remove a folder. Retries, because a process may still write into it."""
    for _ in range(5):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.exists(path):
            return
        time.sleep(0.1)


def end(tasks: list[Task], patience: float) -> None:
    """Send each task its signal. Kill its group after `patience`, or if it is gone."""
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
    """Whether a task, or a process of its group, is in the table of `running`."""
    if task["pid"] in table:
        return True
    return task["group"] and task["pid"] in table.values()


def kill(task: Task) -> None:
    """Kill a task, and its whole group if it has one."""
    if task["group"]:
        send(-task["pid"], signal.SIGKILL)
    else:
        send(task["pid"], signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """Send a signal to a process, or to a group if `pid` is negative."""
    try:
        if pid < 0:
            os.killpg(-pid, number)
        else:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def running() -> dict[int, int]:
    """Return the process group of every process, without zombies.

    A zombie counts as gone: a container may have no init that reaps zombies.
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
    """Kill processes that have our mark in their environment and left their group.

    An example is a browser that a test started. Only Linux shows the environment;
    elsewhere such processes end when their pipes close.
    """
    for _ in range(20):
        found = [pid for pid in running() if marked(pid, mark)]
        if not found:
            return
        for pid in found:
            send(pid, signal.SIGKILL)
        time.sleep(0.02)


def marked(pid: int, mark: str) -> bool:
    """Whether a process has our mark in its environment."""
    try:
        return mark.encode() in Path("/proc", str(pid), "environ").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    main()

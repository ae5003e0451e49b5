# ruff: noqa: S603 - starting programs is what this file is for
"""Starts processes so that none outlives ./dev.

There are two mechanisms, because each can fail. The guard (see guard.py) works
everywhere and finds grandchildren. On Linux the kernel also signals each child when
./dev dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from . import guard
from .places import ROOT, Lock
from .say import Stop

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
Argv = Sequence[str | Path]


def _die_with_parent(number: int) -> Callable[[], None] | None:
    """On Linux, let the kernel signal the child when the *thread* that started it ends.

    Every child must therefore be started from the main thread.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # ./dev died between fork and prctl
            os._exit(1)

    return before_exec


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stop(number)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGNALS raise `Stop` in the block. What nohup ignores stays ignored."""
    handled = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    handled += [signal.SIGINT] if signal.SIGINT not in handled else []
    before = {number: signal.signal(number, _stop) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Family:
    """The processes of one ./dev command. Leaving the block ends all of them.

    `locks` are held until the last process has ended, even if ./dev is killed.
    """

    def __init__(self, *locks: Lock) -> None:
        self.mark = f"FOCUS_DEV_{secrets.token_hex(8)}"
        self.locks = locks
        self.children: list[subprocess.Popen[Any]] = []
        self.tasks: dict[int, guard.Task] = {}
        self.removed: list[str] = []

    def __enter__(self) -> Family:
        self._stoppable = stoppable()
        self._stoppable.__enter__()
        read_end, write_end = os.pipe()
        self.pipe = open(write_end, "wb", buffering=0)
        self.guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, self.mark],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            pass_fds=[lock.file.fileno() for lock in self.locks],
        )
        os.close(read_end)
        return self

    def __exit__(self, *_: object) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self._close()
        self._stoppable.__exit__(None, None, None)

    def _close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.pipe.close()
        while self.guard.poll() is None:
            for child in self.children:
                child.poll()
            time.sleep(0.02)
        if self.guard.returncode:  # the guard was killed: do its work here
            guard.finish(self.tasks.values(), self.mark, self.removed)

    def _notify_guard(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self.pipe.fileno(), json.dumps(message).encode() + b"\n")

    def remove_at_end(self, path: Path) -> None:
        """Remove a folder after the last process has ended."""
        self.removed.append(str(path))
        self._notify_guard({"remove": str(path)})

    def start(
        self,
        argv: Argv,
        *,
        env: Mapping[str, str],
        role: str = "service",
        stop: int = signal.SIGTERM,
        own_group: bool = True,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a process, which must end before this block does.

        `role` is `service` or `engine`: services are stopped first. `stop` is the
        signal that ends it. Without `own_group` the process shares our terminal.
        """
        # Engines have no mark: the guard kills marked processes before it stops
        # engines.
        mark = {} if role == "engine" else {self.mark: "1"}
        child = subprocess.Popen(
            argv,
            env={**env, **mark},
            start_new_session=own_group,
            preexec_fn=_die_with_parent(stop),
            **{"cwd": ROOT, **options},
        )
        self.children.append(child)
        task = {"pid": child.pid, "role": role, "stop": stop, "group": own_group}
        self.tasks[child.pid] = task
        self._notify_guard(task)
        return child

    def reap(self, child: subprocess.Popen[Any]) -> None:
        """After a child has ended, kill the rest of its group and forget the child."""
        task = self.tasks.pop(child.pid)
        if task["group"]:
            guard.kill(task)
        self.children.remove(child)
        self._notify_guard({"gone": child.pid})

    def run(self, argv: Argv, env: Mapping[str, str]) -> tuple[int, str]:
        """Run a command to its end. Returns the exit status and the whole output."""
        child = self.start(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        output, _ = child.communicate()
        self.reap(child)
        return child.returncode, output

    def foreground(self, argv: Argv, env: Mapping[str, str]) -> int:
        """Run a command on our terminal, so that it may be a debugger or a shell."""
        child = self.start(argv, env=env, own_group=False, stop=signal.SIGINT)
        while True:
            try:
                status = child.wait()
                break
            except Stop as stop:
                # Ctrl-C in a terminal has already reached the child.
                if stop.args[0] != signal.SIGINT or not _in_terminal():
                    child.send_signal(signal.SIGINT)
        self.reap(child)
        return status if status >= 0 else 128 - status


def _in_terminal() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False

"""Restarts services that end, and prints their output."""

from __future__ import annotations

import http.client
import math
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from .family import Family
from .say import Trouble

DEATHS = 3  # so many ends of one service
WINDOW = 60.0  # within so many seconds end ./dev run
PAUSE = 1.0  # the wait before a restart
COLOURS = (36, 32, 35, 33, 34, 31)


@dataclass
class Service:
    """A process to keep running. `explain` describes a failure better than output.

    With `died`, it starts after the first screen and runs once. `died` gets its status,
    if that is not 0, and returns a line for people.
    """

    name: str
    start: Callable[[], subprocess.Popen[Any]]
    child: subprocess.Popen[Any] | None = None
    due: float = 0.0
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=15))
    explain: Callable[[], str] | None = None
    died: Callable[[int], str] | None = None

    def tail(self) -> str:
        """Return the explanation of a failure, else the last lines of output."""
        return self.explain() if self.explain else "".join(self.lines).rstrip()


class Supervisor:
    """A loop in the main thread, and a thread per service that reads its output."""

    def __init__(self, family: Family, port: int, announce: Callable[[], None]) -> None:
        self.family = family
        self.port = port
        self.announce = announce
        self.announced = False
        self.services: list[Service] = []
        self.printing = threading.Lock()
        self.output_closed = threading.Event()

    def add(self, service: Service) -> None:
        """Add a service, which `watch` starts."""
        self.services.append(service)

    def watch(self) -> None:
        """Run until a signal raises `Stop`, or our output is closed.

        Raises `Trouble` if a service ends DEATHS times within WINDOW.
        """
        while not self.output_closed.is_set():
            for service in self.services:
                if self.announced or not service.died:
                    self._restart_if_ended(service)
            if not self.announced and self._answers():
                self.announced = True
                with self.printing:
                    self.announce()
            time.sleep(0.1)

    def _restart_if_ended(self, service: Service) -> None:
        now = time.monotonic()
        if service.child is None:
            if now >= service.due:
                self._start(service)
        elif service.child.poll() is not None:
            self._record_end(service, service.child, now)

    def _start(self, service: Service) -> None:
        child = service.child = service.start()
        if child.stdout:
            reader = threading.Thread(
                target=self._read, args=(service, child.stdout), daemon=True
            )
            reader.start()

    def _record_end(
        self, service: Service, child: subprocess.Popen[Any], now: float
    ) -> None:
        self.family.reap(child)
        service.child = None
        if service.died:
            service.due = math.inf
            if child.returncode:
                self.show(service, service.died(child.returncode))
            return
        service.due = now + PAUSE
        service.deaths.append(now)
        self.show(service, f"ended with status {child.returncode}\n")
        if len(service.deaths) == DEATHS and now - service.deaths[0] < WINDOW:
            time.sleep(0.2)  # let its reader catch up
            raise Trouble(
                f"{service.name} died {DEATHS} times within a minute; everything is "
                f"stopped. It last said:\n{service.tail()}"
            )

    def _read(self, service: Service, lines: IO[str]) -> None:
        for line in lines:
            service.lines.append(line)
            self.show(service, line)

    def show(self, service: Service, line: str) -> None:
        """Print a line with the service's name."""
        label = f"{service.name:<14}|"
        if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
            colour = COLOURS[self.services.index(service) % len(COLOURS)]
            label = f"\x1b[{colour}m{label}\x1b[0m"
        with self.printing:
            try:
                sys.stdout.write(f"{label} {line.rstrip()}\n")
                sys.stdout.flush()
            except OSError:
                self.output_closed.set()

    def _answers(self) -> bool:
        """Whether web responds. The health page would wait for the workers too."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            link.request("GET", "/", headers={"Host": "localhost"})
            link.getresponse()
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            link.close()

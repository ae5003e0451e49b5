"""Keeps services alive and shows what they say."""

from __future__ import annotations

import http.client
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

DEATHS = 3  # so many
WINDOW = 60.0  # within so many seconds end the run
PAUSE = 1.0  # before a service is started again
COLOURS = (36, 32, 35, 33, 34, 31)


@dataclass
class Service:
    name: str
    start: Callable[[], subprocess.Popen[Any]]
    child: subprocess.Popen[Any] | None = None
    due: float = 0.0
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))
    said: deque[str] = field(default_factory=lambda: deque(maxlen=15))
    last_words: Callable[[], str] | None = None

    def tail(self) -> str:
        return self.last_words() if self.last_words else "".join(self.said).rstrip()


class Supervisor:
    """One loop in the main thread; a reader thread per service for its output."""

    def __init__(self, family: Family, port: int, announce: Callable[[], None]) -> None:
        self.family = family
        self.port = port
        self.announce = announce
        self.announced = False
        self.services: list[Service] = []
        self.printing = threading.Lock()
        self.deaf = threading.Event()  # nobody reads our output any more

    def add(self, service: Service) -> None:
        self.services.append(service)

    def watch(self) -> None:
        """Run until a signal raises Stop, or a service is beyond help."""
        while not self.deaf.is_set():
            for service in self.services:
                self._care(service)
            if not self.announced and self._answers():
                self.announced = True
                with self.printing:
                    self.announce()
            time.sleep(0.1)

    def _care(self, service: Service) -> None:
        now = time.monotonic()
        if service.child is None:
            if now >= service.due:
                self._start(service)
        elif service.child.poll() is not None:
            self._bury(service, service.child, now)

    def _start(self, service: Service) -> None:
        child = service.child = service.start()
        if child.stdout:
            reader = threading.Thread(
                target=self._read, args=(service, child.stdout), daemon=True
            )
            reader.start()

    def _bury(self, service: Service, child: subprocess.Popen[Any], now: float) -> None:
        self.family.bury(child)
        service.child = None
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
            service.said.append(line)
            self.show(service, line)

    def show(self, service: Service, line: str) -> None:
        label = f"{service.name:<14}|"
        if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
            colour = COLOURS[self.services.index(service) % len(COLOURS)]
            label = f"\x1b[{colour}m{label}\x1b[0m"
        with self.printing:
            try:
                sys.stdout.write(f"{label} {line.rstrip()}\n")
                sys.stdout.flush()
            except OSError:
                self.deaf.set()

    def _answers(self) -> bool:
        """Any answer will do. Not the health page: it waits for the worker too."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            link.request("GET", "/", headers={"Host": "localhost"})
            link.getresponse()
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            link.close()

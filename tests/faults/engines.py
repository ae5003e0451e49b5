"""A PostgreSQL and a Valkey for one test, which it can stop, kill and restart."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devtools.launcher import engines, ground
from devtools.launcher.postgres import Postgres
from devtools.launcher.valkey import Valkey

Engine = Postgres | Valkey


class FixtureFamily:
    """Stands in for the launcher's family: children end with their fixture."""

    def start(
        self, argv: Any, *, env: Any, role: str, stop: int = 0, **options: Any
    ) -> subprocess.Popen[Any]:
        # The launcher finds the processes of a killed test run by this mark.
        marks = {k: v for k, v in os.environ.items() if k.startswith("FOCUS_DEV_")}
        return subprocess.Popen(
            argv, env={**env, **marks}, start_new_session=True, **options
        )

    def remove_at_end(self, path: Path) -> None:
        pass


class Own:
    """One engine and its process. A test calls `up` and `down`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.process: subprocess.Popen[Any] | None = None
        engine.prepare()

    @property
    def url(self) -> str:
        return self.engine.url

    def up(self) -> None:
        self.engine.prepare()
        self.process = self.engine.start()
        deadline = time.monotonic() + 60
        while not self.engine.ready():
            assert time.monotonic() < deadline, self.engine.why()
            time.sleep(0.03)

    def down(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, by default SIGKILL, to the engine and its children."""
        if self.process is None or self.process.poll() is not None:
            return
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(60)


@contextmanager
def own_engines(*, fast: bool = True) -> Iterator[tuple[Own, Own]]:
    """PostgreSQL and Valkey, both up, in a folder that goes with them.

    Fast ones do not wait for the disk, so a killed one forgets its last commits.
    """
    family: Any = FixtureFamily()
    # Not pytest's folder: only its owner may enter that one, and as root
    # PostgreSQL runs as another user.
    home = ground.scratch(family)
    ground.give_to_server_user(home, 0o755)
    (home / "run").mkdir()
    ground.give_to_server_user(home / "run", 0o700)
    binaries, valkey = engines.locate()
    postgres = Own(Postgres(family, binaries, home, home / "run", fast=fast))
    redis = Own(Valkey(family, valkey, home, home / "run", fast=True))
    try:
        postgres.up()
        redis.up()
        yield postgres, redis
    finally:
        redis.down()
        postgres.down(signal.SIGINT)
        shutil.rmtree(home)

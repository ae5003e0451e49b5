"""./dev run: start the engines and all services, and show their addresses."""

from __future__ import annotations

import errno
import functools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import engines, localenv, media, python, stripe
from .family import Family
from .places import PYTHON, ROOT, VAR, Lock
from .say import Stop, Trouble, last_lines, say
from .supervisor import Service, Supervisor


def services(port: int) -> dict[str, list[str]]:
    """Return the services beside the engines. docker-compose.yml runs the same ones."""
    celery = ["-m", "celery", "--quiet", "-A", "focus.celery"]
    worker = ["worker", "-Q", "celery", "--concurrency", "2"]
    slow = ["worker", "-Q", "slow", "-n", "slow@%h", "-P", "threads"]
    webhooks = ["worker", "-Q", "webhooks", "-n", "webhooks@%h", "-P", "threads"]
    media = ["worker", "-Q", "media", "-n", "media@%h", "-P", "threads"]
    # Celery's long warning about root would push the first screen away.
    calm = ["-W", "ignore:You're running the worker"]
    return {
        "web": ["-m", "focus.server"],
        "worker": [*calm, *celery, *worker],
        "slow-worker": [*calm, *celery, *slow, "--concurrency", "20"],
        "webhook-worker": [*calm, *celery, *webhooks, "--concurrency", "32"],
        "media-worker": [*calm, *celery, *media, "--concurrency", "1"],
        "beat": [*celery, "beat"],
    }


def run(_arguments: list[str]) -> int:
    """Run the whole system until Ctrl-C. Returns the exit code."""
    port = localenv.port()
    lock = Lock(VAR / "run.lock")
    _take_folder(lock, "./dev run")
    _check_port(port)
    stripe.check(localenv.read())
    python.ensure()
    with Family(lock) as family:
        try:
            _run(family, port)
        except Stop:
            say("Stopping.")
        return 0


def _run(family: Family, port: int) -> None:
    started = time.monotonic()
    chosen = engines.choose(family, VAR, fast=False, keep=True)
    children = engines.bring_up(chosen)
    localenv.write(family, engines.addresses(chosen))
    known = localenv.read()
    env = {**engines.environment(), **engines.addresses(chosen)}
    env |= stripe.environment(known)
    say("Preparing the database.")
    _manage(family, env, "migrate", "-v0", "--noinput")
    sign_ins = _manage(family, env, "demo", "--print-signins")
    _manage(family, env, "collectstatic", "-v0", "--noinput")

    programs = services(port)
    if stripe.is_emulated(known):
        if stripe.own_secrets(known):
            say(
                "STRIPE_WEBHOOK_SECRET is set without STRIPE_SECRET_KEY: payments go to"
                " the emulator, and events signed with your secret are taken too."
            )
        _check_port(stripe.port(port))
        programs["stripe"] = stripe.argv(port)
    where = stripe.address(port) if "stripe" in programs else ""
    announce = functools.partial(_first_screen, port, sign_ins, started, where)
    supervisor = Supervisor(family, port, announce)
    for engine, child in zip(chosen, children, strict=True):
        supervisor.add(Service(engine.name, engine.start, child, explain=engine.why))
    for name, argv in programs.items():
        start = functools.partial(_start_service, family, argv, env)
        supervisor.add(Service(name, start))
    hosted = media.Engine()
    if hosted.announce():
        install = ["dev", "media", "--background"]
        start = functools.partial(_start_service, family, install, os.environ)
        supervisor.add(Service("media", start, died=hosted.record_death))
    supervisor.watch()


def _start_service(
    family: Family, argv: list[str], env: Mapping[str, str]
) -> subprocess.Popen[Any]:
    return family.start(
        [PYTHON, *argv],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def _take_folder(lock: Lock, purpose: str) -> None:
    """Allow one launcher per clone. A killed one keeps it until its engines end."""
    limit = time.monotonic() + 30
    while not lock.take(purpose):
        pid, what = lock.holder()
        if _exists(pid):
            raise Trouble(
                f"{what} is already up in this folder (process {pid}). "
                "Stop it first (Ctrl-C there)."
            )
        if time.monotonic() > limit:
            raise Trouble(f"{what} (process {pid}) is still ending; try again.")
        time.sleep(0.1)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def _check_port(port: int) -> None:
    advice = f"Choose another one: PORT={port + 1 if port < 65535 else 8000} ./dev run"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Trouble(f"Port {port} is in use. {advice}") from None
            raise Trouble(f"Port {port}: {error.strerror}. {advice}") from None
    if sys.platform == "linux":
        return
    # Elsewhere a bind beside a wildcard listener may succeed, so try to connect.
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise Trouble(f"Port {port} is in use. {advice}")


def _manage(family: Family, env: Mapping[str, str], *arguments: str) -> str:
    status, output = family.run([PYTHON, "manage.py", *arguments], env)
    if status:
        raise Trouble(f"manage.py {arguments[0]} failed:\n{last_lines(output)}")
    return output.strip()


def _first_screen(port: int, sign_ins: str, started: float, emulator: str) -> None:
    base = os.environ.get("PUBLIC_BASE_URL") or f"http://localhost:{port}"
    # The command's default is port 8000.
    where = "" if base == "http://localhost:8000" else f"FOCUS_SERVER={base} "
    places = [
        (f"{base}/", "home"),
        (f"{base}/signin", "sign in"),
        (f"{base}/device", "approve a device"),
        (f"{base}/api/docs", "API documentation"),
        (f"{base}/admin/", "staff"),
    ]
    if localenv.is_here(base):
        places.append((f"{base}/dev/mail", "mails that Focus sent, with their links"))
    if emulator:
        places.append((f"{emulator}/_emulator/", "Stripe's emulator: no money moves"))
    else:
        places.append(("Stripe", "your STRIPE_SECRET_KEY is set: payments go there"))
    width = max(len(place) for place, _ in places)
    shown = "\n".join(f"    {place:<{width}}   {what}" for place, what in places)
    say(f"""
  Focus is up ({time.monotonic() - started:.0f} s).

{shown}

{_indented(sign_ins)}

  On the command line:  {where}.venv/bin/focus login
  Ctrl-C stops everything; the data stays in {_short(VAR)}.
""")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _short(path: Path) -> str:
    return f"{path.relative_to(ROOT)}/" if path.is_relative_to(ROOT) else f"{path}/"

"""What each ./dev command does, in order."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import checks, engines, localenv, python
from .family import Argv, Family
from .places import PYTHON, ROOT, VAR, Lock
from .say import Stop, Trouble, explain, last_lines, say, warn
from .supervisor import Service, Supervisor

USAGE = """\
Usage: ./dev COMMAND

  run            start everything here and print where it is (PORT=8000)
  test [ARGS]    run the tests; ARGS go to pytest
  check          lint, types, imports, migrations, API documents, deployment
  fix            format the code and repair what the linter can
  bench [ARGS]   run the benchmarks
  manage [ARGS]  run manage.py with the database up
  lock [ARGS]    write requirements*.txt anew; ARGS (--upgrade) go to uv
  secrets        make the secret files that docker-compose.yml mounts
  help           this

The first command makes .venv; nothing else has to be installed. Local data is in
var/. DATABASE_URL and REDIS_URL replace the built-in PostgreSQL and Valkey.
"""


def main(argv: list[str]) -> int:
    _open_standard_streams()
    command, arguments = (argv[0], argv[1:]) if argv else ("help", [])
    action = COMMANDS.get(command)
    if action is None:
        warn(f"dev: there is no command {command!r}. ./dev help lists them.")
        return 2
    try:
        return action(arguments)
    except Trouble as trouble:
        warn(f"dev: {trouble}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the exit complains again
    except OSError as error:
        warn(f"dev: {explain(error)}")
    except (Stop, KeyboardInterrupt):
        return 130
    return 1


def _open_standard_streams() -> None:
    """A closed stdin would give its number to the next file that is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def usage(_arguments: list[str]) -> int:
    say(USAGE.rstrip())
    return 0


# --- run ----------------------------------------------------------------------


def services(port: int) -> dict[str, list[str]]:
    """What runs beside the engines. docker-compose.yml runs the same."""
    celery = ["-m", "celery", "--quiet", "-A", "focus.celery"]
    granian = ["-m", "granian", "--interface", "wsgi", "focus.wsgi:application"]
    granian += ["--host", "127.0.0.1", "--port", str(port)]
    granian += ["--workers", "1", "--blocking-threads", "4", "--access-log"]
    granian += ["--access-log-fmt", "%(method)s %(path)s %(status)d %(dt_ms).0f ms"]
    return {
        "web": granian,
        # Celery warns root at length; here it only buries the first screen.
        "worker": [
            "-W",
            "ignore:You're running the worker",
            *celery,
            "worker",
            "-Q",
            "celery",
            "--concurrency",
            "2",
        ],
        "beat": [*celery, "beat"],
    }


def run(_arguments: list[str]) -> int:
    port = localenv.port()
    lock = Lock(VAR / "run.lock")
    _take_folder(lock, "./dev run")
    _check_port(port)
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
    env = {**_django_environment(), **engines.addresses(chosen)}
    say("Preparing the database.")
    _manage(family, env, "migrate", "-v0", "--noinput")
    sign_ins = _manage(family, env, "demo", "--print-signins")
    _manage(family, env, "collectstatic", "-v0", "--noinput")

    announce = functools.partial(_first_screen, port, sign_ins, started)
    supervisor = Supervisor(family, port, announce)
    for engine, child in zip(chosen, children, strict=True):
        supervisor.add(Service(engine.name, engine.start, child, last_words=engine.why))
    for name, argv in services(port).items():
        start = functools.partial(_start_service, family, argv, env)
        supervisor.add(Service(name, start))
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
    """One launcher per clone. A killed one holds on until its engines are down."""
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
    # Where binding beside a wildcard listener is allowed (macOS), ask it.
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise Trouble(f"Port {port} is in use. {advice}")


def _django_environment() -> dict[str, str]:
    return {
        **engines.environment(),
        "DJANGO_SETTINGS_MODULE": "focus.settings",
        "FOCUS_VAR": str(VAR),
        "PYTHONUNBUFFERED": "1",
    }


def _manage(family: Family, env: Mapping[str, str], *arguments: str) -> str:
    status, said = family.run([PYTHON, "manage.py", *arguments], env)
    if status:
        raise Trouble(f"manage.py {arguments[0]} failed:\n{last_lines(said)}")
    return said.strip()


def _first_screen(port: int, sign_ins: str, started: float) -> None:
    base = os.environ.get("PUBLIC_BASE_URL") or f"http://localhost:{port}"
    say(f"""
  Focus is up ({time.monotonic() - started:.0f} s).

    {base}/           home
    {base}/signin     sign in
    {base}/device     approve a device
    {base}/api/docs   the API, to read and to try
    {base}/admin/     staff

{_indented(sign_ins)}

  On the command line:  .venv/bin/focus login
  Ctrl-C stops everything; the data stays in {_short(VAR)}.
""")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _short(path: Path) -> str:
    return f"{path.relative_to(ROOT)}/" if path.is_relative_to(ROOT) else f"{path}/"


# --- manage, test, bench --------------------------------------------------------


def manage(arguments: list[str]) -> int:
    python.ensure()
    argv: Argv = [PYTHON, ROOT / "manage.py", *arguments]
    lock = Lock(VAR / "run.lock")
    if not _take_or_join(lock):
        with Family() as family:
            return family.foreground(argv, _django_environment())
    with Family(lock) as family:
        chosen = engines.choose(family, VAR, fast=False, keep=True)
        engines.bring_up(chosen)
        localenv.write(family, engines.addresses(chosen))
        return family.foreground(argv, _django_environment())


def _take_or_join(lock: Lock) -> bool:
    """True: the folder is ours. False: somebody's engines are up, use those."""
    limit = time.monotonic() + 30
    while not lock.take("./dev manage"):
        known = localenv.read()
        if known and all(map(engines.reachable, known.values())):
            return False
        if time.monotonic() > limit:
            pid, what = lock.holder()
            raise Trouble(f"{what} (process {pid}) does not get its database up.")
        time.sleep(0.1)
    return True


def test(arguments: list[str]) -> int:
    python.ensure()
    if not any(map(shutil.which, BROWSERS)):
        say("No Chromium: browser tests are skipped (apt-get install chromium).")
    with Family() as family:
        folder = engines.scratch(family)
        env = _throwaway_environment(family, folder, fast=True)
        env["FOCUS_TESTING"] = "1"
        argv: Argv = [PYTHON, "-m", "pytest", *_workers(arguments), *arguments]
        return family.foreground(argv, env)


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# With one of these, worker processes are decided, useless or in the way.
ALONE = ("-n", "--numprocesses", "--dist", "-pno:xdist", "no:xdist", "--pdb", "--trace")
QUICK = ("--co", "-h", "--help", "--version", "--fixtures", "--markers")


def _workers(arguments: list[str]) -> list[str]:
    if any(a.startswith(ALONE + QUICK) or "::" in a for a in arguments):
        return []
    return ["-n", "auto"]


def _throwaway_environment(
    family: Family, folder: Path, *, fast: bool
) -> dict[str, str]:
    """Engines and secrets of their own, and none of this machine's settings."""
    chosen = engines.choose(family, folder, fast=fast, keep=False)
    engines.bring_up(chosen)
    env = _django_environment()
    for name in (*localenv.SECRETS, *PERSONAL):
        env.pop(name, None)
        env.pop(f"{name}_FILE", None)
    env.update(localenv.throwaway(family, folder))
    env.update(engines.addresses(chosen))
    env["FOCUS_VAR"] = str(folder)
    return env


PERSONAL = (
    "JWT_PRIVATE_KEY",
    "PORT",
    "PUBLIC_BASE_URL",
    "FRONTEND_URL",
    "CORS_ALLOWED_ORIGINS",
    "ALLOWED_HOSTS",
    "TRUSTED_PROXIES",
    "DEBUG",
    "RATE_LIMIT_SCALE",
    "BEHIND_TLS_PROXY",
    "STATIC_ROOT",
    "MEDIA_ROOT",
)


def bench(arguments: list[str]) -> int:
    """Durable engines: a commit waits for the disk, as it does in production."""
    python.ensure()
    with Family() as family:
        folder = engines.scratch(family, VAR)
        env = _throwaway_environment(family, folder, fast=False)
        localenv.private_file(folder / "env", "")  # local mode
        return family.foreground([PYTHON, "-m", "benchmarks", *arguments], env)


# --- check, fix, lock, secrets ---------------------------------------------------


def check(_arguments: list[str]) -> int:
    python.ensure()
    with Family() as family:
        folder = engines.scratch(family)
        env = _throwaway_environment(family, folder, fast=True)
        localenv.private_file(folder / "env", "")
        return checks.run_all(family, env, folder)


def fix(_arguments: list[str]) -> int:
    python.ensure()
    with Family() as family:
        ruff: list[str | Path] = [PYTHON, "-m", "ruff"]
        linted = family.foreground([*ruff, "check", "--fix", "."], os.environ)
        formatted = family.foreground([*ruff, "format", "."], os.environ)
        return linted or formatted


def lock(arguments: list[str]) -> int:
    python.ensure()
    with Family() as family:
        for name in ("requirements", "requirements-dev"):
            argv: list[str | Path] = [
                PYTHON,
                "-m",
                "uv",
                "pip",
                "compile",
                "--universal",
                "--quiet",
            ]
            argv += ["--python-version", "3.11", "--generate-hashes", *arguments]
            argv += [f"{name}.in", "-o", f"{name}.txt"]
            status = family.foreground(argv, os.environ)
            if status:
                return status
        say("requirements.txt and requirements-dev.txt are written.")
        return 0


def make_secrets(_arguments: list[str]) -> int:
    python.ensure()
    with Family() as family:
        for name in localenv.compose_secrets(family, ROOT / "secrets"):
            say(f"secrets/{name} is written.")
    say("docker-compose.yml mounts ./secrets. Keep it out of backups and images.")
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run,
    "test": test,
    "check": check,
    "fix": fix,
    "bench": bench,
    "manage": manage,
    "lock": lock,
    "secrets": make_secrets,
    "help": usage,
    "-h": usage,
    "--help": usage,
}

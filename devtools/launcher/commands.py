"""The sub-commands of ./dev."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from . import checks, engines, ground, localenv, media, python
from .family import Argv, Family
from .places import LOCKED, PYTHON, ROOT, VAR, Lock
from .run import run
from .say import Stop, Trouble, explain, say, warn

USAGE = """\
Usage: ./dev COMMAND

  run            start everything and print the addresses (PORT=8000); install the
                 media engine in the background
  test [ARGS]    run the quick tests; --slow for the rest; ARGS go to pytest
  check          lint, types, imports, migrations, API documents, deployment
  fix            format the code and repair what the linter can
  bench [ARGS]   run the benchmarks
  media          install the media engine, with its tests, into .venv-media
  manage [ARGS]  run manage.py with the database up
  lock [ARGS]    write all requirements*.txt again; ARGS (--upgrade) go to uv
  secrets        make the secret files that docker-compose.yml mounts
  help           show this text

The first command makes .venv; nothing else has to be installed. Local data is in
var/. DATABASE_URL and REDIS_URL replace the built-in PostgreSQL and Valkey.
"""


def main(argv: list[str]) -> int:
    """Run a command and return its exit code. An expected failure prints one line."""
    _open_standard_streams()
    command, arguments = (argv[0], argv[1:]) if argv else ("help", [])
    action = COMMANDS.get(command)
    if action is None:
        warn(f"dev: there is no command {command!r}. ./dev help lists them.")
        return 2
    if arguments and command not in TAKES_ARGUMENTS:
        warn(f"dev: {command} takes no arguments. ./dev help lists the commands.")
        return 2
    try:
        return action(arguments)
    except Trouble as trouble:
        warn(f"dev: {trouble}")
    except BrokenPipeError:
        # Otherwise Python's flush at exit fails again, and prints a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError as error:
        warn(f"dev: {explain(error)}")
    except (Stop, KeyboardInterrupt):
        return 130
    return 1


def _open_standard_streams() -> None:
    """Open closed standard streams: the next opened file would get their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def usage(_arguments: list[str]) -> int:
    """Print the help."""
    say(USAGE.rstrip())
    return 0


# --- manage, test, bench --------------------------------------------------------


def manage(arguments: list[str]) -> int:
    """Run manage.py with the engines of ./dev run, or with engines of its own."""
    python.ensure()
    argv: Argv = [PYTHON, ROOT / "manage.py", *arguments]
    lock = Lock(VAR / "run.lock")
    if not _take_lock_or_wait(lock):
        with Family() as family:
            return family.foreground(argv, engines.environment())
    with Family(lock) as family:
        chosen = engines.choose(family, VAR, fast=False, keep=True)
        engines.bring_up(chosen)
        localenv.write(family, engines.addresses(chosen))
        return family.foreground(argv, engines.environment())


def _take_lock_or_wait(lock: Lock) -> bool:
    """Take the lock of var/, or wait until its holder has started the engines.

    Returns True with the lock, and False if the engines of another ./dev are up.
    """
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
    """Run pytest with temporary engines and secrets."""
    python.ensure()
    if not any(map(shutil.which, BROWSERS)):
        say("No Chromium: browser tests are skipped (apt-get install chromium).")
    with Family() as family:
        if media.only(arguments):
            return media.run_tests(family, arguments)
        folder = ground.scratch(family)
        env = _throwaway_environment(family, folder, fast=True)
        env["FOCUS_TESTING"] = "1"
        localenv.private_file(folder / "env", "")  # local mode
        chosen = [*_workers(arguments), *_which(arguments)]
        argv: Argv = [PYTHON, "-m", "pytest", *chosen]
        return family.foreground(argv, env) or media.run_tests(family, arguments)


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Options with which we add no worker processes: they choose them, or prevent them.
ALONE = ("-n", "--numprocesses", "--dist", "-pno:xdist", "no:xdist", "--pdb", "--trace")
QUICK = ("--co", "-h", "--help", "--version", "--fixtures", "--markers")


def _which(arguments: list[str]) -> list[str]:
    """Choose the tests: the quick ones, the others with --slow, or all of a path."""
    if "--slow" in arguments:
        return [*(a for a in arguments if a != "--slow"), "-m", "slow"]
    if any(a == "-m" or a.startswith("tests") for a in arguments):
        return arguments
    return [*arguments, "-m", "not slow"]


def _workers(arguments: list[str]) -> list[str]:
    if any(a.startswith(ALONE + QUICK) or "::" in a for a in arguments):
        return []
    return ["-n", "auto"]


def _throwaway_environment(
    family: Family, folder: Path, *, fast: bool
) -> dict[str, str]:
    """Start new engines, and return an environment with new secrets.

    No variable of this machine's settings is in it.
    """
    chosen = engines.choose(family, folder, fast=fast, keep=False)
    engines.bring_up(chosen)
    env = engines.environment()
    for name in (*localenv.SECRETS, *PERSONAL):
        env.pop(name, None)
        env.pop(f"{name}_FILE", None)
    env.update(localenv.throwaway(family, folder))
    env.update(engines.addresses(chosen))
    env["FOCUS_VAR"] = str(folder)
    return env


PERSONAL = (
    "JWT_PRIVATE_KEY",
    "ANCHOR_PRIVATE_KEY",
    "PORT",
    "PUBLIC_BASE_URL",
    "FRONTEND_URL",
    "PASSKEY_RP_ID",
    "CORS_ALLOWED_ORIGINS",
    "ALLOWED_HOSTS",
    "TRUSTED_PROXIES",
    "DEBUG",
    "RATE_LIMIT_SCALE",
    "RATE_LIMIT_TIMEOUT_SECONDS",
    "BEHIND_TLS_PROXY",
    "STATIC_ROOT",
    "MEDIA_ROOT",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "STRIPE_API_BASE",
)


def bench(arguments: list[str]) -> int:
    """Run the benchmarks, with engines that wait for the disk, as in production."""
    python.ensure()
    with Family() as family:
        folder = ground.scratch(family, ground.home_of(VAR))
        env = _throwaway_environment(family, folder, fast=False)
        localenv.private_file(folder / "env", "")  # local mode
        return family.foreground([PYTHON, "-m", "benchmarks", *arguments], env)


# --- check, fix, lock, secrets ---------------------------------------------------


def check(_arguments: list[str]) -> int:
    """Run all checks, with temporary engines."""
    python.ensure()
    with Family() as family:
        folder = ground.scratch(family)
        env = _throwaway_environment(family, folder, fast=True)
        localenv.private_file(folder / "env", "")
        return checks.run_all(family, env, folder)


def fix(_arguments: list[str]) -> int:
    """Format the code, and apply the linter's fixes."""
    python.ensure()
    with Family() as family:
        lint: Argv = [PYTHON, "-m", "ruff", "check", "--fix", ".", "dev"]
        linted = family.foreground(lint, os.environ)
        formatted = family.foreground([PYTHON, "-m", *checks.FORMAT], os.environ)
        return linted or formatted


def lock(arguments: list[str]) -> int:
    """Write the lock files again, with hashes, for every platform."""
    python.ensure()
    with Family() as family:
        for folder in LOCKED:
            for name in ("requirements", "requirements-dev"):
                argv: list[str | Path] = [PYTHON, "-m", "uv", "--directory", folder]
                argv += ["pip", "compile", "--quiet", "--universal"]
                argv += ["--python-version", "3.11", "--generate-hashes", *arguments]
                argv += [f"{name}.in", "-o", f"{name}.txt"]
                status = family.foreground(argv, os.environ)
                if status:
                    return status
        say("requirements*.txt and media/requirements*.txt are written.")
        return 0


def make_secrets(_arguments: list[str]) -> int:
    """Write the secret files of docker-compose.yml that are missing."""
    python.ensure()
    with Family() as family:
        for name in localenv.compose_secrets(family, ROOT / "secrets"):
            say(f"secrets/{name} is written.")
    say("docker-compose.yml mounts ./secrets. Keep it out of backups and images.")
    return 0


TAKES_ARGUMENTS = ("test", "bench", "manage", "lock", "media")
COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run,
    "test": test,
    "check": check,
    "fix": fix,
    "bench": bench,
    "media": media.install,
    "manage": manage,
    "lock": lock,
    "secrets": make_secrets,
    "help": usage,
    "-h": usage,
    "--help": usage,
}

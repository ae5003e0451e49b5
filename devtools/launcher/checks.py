"""./dev check: all checks of the code that need no tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from . import locks, media
from .family import Family
from .places import LOCKED, PYTHON, ROOT, VENV
from .say import say

# ruff finds `dev` by name only: it has no suffix. Nothing may change the guides.
FORMAT = ["ruff", "format", ".", "dev", "--extend-exclude", "docs/guides"]


@dataclass
class Check:
    """A command that fails if the code has a fault."""

    name: str
    argv: list[str | Path]
    env: Mapping[str, str]


@dataclass
class Running:
    """A started check, and the file of its output."""

    name: str
    child: subprocess.Popen[Any]
    output: IO[bytes]
    started: float


def the_checks(env: Mapping[str, str], folder: Path) -> list[Check]:
    """Return all checks, slow ones first, so that they do not wait for a core."""
    manage: list[str | Path] = [PYTHON, "manage.py"]
    module: list[str | Path] = [PYTHON, "-m"]
    deploy = ["check", "--deploy", "--fail-level", "WARNING"]
    compose = ["--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    engine = media.types()
    return [
        Check("types", [*module, "mypy"], env),
        *([Check("media types", [PYTHON, *engine], env)] if engine else []),
        Check("imports", [PYTHON, VENV / "bin" / "lint-imports"], env),
        Check("migrations", [*manage, "makemigrations", "--check", "--dry-run"], env),
        Check("openapi", [*manage, "check_openapi"], env),
        Check("deployment", [*manage, *deploy], production(env, folder)),
        Check("format", [*module, *FORMAT, "--check"], env),
        Check("lint", [*module, "ruff", "check", ".", "dev"], env),
        Check("compose", [*module, "check_jsonschema", *compose], env),
        Check("dockerfile", [VENV / "bin" / "hadolint", "Dockerfile"], env),
    ]


def production(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment of a server in production: no var/env, an https URL."""
    empty = folder / "production"
    empty.mkdir()
    return {
        **env,
        "FOCUS_VAR": str(empty),
        "PUBLIC_BASE_URL": "https://focus.example",
        "BEHIND_TLS_PROXY": "1",
    }


def run_all(family: Family, env: Mapping[str, str], folder: Path) -> int:
    """Run all checks in parallel, and print each result, with the output of failures.

    Returns the exit code.
    """
    failed = _check_locks()
    waiting = the_checks(env, folder)
    running: list[Running] = []
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            running.append(_start(family, waiting.pop(0), folder))
        for check in [check for check in running if check.child.poll() is not None]:
            running.remove(check)
            failed += not _report(family, check)
        time.sleep(0.05)
    say(f"{failed} failed." if failed else "All is well.")
    return 1 if failed else 0


def _start(family: Family, check: Check, folder: Path) -> Running:
    output = open(folder / f"{check.name}.txt", "w+b")  # noqa: SIM115
    child = family.start(
        check.argv,
        env=check.env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    return Running(check.name, child, output, time.monotonic())


def _report(family: Family, check: Running) -> bool:
    family.reap(check.child)
    with check.output:
        check.output.seek(0)
        output = check.output.read().decode(errors="replace")
    ok = check.child.returncode == 0
    _line(check.name, ok, time.monotonic() - check.started, output)
    return ok


def _check_locks() -> int:
    started = time.monotonic()
    problems = [line for place in LOCKED for line in locks.problems(ROOT / place)]
    _line("locks", not problems, time.monotonic() - started, "\n".join(problems))
    return bool(problems)


def _line(name: str, ok: bool, seconds: float, output: str) -> None:
    word = "ok" if ok else "FAILED"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        word = f"\x1b[{32 if ok else 31}m{word}\x1b[0m"
    say(f"{name:<12} {word} ({seconds:.1f} s)")
    if not ok:
        say("\n".join(f"    {line}" for line in output.rstrip().splitlines()))

"""Checks that requirements*.txt fit requirements*.in."""

from __future__ import annotations

import re
from pathlib import Path

ASKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?(==|~=)([^\s;#]+)")
LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")


def problems(folder: Path) -> list[str]:
    """Return a line for each package that the lock file has wrong, missing or extra."""
    found = []
    for name in ("requirements", "requirements-dev"):
        source, lock = folder / f"{name}.in", folder / f"{name}.txt"
        locked = _locked(lock.read_text())
        for package, (how, version) in _asked(source.read_text()).items():
            have = locked.pop(package, ("", set()))
            if not _fits(how, version, have[0]):
                found.append(f"{lock.name}: {package} is {have[0] or 'missing'}.")
        for package, (_version, sources) in locked.items():
            if source.name in sources:
                found.append(f"{lock.name}: {package} is not in {source.name}.")
    return [*found, "Run ./dev lock."] if found else []


def _asked(text: str) -> dict[str, tuple[str, str]]:
    matches = filter(None, map(ASKED.match, text.splitlines()))
    return {_normal(match[1]): (match[2], match[3]) for match in matches}


def _locked(text: str) -> dict[str, tuple[str, set[str]]]:
    """Return each package's version, and the .in files that its "via" comment names."""
    found: dict[str, tuple[str, set[str]]] = {}
    sources: set[str] = set()
    for line in text.splitlines():
        if match := LOCKED.match(line):
            sources = set()
            found[_normal(match[1])] = (match[2], sources)
        elif "-r requirements" in line:
            sources.add(line.split("-r ")[1].strip())
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _fits(how: str, asked: str, have: str) -> bool:
    if how == "==":
        return have == asked
    wanted, actual = _numbers(asked), _numbers(have)
    return actual >= wanted and actual[: len(wanted) - 1] == wanted[:-1]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]

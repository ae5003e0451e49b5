"""Whether requirements*.txt still say what requirements*.in ask for."""

from __future__ import annotations

import re
from pathlib import Path

ASKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?(==|~=)([^\s;#]+)")
LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")


def problems(folder: Path) -> list[str]:
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
    """Each package's version, and which .in files its "via" comment names."""
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

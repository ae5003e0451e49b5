# ruff: noqa: S603 - starting programs is what this file is for
"""The user that PostgreSQL runs as, and folders that this user can enter."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .family import Argv, Family
from .places import ROOT, fingerprint
from .say import Trouble

SERVER_USER = "nobody"  # PostgreSQL refuses to run as root
SYSTEM = Path("/var/lib/focus-dev")  # for root, if SERVER_USER cannot enter the clone
LONGEST_SOCKET = 100  # bytes; Linux allows 107, macOS 103
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "TZ": "UTC", "LC_ALL": "C"}


def server_user() -> dict[str, Any]:
    """Return Popen's options for PostgreSQL's user: SERVER_USER if we are root.

    PostgreSQL refuses to run as root.
    """
    if os.geteuid():
        return {}
    try:
        user = pwd.getpwnam(SERVER_USER)
    except KeyError:
        raise Trouble(
            f"PostgreSQL cannot run as root and there is no user {SERVER_USER} here: "
            "use another user, or set DATABASE_URL to a server."
        ) from None
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def our_name() -> str:
    """Return the name of our user, which PostgreSQL needs. Raises `Trouble`."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise Trouble(
            f"User id {os.geteuid()} has no name on this machine and PostgreSQL needs "
            "one: use another user, or set DATABASE_URL to a server."
        ) from None


def can_run(argv: Argv) -> bool:
    """Whether a command succeeds for the user that PostgreSQL runs as."""
    try:
        outcome = subprocess.run(
            argv, capture_output=True, cwd="/", env=ENVIRONMENT, **server_user()
        )
    except PermissionError:
        return False
    except (OSError, subprocess.SubprocessError):
        raise Trouble(
            f"root cannot become {SERVER_USER}, and PostgreSQL cannot run as root: "
            "use another user, or set DATABASE_URL to a server."
        ) from None
    return outcome.returncode == 0


def can_enter(folder: Path) -> bool:
    """Whether the user that PostgreSQL runs as can enter a folder."""
    if os.geteuid():
        return True
    return can_run(["/bin/sh", "-c", 'test -x "$1"', "sh", folder])


def give_to_server_user(path: Path, mode: int) -> None:
    """Make the user that PostgreSQL runs as the owner of a path, and set its mode."""
    user = server_user()
    if user:
        os.chown(path, user["user"], user["group"])
    path.chmod(mode)


def open_folder(path: Path) -> Path:
    """Make a folder that every user can enter, under any umask."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)
    return path


def system_folder() -> Path:
    """Return this clone's folder outside the clone, for root."""
    return open_folder(open_folder(SYSTEM) / fingerprint(ROOT))


def home_of(folder: Path) -> Path:
    """Return the folder of the engines' data: `folder`, if PostgreSQL can enter it."""
    folder.mkdir(parents=True, exist_ok=True)
    if can_enter(folder):
        return folder
    return open_folder(system_folder() / folder.name)


def scratch(family: Family, parent: Path | None = None) -> Path:
    """Make a temporary folder that the engines can use. The family removes it."""
    shared = Path("/var/tmp")  # noqa: S108 - mkdtemp makes a private name in it
    for place in (parent, Path(tempfile.gettempdir()), shared):
        if place and place.is_dir() and can_enter(place):
            break
    else:
        place = system_folder()
    folder = Path(tempfile.mkdtemp(prefix="focus-", dir=place))
    family.remove_at_end(folder)
    return open_folder(folder)


def socket_folder(family: Family, home: Path, keep: bool) -> Path:
    """Return home/run, or a private folder in /tmp if that path is too long."""
    folder = home / "run"
    if len(os.fsencode(folder / ".s.PGSQL.5432")) <= LONGEST_SOCKET:
        folder.mkdir(exist_ok=True)
        give_to_server_user(folder, 0o700)
        return folder
    name = f"focus-{os.geteuid()}-{fingerprint(home)}"
    folder = Path("/tmp", name)  # noqa: S108 - its owner is checked below
    owner = server_user().get("user", os.geteuid())
    try:
        folder.mkdir(mode=0o700)
        give_to_server_user(folder, 0o700)
    except FileExistsError:
        # Every user may write to /tmp, so another user may have made this folder.
        facts = folder.lstat()
        private = stat.S_ISDIR(facts.st_mode) and not facts.st_mode & 0o077
        if not private or facts.st_uid != owner:
            raise Trouble(f"{folder} exists and is not ours: remove it.") from None
    if not keep:
        family.remove_at_end(folder)
    return folder

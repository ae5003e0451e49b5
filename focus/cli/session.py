"""Shared by all commands: common options, the client, and exit codes of failures."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from focus.cli import address, show
from focus.cli.client import Client
from focus.cli.failure import Failure
from focus.cli.refusals import not_signed_in
from focus.cli.token_store.records import (
    Credential,
    Store,
    from_environment,
    login_command,
)

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        show_default=False,
        help="Server to talk to. Else FOCUS_SERVER, else where you signed in last, "
        f"else {address.DEFAULT}.",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the server's JSON, errors as well.")
]
AllowHttp = Annotated[
    bool,
    typer.Option("--allow-http", help="Permit plain http to another machine."),
]


@dataclass(frozen=True)
class Options:
    """The options that every command takes."""

    server: str | None = None
    as_json: bool = False
    allow_http: bool = False


# The options before the command's name: `focus --server URL whoami`.
_leading: ContextVar[Options] = ContextVar("leading_options")


def remember(options: Options) -> None:
    """Keep the options that came before the command's name for `session`."""
    _leading.set(options)


class Session:
    """One run of a command: its server, its token store, its credential."""

    def __init__(self, options: Options) -> None:
        self.as_json = options.as_json
        self.store = Store()
        wanted = address.requested(options.server)
        # Read only if it is needed: an unreadable directory must not stop other runs.
        stored = None if wanted else self.store.current_server()
        self.server = address.choose(wanted, stored)
        address.require_encryption(self.server, allow_http=options.allow_http)

    @functools.cached_property
    def credential(self) -> Credential:
        """FOCUS_TOKEN, else the token stored for this server. Raises `Failure`."""
        found = from_environment() or self.store.find(self.server)
        if found is None:
            current = self.store.current_server()
            raise not_signed_in(login_command(self.server, current))
        return found

    @functools.cached_property
    def client(self) -> Client:
        return Client(self.server, self.credential)

    def print_result(self, line: str, data: dict[str, object]) -> None:
        """Print the result: `line`, or `data` as JSON with --json."""
        if self.as_json:
            show.as_json(data)
        else:
            show.out(line)


@contextmanager
def session(server: str | None, as_json: bool, allow_http: bool) -> Iterator[Session]:
    """Run a command's body. A `Failure` in it prints a line and sets the exit code."""
    leading = _leading.get(Options())
    options = replace(
        leading,
        server=server or leading.server,
        as_json=as_json or leading.as_json,
        allow_http=allow_http or leading.allow_http,
    )
    try:
        yield Session(options)
    except Failure as failure:
        if options.as_json:
            show.as_json(failure.body)
        show.err(failure.message)
        raise typer.Exit(failure.code) from None

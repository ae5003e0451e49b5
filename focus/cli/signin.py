"""`focus login`, `logout` and `print-token`: store, revoke and print a token."""

from __future__ import annotations

import platform
from typing import Annotated

import typer

from focus.cli import device, show
from focus.cli.client import Client
from focus.cli.failure import Failure
from focus.cli.session import AllowHttp, AsJson, Server, Session, session
from focus.cli.token_store.records import Credential, Storage, from_environment

_STILL_SET = "FOCUS_TOKEN is still set; only your shell can end that: unset FOCUS_TOKEN"


def login(
    server: Server = None,
    storage: Annotated[
        Storage, typer.Option(help="Where to keep the token; auto prefers a keyring.")
    ] = Storage.auto,
    name: Annotated[
        str | None,
        typer.Option(help="What the approval page and your token list call this."),
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="Ask for these scopes only, in one string.")
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
    as_json: AsJson = False,
    allow_http: AllowHttp = False,
) -> None:
    """Sign in by approving a code in a browser, on this machine or any other."""
    with session(server, as_json, allow_http) as focus:
        if from_environment():
            show.err("Note: FOCUS_TOKEN is set and beats the token stored now.")
        keyring = focus.store.prepare(focus.server, storage)
        place = keyring or f"{focus.store.path(focus.server)} (only you can read it)"
        show.err(f"The token will be stored in: {place}")
        client = Client(focus.server)
        label = name or f"Focus CLI on {platform.node() or 'this machine'}"
        challenge = device.start(client, client_name=label, scope=scope)
        with device.cancelled_on_exit(client, challenge):
            show.err(f"Your code: {challenge.user_code}")
            show.err(f"Approve it at: {challenge.url_with_code}")
            if not no_browser and device.open_browser(challenge.url_with_code):
                show.err("Your browser should open there.")
            with show.waiting("Waiting for your approval (Ctrl-C stops) ..."):
                grant = device.wait(client, challenge)
        kept_in = _keep(focus, grant, keyring, storage)
        expiry = show.moment(grant.expires_at)
        focus.print_result(
            f"Signed in to {focus.server}. The token expires {expiry}.",
            {
                "server": focus.server,
                "storage": kept_in,
                "expires_at": grant.expires_at,
            },
        )


def _keep(
    focus: Session, grant: device.Grant, keyring: str | None, storage: Storage
) -> str:
    """Store the token, and return the place. If the keyring refuses, use the file.

    If nothing can store the token, revoke it and raise `Failure`.
    """
    server, path = focus.server, str(focus.store.path(focus.server))
    try:
        try:
            focus.store.save(server, grant.token, grant.expires_at, keyring)
            return keyring or path
        except Failure as failure:
            if not keyring or storage is Storage.keyring:
                raise
            show.err(failure.message)
        show.err(f"Storing it in: {path}")
        focus.store.save(server, grant.token, grant.expires_at, None)
        return path
    except Failure:
        # A token that is stored nowhere would stay valid for 90 days.
        _revoke(server, Credential(grant.token, "memory", ""))
        raise


def logout(
    server: Server = None, as_json: AsJson = False, allow_http: AllowHttp = False
) -> None:
    """Revoke the stored token on the server, then forget it here."""
    with session(server, as_json, allow_http) as focus:
        from_env = from_environment() is not None
        stored = focus.store.find(focus.server)
        if stored is None:
            _nothing_stored(focus, from_env)
            return
        trouble = _revoke(focus.server, stored)
        focus.store.remove(focus.server)
        if from_env:
            show.err(_STILL_SET)
        if trouble:
            trouble.message = (
                f"Removed the token from {stored.place}, but it still works on the "
                f"server until {show.moment(stored.expires_at)}: {trouble.message}"
            )
            raise trouble
        focus.print_result(
            f"Signed out of {focus.server}: the token is revoked and forgotten.",
            {"server": focus.server, "revoked": True, "removed": True},
        )


def _nothing_stored(focus: Session, from_env: bool) -> None:
    # Also clears a record without its keyring entry.
    focus.store.remove(focus.server)
    if from_env:
        raise Failure(
            f"No token is stored for {focus.server}. {_STILL_SET}",
            error="token_in_environment",
        )
    focus.print_result(
        f"Not signed in to {focus.server}: nothing to do.",
        {"server": focus.server, "revoked": False, "removed": False},
    )


def _revoke(server: str, credential: Credential) -> Failure | None:
    """Revoke a token on the server. An unknown token counts as revoked.

    Returns the failure, if there is one.
    """
    try:
        Client(server, credential).call("DELETE", "/api/tokens/current")
    except Failure as failure:
        return None if failure.status in (401, 404) else failure
    return None


def print_token(server: Server = None, allow_http: AllowHttp = False) -> None:
    """Print the token and nothing else, for scripts: $(focus print-token)."""
    with session(server, False, allow_http) as focus:
        typer.echo(focus.credential.token)

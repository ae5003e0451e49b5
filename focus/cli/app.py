"""The command tree and `focus whoami`; other commands live in files of their own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from focus.cli import __version__, jobs, show, signin
from focus.cli.failure import OK, REFUSED, Failure
from focus.cli.session import (
    AllowHttp,
    AsJson,
    Options,
    Server,
    Session,
    remember,
    session,
)

app = typer.Typer(
    name="focus",
    no_args_is_help=True,
    # A pretty traceback prints local variables, which include the token.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Environment: FOCUS_TOKEN (beats the stored token), FOCUS_SERVER, "
    "FOCUS_CONFIG_DIR. Exit codes: 0 done, 1 refused, 2 usage, 3 sign-in, "
    "4 not found, 5 rate limit, 6 server or network.",
)
app.command()(signin.login)
app.command()(signin.logout)
app.command("print-token")(signin.print_token)
app.add_typer(jobs.app, name="jobs")


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code. A usage error prints one line."""
    try:
        return int(app(arguments, prog_name="focus", standalone_mode=False) or OK)
    except typer.Abort:
        return 130
    except typer.TyperException as error:
        _show_usage_error(error)
        return error.exit_code
    except OSError as error:
        what = error.filename or "write the output"
        what = f"use {what}" if error.filename else what
        show.err(f"Can't {what}: {error.strerror or error or type(error).__name__}.")
        return REFUSED


def _show_usage_error(error: typer.TyperException) -> None:
    message = error.format_message().replace("Value error, ", "").strip()
    if not message:  # no command was given, and Typer has printed the help
        return
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "focus"
    show.err(f"{message.rstrip('.')}. See: {path} --help")


def _version(wanted: bool) -> None:
    if wanted:
        show.out(f"focus {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    server: Server = None,
    as_json: AsJson = False,
    allow_http: AllowHttp = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Focus credits from the command line: sign in once, then run jobs."""
    remember(Options(server, as_json, allow_http))


@app.command()
def whoami(
    app_slug: Annotated[
        str | None,
        typer.Option(
            "--app",
            help="Meet this app: its starter credits come once, and the credits shown"
            " are what it may spend.",
        ),
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
    allow_http: AllowHttp = False,
) -> None:
    """Show the account, its credits, and the token in use."""
    with session(server, as_json, allow_http) as focus:
        params = None if app_slug is None else {"app": app_slug}
        wallet = focus.client.get("/api/wallet", params)
        token = _token_details(focus) | {"storage": focus.credential.place}
        if focus.as_json:
            show.as_json({"server": focus.server, **wallet, "token": token})
            return
        account = wallet.get("account") or {}
        show.pairs(
            {
                "email": str(account.get("email") or "-"),
                "account": str(account.get("id")),
                "plan": str(account.get("plan")),
                "credits": show.number(account.get("credits")),
                "reserved": show.number(account.get("reserved")),
                "server": focus.server,
                "token": _token_name(token),
                "scopes": _scopes(token.get("scopes")),
                "expires": show.moment(token.get("expires_at"), absent="-"),
                "stored in": focus.credential.place,
            }
        )


def _token_details(focus: Session) -> dict[str, Any]:
    """Return the token's details. A JWT, or a token without the scope, has none."""
    try:
        return focus.client.get("/api/tokens/current")
    except Failure as failure:
        if failure.status not in (403, 404):
            raise
        return {}


def _token_name(token: dict[str, Any]) -> str:
    ends = f" ({token['prefix']}...{token['last4']})" if token.get("last4") else ""
    return f"{token.get('name') or '-'}{ends}"


def _scopes(scopes: object) -> str:
    listed = scopes if isinstance(scopes, list) else str(scopes or "-").split()
    return " ".join(map(str, listed))

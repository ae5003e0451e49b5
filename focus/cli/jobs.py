"""`focus jobs list | create | complete | fail`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from itertools import chain
from typing import Annotated, Any

import typer

from focus.cli import show
from focus.cli.failure import Unreachable
from focus.cli.session import AllowHttp, AsJson, Server, Session, session
from focus.cli.values import Key, Meta, Metadata, amount, merged

COLUMNS = ("job_id", "status", "app", "action", "reserved", "charged", "created_at")

app = typer.Typer(
    no_args_is_help=True, help="Reserve credits for work, then settle or give back."
)


class Status(StrEnum):
    """The values of `--status`."""

    started = "started"
    completed = "completed"
    failed = "failed"
    expired = "expired"


JobId = Annotated[str, typer.Argument(metavar="JOB_ID", show_default=False)]


@app.command("list")
def list_jobs(
    app_slug: Annotated[
        str | None, typer.Option("--app", metavar="SLUG", help="Of this app only.")
    ] = None,
    status: Annotated[Status | None, typer.Option(help="In this state only.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, max=200, help="Jobs per page.")
    ] = None,
    cursor: Annotated[
        str | None, typer.Option(help="Go on where a page ended.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All pages.")] = False,
    server: Server = None,
    as_json: AsJson = False,
    allow_http: AllowHttp = False,
) -> None:
    """List jobs, newest first.

    A table on a terminal. Elsewhere tab separated lines: job_id, status, app,
    action, reserved, charged, created_at.
    """
    with session(server, as_json, allow_http) as focus:
        wanted = {
            "app": app_slug,
            "status": status.value if status else None,
            "limit": limit or (200 if everything else None),
            "cursor": cursor,
        }
        pages = _pages(focus, wanted, everything)
        if focus.as_json:
            show.as_json(_joined(list(pages)))
        elif show.is_terminal():
            _show_table(list(pages))
        else:
            for page in pages:
                show.fields(_rows(page), COLUMNS)
                _mention_more(page, everything)


@app.command()
def create(
    app_slug: Annotated[
        str, typer.Option("--app", metavar="SLUG", help="The app it is for.")
    ],
    action: Annotated[str, typer.Option(metavar="NAME", help="What is to be done.")],
    cost: Annotated[
        Decimal,
        typer.Option(parser=amount, metavar="CREDITS", help="Estimate to reserve."),
    ],
    metadata: Metadata = None,
    meta: Meta = None,
    ttl: Annotated[
        int | None,
        typer.Option(
            min=60,
            max=86_400,
            metavar="SECONDS",
            help="Give the credits back after this.",
        ),
    ] = None,
    idempotency_key: Key = None,
    server: Server = None,
    as_json: AsJson = False,
    allow_http: AllowHttp = False,
) -> None:
    """Start a job and reserve its credits."""
    with session(server, as_json, allow_http) as focus:
        body = _without_none(
            app=app_slug,
            action=action,
            cost_estimate=cost,
            metadata=merged(metadata, meta),
            ttl_seconds=ttl,
        )
        job = _post(focus, "/api/jobs", body, idempotency_key)
        focus.print_result(
            f"Job {job.get('job_id')} started: "
            f"{show.credits_text(job.get('reserved'))} reserved, {_left(job)}.",
            job,
        )


@app.command()
def complete(
    job_id: JobId,
    actual_cost: Annotated[
        Decimal | None,
        typer.Option(
            parser=amount, metavar="CREDITS", help="What it cost; else the estimate."
        ),
    ] = None,
    metadata: Metadata = None,
    meta: Meta = None,
    idempotency_key: Key = None,
    server: Server = None,
    as_json: AsJson = False,
    allow_http: AllowHttp = False,
) -> None:
    """Charge what a job cost and give the rest of its credits back."""
    with session(server, as_json, allow_http) as focus:
        body = _without_none(
            job_id=job_id, actual_cost=actual_cost, metadata=merged(metadata, meta)
        )
        done = _post(focus, "/api/jobs/complete", body, idempotency_key)
        focus.print_result(f"Job {job_id} completed: {_outcome(done)}.", done)


@app.command()
def fail(
    job_id: JobId,
    no_refund: Annotated[
        bool, typer.Option("--no-refund", help="Charge the reserved credits.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why it failed.")
    ] = None,
    idempotency_key: Key = None,
    server: Server = None,
    as_json: AsJson = False,
    allow_http: AllowHttp = False,
) -> None:
    """End a job that went wrong and give its credits back."""
    with session(server, as_json, allow_http) as focus:
        body = _without_none(job_id=job_id, refund=not no_refund, reason=reason)
        done = _post(focus, "/api/jobs/fail", body, idempotency_key)
        focus.print_result(f"Job {job_id} failed: {_outcome(done)}.", done)


def _post(
    focus: Session, path: str, body: dict[str, Any], key: str | None
) -> dict[str, Any]:
    key = key or str(uuid.uuid4())
    try:
        return focus.client.post(path, body, key=key)
    except Unreachable as failure:
        # The request may have arrived, and only its response may be lost.
        failure.message += f" To repeat it safely, add: --idempotency-key {key}"
        raise


def _pages(
    focus: Session, wanted: dict[str, Any], everything: bool
) -> Iterator[dict[str, Any]]:
    while True:
        page = focus.client.get("/api/jobs", _without_none(**wanted))
        yield page
        following = page.get("next_cursor")
        # A server that repeats a cursor must not cause an endless loop.
        if not everything or not following or following == wanted["cursor"]:
            return
        wanted = {**wanted, "cursor": following}


def _rows(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in page.get("jobs") or [] if isinstance(row, dict)]


def _joined(pages: list[dict[str, Any]]) -> dict[str, Any]:
    return {**pages[-1], "jobs": list(chain.from_iterable(map(_rows, pages)))}


def _show_table(pages: list[dict[str, Any]]) -> None:
    rows = _rows(_joined(pages))
    if rows:
        show.table(rows, COLUMNS)
    else:
        show.err("No jobs.")
    _mention_more(pages[-1], everything=False)


def _mention_more(page: dict[str, Any], everything: bool) -> None:
    if page.get("next_cursor") and not everything:
        show.err(f"There are more: --all, or --cursor {page['next_cursor']}")


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _left(answer: dict[str, Any]) -> str:
    return f"{show.credits_text(answer.get('credits_remaining'))} left"


def _outcome(answer: dict[str, Any]) -> str:
    parts = [f"{show.credits_text(answer.get('charged'))} charged"]
    if answer.get("refunded"):
        parts.append(f"{show.number(answer['refunded'])} given back")
    if answer.get("uncovered"):
        parts.append(f"{show.number(answer['uncovered'])} not covered")
    return ", ".join([*parts, _left(answer)])

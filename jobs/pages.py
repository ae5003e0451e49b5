"""/webhooks: an account's endpoints, their deliveries, and replays."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)
from markdown_it import MarkdownIt
from rest_framework.exceptions import ValidationError

from accounts.authentication import visitor
from accounts.models import User
from accounts.pages.visit import owners, person, require_second_proof
from focus.contracts import cursors
from focus.errors import DomainError, NotFound
from focus.limiting import limits
from focus.limiting.limits import GENERAL, Limited
from jobs.models import Attempt, Delivery, Endpoint
from jobs.webhooks import endpoints, outbox, redelivery, signatures

R = TypeVar("R")

LATEST = 10
PAGE = 25
# Characters of a response that the page shows.
SNIPPET = 1000
GUIDE = settings.BASE_DIR / "docs" / "webhooks.md"
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_NAME = re.compile(r"[!-~]{1,100}")
# Why an endpoint is paused, and what its owner can do.
REASONS: dict[str, str] = {
    Endpoint.Disabled.OWNER: "You paused it.",
    Endpoint.Disabled.STAFF: "Support paused it. Contact support to enable it.",
    Endpoint.Disabled.GONE: "The endpoint answered 410 Gone, which means that it is"
    " no longer in use.",
    Endpoint.Disabled.ASKED: "The endpoint answered with the header webhook-delivery:"
    " disable.",
    Endpoint.Disabled.FAILING: "Every delivery failed for 24 hours, at least"
    f" {endpoints.GIVEN_UP} of them.",
}


class BadEvents(DomainError):
    """The form names no event, or a malformed one."""

    code = "bad_events"


@require_http_methods(["GET", "HEAD", "POST"])
@owners
def home(request: HttpRequest, user: User) -> HttpResponse:
    """List the person's endpoints; a POST adds one and shows its secret."""
    if request.method != "POST":
        return _home(request, user)
    try:
        limits.tally_of(request).count((GENERAL,))
        require_second_proof(request)
        shown = endpoints.register(
            user=user,
            url=request.POST.get("url", "").strip(),
            events=_wanted(request),
            visitor=visitor(request),
        )
    except DomainError as refusal:
        return _home(request, user, refusal)
    if shown.created:
        return _show(request, user, shown)
    messages.success(
        request, "You already have this endpoint. The events were added to it."
    )
    return redirect(_page_of(shown.endpoint.pk))


@require_safe
@owners
def endpoint(request: HttpRequest, user: User, endpoint_id: uuid.UUID) -> HttpResponse:
    """Show one endpoint: its state, its secret's rotation and its deliveries."""
    found = endpoints.find(user=user, endpoint_id=endpoint_id)
    state = request.GET.get("state")
    state = state if state in Delivery.State.values else None
    rows = redelivery.listed(user=user, endpoint_id=endpoint_id, state=state)
    if cursor := request.GET.get("cursor"):
        try:
            rows = rows.filter(cursors.rest(cursor))
        except ValidationError as wrong:
            raise NotFound("Page not found.") from wrong
    page = [*rows[: PAGE + 1]]
    last = page[PAGE - 1] if len(page) > PAGE else None
    about = {
        "user": user,
        "endpoint": _endpoint(found),
        "deliveries": page[:PAGE],
        "state": state or "",
        "states": Delivery.State.values,
        "more": cursors.after(last.created_at, last.pk) if last else "",
        "from": f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M}",
    }
    return render(request, "jobs/endpoint.html", about)


@require_safe
@owners
def delivery(request: HttpRequest, user: User, delivery_id: uuid.UUID) -> HttpResponse:
    """Show one delivery: its exact body and up to 100 attempts."""
    found = redelivery.find(user=user, delivery_id=delivery_id)
    about = {
        "user": user,
        "delivery": found,
        "message": signatures.message_id(found.event_id),
        "body": bytes(found.event.body).decode(),
        "attempts": [
            {"made": attempt, "answer": snippet(attempt)}
            for attempt in redelivery.attempts(delivery=found).reverse()[:100]
        ],
    }
    return render(request, "jobs/delivery.html", about)


@require_safe
def guide(request: HttpRequest) -> HttpResponse:
    """Show the webhook guide, with receivers to copy."""
    user = person(request)
    about = {
        "user": user,
        "base": f"accounts/{'member' if user else 'base'}.html",
        "guide": _MARKDOWN.render(GUIDE.read_text()),
    }
    return render(request, "jobs/guide.html", about)


@require_POST
@owners
def act(
    request: HttpRequest, user: User, endpoint_id: uuid.UUID, action: str
) -> HttpResponse:
    """Call the rule behind a button of an endpoint's page."""
    rule, text = _ACTIONS[action]
    where = visitor(request)
    call = partial(rule, user=user, endpoint_id=endpoint_id, visitor=where)
    proven = rule in (endpoints.enable, endpoints.promote)
    if _call_rule(request, call, proven=proven) is not None:
        messages.success(request, text)
        if rule is endpoints.delete:
            return redirect("/webhooks")
    return redirect(_page_of(endpoint_id))


_ACTIONS: dict[str, tuple[Callable[..., Endpoint], str]] = {
    "enable": (
        endpoints.enable,
        "The endpoint is enabled. You can replay deliveries that failed before.",
    ),
    "disable": (endpoints.disable, "The endpoint is paused until you enable it."),
    "promote": (endpoints.promote, "Focus now signs with the new secret only."),
    "cancel": (
        endpoints.cancel_rotation,
        "The rotation is cancelled. The old secret stays.",
    ),
    "delete": (endpoints.delete, "The endpoint is deleted."),
}


@require_POST
@owners
def rotate(request: HttpRequest, user: User, endpoint_id: uuid.UUID) -> HttpResponse:
    """Start a rotation of an endpoint's secret and show the new one once."""
    where = visitor(request)
    call = partial(endpoints.rotate, user=user, endpoint_id=endpoint_id, visitor=where)
    shown = _call_rule(request, call, proven=True)
    if shown is None:
        return redirect(_page_of(endpoint_id))
    return _show(request, user, shown, rotating=True)


@require_POST
@owners
def test(request: HttpRequest, user: User, endpoint_id: uuid.UUID) -> HttpResponse:
    """Send a test event to an endpoint."""
    call = partial(redelivery.test, user=user, endpoint_id=endpoint_id)
    made = _call_rule(request, call)
    if made is None:
        return redirect(_page_of(endpoint_id))
    messages.success(request, "A test event was sent. Reload to see the result.")
    return redirect(f"/webhooks/deliveries/{made.pk}")


@require_POST
@owners
def recover(request: HttpRequest, user: User, endpoint_id: uuid.UUID) -> HttpResponse:
    """Replay failed deliveries: all of them, or those of a period."""

    def call() -> int:
        return redelivery.recover(
            user=user,
            endpoint_id=endpoint_id,
            since=_moment(request, "since"),
            until=_moment(request, "until"),
        )

    count = _call_rule(request, call)
    if count is not None:
        many = "1 delivery is" if count == 1 else f"{count:,} deliveries are"
        messages.success(request, f"{many} queued again.")
    return redirect(f"{_page_of(endpoint_id)}#deliveries")


@require_POST
@owners
def resend(request: HttpRequest, user: User, delivery_id: uuid.UUID) -> HttpResponse:
    """Queue a finished delivery again."""
    call = partial(redelivery.resend, user=user, delivery_id=delivery_id)
    if _call_rule(request, call) is not None:
        messages.success(
            request, "The delivery is queued again. Reload to see the result."
        )
    return redirect(f"/webhooks/deliveries/{delivery_id}")


def _call_rule(
    request: HttpRequest, call: Callable[[], R], *, proven: bool = False
) -> R | None:
    """Return the result of `call`. After a refusal, queue its message and return None.

    Counts against the general rate limit. `proven` requires a recent second proof.
    """
    try:
        limits.tally_of(request).count((GENERAL,))
        if proven:
            require_second_proof(request)
        return call()
    except NotFound:
        raise
    except DomainError as refusal:
        messages.error(request, refusal.message)
        return None


def snippet(attempt: Attempt) -> str:
    """Return the beginning of the response as text without NUL."""
    text = bytes(attempt.answer[:SNIPPET]).decode(errors="replace")
    return text.replace("\0", "�")


class BadMoment(DomainError):
    """The form contains a malformed time."""

    code = "bad_moment"


def _moment(request: HttpRequest, name: str) -> datetime | None:
    """Return a field of the form as a time in UTC, or None if it is empty."""
    typed = request.POST.get(name, "").strip()
    if not typed:
        return None
    try:
        moment = parse_datetime(typed)
    except ValueError:
        moment = None
    if moment is None:
        raise BadMoment("Enter a time in UTC, such as 2026-01-31T12:00.")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _wanted(request: HttpRequest) -> list[str]:
    """Return the chosen events, with typed names of future events.

    Raises `BadEvents` for none or a malformed name.
    """
    names = [*request.POST.getlist("event"), *request.POST.get("others", "").split()]
    wanted = list(dict.fromkeys(names))
    if not wanted:
        raise BadEvents("Choose at least one event.")
    if not all(map(_NAME.fullmatch, wanted)):
        raise BadEvents("An event's name has 1 to 100 visible ASCII characters.")
    return wanted


def _endpoint(row: Endpoint) -> dict[str, Any]:
    return {"row": row, "why": REASONS.get(row.disabled_because, "")}


def _home(
    request: HttpRequest, user: User, refusal: DomainError | None = None
) -> HttpResponse:
    ticked = request.POST.getlist("event") if refusal else outbox.TYPES[:5]
    about = {
        "user": user,
        "endpoints": [_endpoint(row) for row in endpoints.listed(user=user)],
        "deliveries": redelivery.latest(user=user, limit=LATEST),
        "types": [(name, name in ticked) for name in outbox.TYPES],
        "form": request.POST,
        "error": refusal.message if refusal else "",
        "allows_loopback": settings.WEBHOOK_ALLOW_PRIVATE,
    }
    response = render(request, "jobs/webhooks.html", about)
    if refusal is not None:
        response.status_code = 400
    if isinstance(refusal, Limited):
        response.status_code = 429
        response["Retry-After"] = str(refusal.retry_after_seconds)
    return response


def _show(
    request: HttpRequest, user: User, shown: endpoints.Shown, *, rotating: bool = False
) -> HttpResponse:
    """Show the secret in this response, which no cache may store."""
    about = {
        "user": user,
        "endpoint": shown.endpoint,
        "secret": shown.secret,
        "rotating": rotating,
    }
    response = render(request, "jobs/secret.html", about)
    response["Cache-Control"] = "no-store"
    return response


def _page_of(endpoint_id: uuid.UUID) -> str:
    return f"/webhooks/{endpoint_id}"


_ONE = "webhooks/<uuid:endpoint_id>"

urlpatterns = [
    path("webhooks", home),
    path("webhooks/guide", guide),
    path(_ONE, endpoint),
    *[path(f"{_ONE}/{action}", act, {"action": action}) for action in _ACTIONS],
    path(f"{_ONE}/rotate", rotate),
    path(f"{_ONE}/test", test),
    path(f"{_ONE}/recover", recover),
    path("webhooks/deliveries/<uuid:delivery_id>", delivery),
    path("webhooks/deliveries/<uuid:delivery_id>/resend", resend),
]

"""`@replayable`: an action that honours `Idempotency-Key`.

Decorates the action, not `dispatch`: authentication, permission and throttling have
run, and a refusal leaves by exception, so its transaction is rolled back with it.
"""

import functools
import hashlib
from collections.abc import Callable
from typing import Any, cast

import msgspec
from django.db import transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import replays
from accounts.models import User
from accounts.principals import Principal
from accounts.replays import Answer, Asked
from focus.contracts.wire import encode

Action = Callable[..., Response]


def replayable(action: Action) -> Callable[..., HttpResponseBase]:
    """Answer a repeated key with the first answer's status and bytes.

    An answer is kept if and only if it is a success that changed something, in the
    transaction of the change itself. Without the header nothing is different.
    """

    @functools.wraps(action)
    def answer(
        view: Any, request: Request, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return action(view, request, *args, **kwargs)
        scope = f"{view.slug}:{_caller(request)}"
        asked = Asked(scope, key, _fingerprint(request))
        with transaction.atomic():
            if stored := replays.find(asked):
                return _again(stored)
            response = action(view, request, *args, **kwargs)
            if response.status_code < 300 and not hasattr(response, "unchanged"):
                kept = Answer(response.status_code, encode(response.data))
                replays.store(asked, kept)
            return response

    # For the OpenAPI documents.
    answer.takes_idempotency_key = True  # type: ignore[attr-defined]
    return answer


def unchanged(response: Response) -> Response:
    """Mark an answer that only reports what was so before: no key keeps it."""
    response.unchanged = True  # type: ignore[attr-defined]
    return response


def _again(stored: Answer) -> HttpResponse:
    return HttpResponse(
        stored.body,
        status=stored.status,
        content_type="application/json",
        headers={"Idempotent-Replayed": "true"},
    )


def _caller(request: Request) -> str:
    principal = cast(Principal, request.auth)
    if principal.app is not None:
        return f"app:{principal.app.pk}"
    return f"user:{cast(User, principal.user).pk}"


def _fingerprint(request: Request) -> bytes:
    """Of the request as it is meant: key order and white space do not count."""
    body = _canonical.encode(request.data)
    line = f"{request.method} {request.path.rstrip('/')}\n".encode()
    return hashlib.sha256(line + body).digest()


_canonical = msgspec.json.Encoder(decimal_format="number", order="sorted")

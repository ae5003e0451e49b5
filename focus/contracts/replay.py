"""`@replayable`: an action that honours `Idempotency-Key`.

Decorates the action, not `dispatch`: authentication, permission and throttling have
run, and a refusal leaves by exception, so its transaction is rolled back with it.
"""

import functools
import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
from django.db import transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import replays
from accounts.authentication import principal_of, require_second_proof, user_of
from accounts.replays import KeyedRequest, StoredAnswer
from focus.contracts.wire import encode

Action = Callable[..., Response]


def replayable(action: Action) -> Callable[..., HttpResponseBase]:
    """Answer a repeated key with the first answer's status and bytes.

    An answer is kept if and only if it is a success that changed something, in the
    transaction of the change itself. Without the header nothing is different.
    """
    return _replaying(action)


def replayable_secret(
    field: str,
) -> Callable[[Action], Callable[..., HttpResponseBase]]:
    """As `replayable`, for an answer whose `field` is a secret: it is kept encrypted,
    and repeated for `replays.SECRET_KEPT`; after that the answer comes without it.
    """
    return functools.partial(_replaying, secret=field)


def resumable(action: Action) -> Callable[..., HttpResponseBase]:
    """As `replayable`, for an action that asks another service in its middle, where no
    transaction may be open.

    The action gets `once`: a name of this very request (None without the header), the
    same at every repetition, by which it must make repetitions one. Two at the same
    time may both work; one answer is kept, and both get it.
    """

    @functools.wraps(action)
    def answer(
        view: Any, request: Request, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return action(view, request, *args, once=None, **kwargs)
        asked = KeyedRequest(
            f"{view.slug}:{_caller(request)}", key, _fingerprint(request)
        )
        if stored := _looked_up(asked):
            return _again(stored)
        response = action(view, request, *args, once=_name(asked), **kwargs)
        with transaction.atomic():
            if stored := replays.find(asked):
                return _again(stored)
            replays.store(asked, _kept(response, None))
        return response

    answer.takes_idempotency_key = True  # type: ignore[attr-defined]
    return answer


def _looked_up(asked: KeyedRequest) -> StoredAnswer | None:
    with transaction.atomic():
        return replays.find(asked)


def _name(asked: KeyedRequest) -> bytes:
    whole = f"{asked.scope}\n{asked.key}\n".encode() + asked.fingerprint
    return hashlib.sha256(whole).digest()


def _replaying(
    action: Action, *, secret: str | None = None
) -> Callable[..., HttpResponseBase]:
    @functools.wraps(action)
    def answer(
        view: Any, request: Request, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return action(view, request, *args, **kwargs)
        scope = f"{view.slug}:{_caller(request)}"
        asked = KeyedRequest(scope, key, _fingerprint(request))
        # Permission comes before the look-up, where it hangs on more than the action.
        if permitted := getattr(view, "permit_replay", None):
            permitted(request)
        with transaction.atomic():
            if stored := replays.find(asked):
                if secret is not None:
                    # A stored secret asks for the sign-in that a new one asks for.
                    require_second_proof(request)
                return _again(stored)
            response = action(view, request, *args, **kwargs)
            if response.status_code < 300 and not hasattr(response, "unchanged"):
                replays.store(asked, _kept(response, secret))
            return response

    # For the OpenAPI documents.
    answer.takes_idempotency_key = True  # type: ignore[attr-defined]
    return answer


def unchanged(response: Response) -> Response:
    """Mark an answer that only reports what was so before: no key keeps it."""
    response.unchanged = True  # type: ignore[attr-defined]
    return response


def _kept(response: Response, secret: str | None) -> StoredAnswer:
    said = encode(response.data)
    if secret is None:
        return StoredAnswer(response.status_code, said)
    public = {name: it for name, it in response.data.items() if name != secret}
    return StoredAnswer(response.status_code, encode(public), secret_body=said)


def _again(stored: StoredAnswer) -> HttpResponse:
    headers = {"Idempotent-Replayed": "true"}
    if stored.secret_body is not None:
        headers["Cache-Control"] = "no-store"
    return HttpResponse(
        stored.secret_body or stored.body,
        status=stored.status,
        content_type="application/json",
        headers=headers,
    )


def _caller(request: Request) -> str:
    principal = principal_of(request)
    if principal.app is not None:
        return f"app:{principal.app.pk}"
    user = f"user:{user_of(request).pk}"
    # Two apps of one person must neither read nor use up each other's keys.
    bound = principal.bound_to
    return user if bound is None else f"{user}:app:{bound.pk}"


def _fingerprint(request: Request) -> bytes:
    """Of the request as it is meant: key order, white space and 5.0 for 5 are one."""
    body = _canonical.encode(_plain(request.data))
    line = f"{request.method} {request.path.rstrip('/')}\n".encode()
    return hashlib.sha256(line + body).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    # A number of a million digits is a short text: leave those as they came.
    if isinstance(value, Decimal) and abs(value.adjusted()) < 30:
        return int(value) if value == value.to_integral_value() else value.normalize()
    return value


_canonical = msgspec.json.Encoder(decimal_format="number", order="sorted")

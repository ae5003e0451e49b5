"""`@replayable`: make an action idempotent by the header `Idempotency-Key`.

The decorators wrap the action, not `dispatch`: authentication, permissions and rate
limits come first. A refusal is an exception, so it rolls the transaction back.
"""

import functools
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
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
from focus.contracts.multipart import Uploaded
from focus.contracts.wire import encode

Action = Callable[..., Response]


def replayable(action: Action) -> Callable[..., HttpResponseBase]:
    """Answer a repeated key with the first answer's status and bytes.

    The answer is stored in the transaction of the change itself, and only if it is a
    success that changed something. Without the header the action runs as usual.
    """
    return _replaying(action)


def replayable_secret(
    field: str,
) -> Callable[[Action], Callable[..., HttpResponseBase]]:
    """As `replayable`, for an answer with a secret in `field`.

    The secret is stored encrypted and repeated for `replays.SECRET_KEPT`. Later replays
    omit it.
    """
    return functools.partial(_replaying, secret=field)


def resumable(action: Action) -> Callable[..., HttpResponseBase]:
    """As `replayable`, for an action that calls another service outside a transaction.

    The action gets `once`: a digest of key, caller and request, the same at every retry
    (None without the header). The action must use it to make its retries idempotent.
    Two requests may run at the same time; the first stored answer is returned to both.
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
            return _replayed(stored)
        response = action(view, request, *args, once=_name(asked), **kwargs)
        with transaction.atomic():
            if stored := replays.find(asked):
                return _replayed(stored)
            replays.store(asked, _stored_answer(response, None))
        return response

    answer.takes_idempotency_key = True  # type: ignore[attr-defined]
    return answer


def replayable_after(
    prepare: Callable[[Any, Request], AbstractContextManager[Any]],
) -> Callable[[Action], Callable[..., HttpResponseBase]]:
    """As `replayable`, for an action that works before its transaction begins.

    `prepare(view, request)` stores an upload, for example. The action gets what it
    yields. It ends after the transaction. If it ends by an exception, its work is not
    used: the action was refused, or a request with the same key was answered meanwhile.
    """

    def wrap(action: Action) -> Callable[..., HttpResponseBase]:
        @functools.wraps(action)
        def answer(view: Any, request: Request) -> HttpResponseBase:
            key = request.headers.get("Idempotency-Key")
            asked = None
            if key is not None:
                scope = f"{view.slug}:{_caller(request)}"
                asked = KeyedRequest(scope, key, _fingerprint(request))
                if stored := _looked_up(asked):
                    return _replayed(stored)
            try:
                with prepare(view, request) as prepared, transaction.atomic():
                    if asked is not None and (stored := replays.find(asked)):
                        raise _AnsweredMeanwhile(stored)
                    response = action(view, request, prepared)
                    if asked is not None:
                        replays.store(asked, _stored_answer(response, None))
            except _AnsweredMeanwhile as twin:
                return _replayed(twin.stored)
            return response

        answer.takes_idempotency_key = True  # type: ignore[attr-defined]
        return answer

    return wrap


class _AnsweredMeanwhile(Exception):
    def __init__(self, stored: StoredAnswer) -> None:
        super().__init__()
        self.stored = stored


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
        # Check before the lookup the permissions that depend on more than the action.
        if permitted := getattr(view, "permit_replay", None):
            permitted(request)
        with transaction.atomic():
            if stored := replays.find(asked):
                if secret is not None:
                    # A replayed secret needs the same second proof as a new one.
                    require_second_proof(request)
                return _replayed(stored)
            response = action(view, request, *args, **kwargs)
            if response.status_code < 300 and not hasattr(response, "unchanged"):
                replays.store(asked, _stored_answer(response, secret))
            return response

    # For the OpenAPI documents.
    answer.takes_idempotency_key = True  # type: ignore[attr-defined]
    return answer


def unchanged(response: Response) -> Response:
    """Mark an answer as a report without a change, so that no key stores it."""
    response.unchanged = True  # type: ignore[attr-defined]
    return response


def _stored_answer(response: Response, secret: str | None) -> StoredAnswer:
    body = encode(response.data)
    if secret is None:
        return StoredAnswer(response.status_code, body)
    public = {name: it for name, it in response.data.items() if name != secret}
    return StoredAnswer(response.status_code, encode(public), secret_body=body)


def _replayed(stored: StoredAnswer) -> HttpResponse:
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
    # Two apps of one user must not read or use up each other's keys.
    bound = principal.bound_to
    return user if bound is None else f"{user}:app:{bound.pk}"


def _fingerprint(request: Request) -> bytes:
    """Return a digest of the request's meaning.

    Key order, white space, and 5.0 for 5 make no difference.
    """
    body = _canonical.encode(_plain(request.data))
    line = f"{request.method} {request.path.rstrip('/')}\n".encode()
    return hashlib.sha256(line + body).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Uploaded):
        return value.arrival.sha256.hex()
    # Leave huge exponents alone: 1e1000000 is short, but its integer has a million
    # digits.
    if isinstance(value, Decimal) and abs(value.adjusted()) < 30:
        return int(value) if value == value.to_integral_value() else value.normalize()
    return value


_canonical = msgspec.json.Encoder(decimal_format="number", order="sorted")

"""The client of the Stripe API: idempotency keys, whole lists, and domain errors.

A call takes seconds at worst, so no transaction may be open.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import stripe
from django.conf import settings

from focus.errors import DomainError
from focus.outgoing import final_answers

log = logging.getLogger(__name__)

# The version that `payments.stripe_objects` parses. Raise it with the SDK.
API_VERSION = "2026-10-28.endive"
TIMEOUT = (3, 5)
RETRIES = 2
PAGE = 100
# How long requests share a key that replaces one with a replayed refusal.
NEW_KEY_SECONDS = 60


class PaymentsOff(DomainError):
    """This server has no key for Stripe."""

    code = "service_unavailable"
    retry_after_seconds = 3600


class StripeDown(DomainError):
    """Stripe did not respond, or limits our rate."""

    code = "service_unavailable"
    retry_after_seconds = 5


class StripeBusy(DomainError):
    """Stripe is still processing the same request."""

    code = "request_in_flight"
    retry_after_seconds = 1


class StripeRefused(DomainError):
    """Stripe refused the request; a retry changes nothing."""

    code = "payment_refused"


class CardDeclined(StripeRefused):
    """The bank declined the card. Fact: `reason`, the decline's code."""

    code = "payment_declined"


class Missing(DomainError):
    """Stripe has no such object under our key."""

    code = "not_found"


def v1() -> Any:
    """Return version 1 of Stripe's API, under the SDK's names. Raises `PaymentsOff`."""
    if not settings.STRIPE_SECRET_KEY:
        raise PaymentsOff("Payments are not set up on this server.")
    return _client_for(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE).v1


@cache
def _client_for(key: str, base: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        stripe_version=API_VERSION,
        base_addresses={"api": base},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(
            timeout=TIMEOUT, session=final_answers.session()
        ),
    )


def request(call: Callable[[], stripe.StripeObject]) -> dict[str, Any]:
    """Send one request and return the response as plain data.

    Raises the domain errors above.
    """
    with translated_errors():
        return call().to_dict()


def create_once(
    make: Callable[..., stripe.StripeObject], params: Mapping[str, Any], key: str
) -> dict[str, Any]:
    """Create an object once, however often this is called with `key`.

    Stripe keeps a refusal under its key for a day, even after its cause is gone. A
    replayed refusal is therefore retried under a new key, which all requests of the
    same minute share. Not for charges: see `gateway.charge`.
    """
    try:
        return request(lambda: make(dict(params), with_key(key)))
    except (StripeRefused, Missing, StripeDown) as no:
        if not _is_replayed(no):
            raise
    minute = int(time.time()) // NEW_KEY_SECONDS
    return request(lambda: make(dict(params), with_key(f"{key}-{minute}")))


def with_key(key: str) -> Any:
    """Return the SDK's request options for an idempotency key."""
    return {"idempotency_key": key}


def digest(params: Mapping[str, Any]) -> str:
    """Return a short hash of a request's params, as a part of its idempotency key.

    Stripe refuses different params under the same key.
    """
    text = json.dumps(params, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_replayed(no: DomainError) -> bool:
    headers = getattr(no.__cause__, "headers", None) or {}
    lowered = {str(name).lower(): value for name, value in dict(headers).items()}
    return lowered.get("idempotent-replayed") == "true"


def list_all(listed: Callable[..., Any], **params: Any) -> Iterator[Any]:
    """Yield every object of a list. Sends one request per page."""
    after: dict[str, str] = {}
    while True:
        wanted = {**params, "limit": PAGE, **after}
        page = request(lambda: listed(wanted))  # noqa: B023 — called at once
        yield from page["data"]
        if not page["has_more"] or not page["data"]:
            return
        after = {"starting_after": page["data"][-1]["id"]}


def complete_list(embedded: Any, listed: Callable[..., Any], **params: Any) -> Any:
    """Return a list that is embedded in another object, with all of its pages.

    Stripe embeds the first page only: ten objects, and `has_more`.
    """
    if not embedded or not embedded.get("has_more"):
        return embedded
    return {**embedded, "data": list(list_all(listed, **params)), "has_more": False}


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the SDK's errors into domain errors.

    Stripe's messages may name people, so they go into the server's log only.
    """
    try:
        yield
    except stripe.CardError as no:
        raise CardDeclined("The payment was declined.", reason=no.code or "") from no
    except stripe.IdempotencyError as used:
        raise StripeRefused("Stripe has this request with other params.") from used
    except stripe.InvalidRequestError as wrong:
        if wrong.http_status == 404 or wrong.code == "resource_missing":
            raise Missing("Stripe has no such object.") from wrong
        log.error("Stripe refused: %s (%s)", wrong.user_message, wrong.request_id)
        raise StripeRefused("The payment service refused this.") from wrong
    except (stripe.AuthenticationError, stripe.PermissionError) as refused:
        log.error("Stripe rejects our API key: %s", refused.user_message)
        raise StripeDown("Payments are not available right now.") from refused
    except stripe.StripeError as failed:
        if failed.http_status == 409:
            raise StripeBusy("The same payment is just being set up.") from failed
        log.warning("Stripe failed: %s", type(failed).__name__)
        raise StripeDown("The payment service does not answer right now.") from failed

"""Requests to Clerk's Backend API: a user's profile, and their linked OAuth tokens."""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.conf import settings

from accounts.providers import outbound
from accounts.providers.outbound import Reply, ServiceDown

log = logging.getLogger(__name__)

_breaker = outbound.Breaker()
# Clerk has a link without a token: the user must consent again.
_CONSENT_AGAIN = {"oauth_missing_refresh_token", "oauth_token_retrieval_error"}


@dataclass(frozen=True, slots=True)
class Profile:
    """A user's profile at Clerk. `email` is one that Clerk has verified, else None."""

    email: str | None = None
    first_name: str = ""
    last_name: str = ""


@dataclass(frozen=True, slots=True)
class LinkedToken:
    """A provider's access token, which Clerk stores and refreshes."""

    token: str = field(repr=False)
    scopes: list[str]
    expires_at: datetime | None


class ConsentNeeded(Exception):
    """The user's consent at the provider is revoked or expired."""


def is_configured() -> bool:
    """Return whether this server has a key for Clerk's Backend API."""
    return bool(settings.CLERK_SECRET_KEY)


def fetch_profile(*, clerk_id: str) -> Profile:
    """Return the user's profile, empty if Clerk does not know the id.

    Raises `ServiceDown`. Never call it inside a transaction.
    """
    reply = _get_from_clerk(f"/v1/users/{clerk_id}")
    if reply.status == 404:
        return Profile()
    answer = reply.json()
    return Profile(
        email=_verified(answer),
        first_name=_name(answer.get("first_name")),
        last_name=_name(answer.get("last_name")),
    )


def fetch_linked_token(*, clerk_id: str, provider: str) -> LinkedToken | None:
    """Return the user's token of `provider`, or None if they have not linked it.

    Raises `ConsentNeeded` and `ServiceDown`. Never call it inside a transaction.
    """
    reply = _get_from_clerk(
        f"/v1/users/{clerk_id}/oauth_access_tokens/oauth_{provider}?paginated=true"
    )
    if reply.status != 200:
        if _codes(reply) & _CONSENT_AGAIN:
            raise ConsentNeeded
        return None
    # Clerk versions that ignore `paginated` answer with a bare list.
    answer = _decoded(reply)
    listed = answer.get("data") if isinstance(answer, dict) else answer
    for item in listed if isinstance(listed, list) else []:
        if isinstance(item, dict) and isinstance(item.get("token"), str):
            return LinkedToken(item["token"], _scopes(item), _time(item))
    return None


def _get_from_clerk(path: str) -> Reply:
    reply = _breaker.get(
        f"{settings.CLERK_API_BASE}{path}",
        headers={"Authorization": f"Bearer {settings.CLERK_SECRET_KEY}"},
    )
    if reply.status in (401, 403):
        log.error("Clerk rejects CLERK_SECRET_KEY (%s).", reply.status)
    if reply.status in (401, 403, 429) or 300 <= reply.status < 400:
        raise ServiceDown(f"Clerk answered {reply.status}.")
    return reply


def _verified(answer: dict[str, Any]) -> str | None:
    """Return the primary address if it is verified, else the first verified one."""
    primary = answer.get("primary_email_address_id")
    listed = answer.get("email_addresses")
    proved = [
        item
        for item in (listed if isinstance(listed, list) else [])
        if isinstance(item, dict)
        and isinstance(item.get("verification"), dict)
        and item["verification"].get("status") == "verified"
        and isinstance(item.get("email_address"), str)
    ]
    proved.sort(key=lambda item: item.get("id") != primary)
    return proved[0]["email_address"] if proved else None


def _name(value: Any) -> str:
    """Return a name that PostgreSQL can store: no U+0000, at most 150 characters."""
    return value.replace("\x00", "")[:150] if isinstance(value, str) else ""


def _codes(reply: Reply) -> set[str]:
    answer = _decoded(reply)
    errors = answer.get("errors") if isinstance(answer, dict) else None
    return {
        str(error.get("code"))
        for error in (errors if isinstance(errors, list) else [])
        if isinstance(error, dict)
    }


def _decoded(reply: Reply) -> Any:
    try:
        return msgspec.json.decode(reply.body)
    except msgspec.DecodeError as broken:
        raise ServiceDown("Clerk sent an unreadable answer.") from broken


def _scopes(item: dict[str, Any]) -> list[str]:
    scopes = item.get("scopes")
    return [str(scope) for scope in scopes] if isinstance(scopes, list) else []


def _time(item: dict[str, Any]) -> datetime | None:
    """Return a token's expiry.

    Clerk sends milliseconds, or nothing without an expiry.
    """
    at = item.get("expires_at")
    if isinstance(at, bool) or not isinstance(at, int | float):
        return None
    try:
        return datetime.fromtimestamp(int(at) / (1000 if at > 10**11 else 1), UTC)
    except (ValueError, OverflowError, OSError):
        return None

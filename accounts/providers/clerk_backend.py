"""The two things that we ask Clerk itself: who somebody is, and their linked tokens."""

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
# Clerk has a link and no token: the person has to consent once more.
_CONSENT_AGAIN = {"oauth_missing_refresh_token", "oauth_token_retrieval_error"}


@dataclass(frozen=True, slots=True)
class Profile:
    """A person as Clerk knows them. `email` is one that they have proved to hold."""

    email: str | None = None
    first_name: str = ""
    last_name: str = ""


@dataclass(frozen=True, slots=True)
class LinkedToken:
    """A provider's access token, kept and refreshed by Clerk."""

    token: str = field(repr=False)
    scopes: list[str]
    expires_at: datetime | None


class ConsentNeeded(Exception):
    """The provider has taken its consent back, or let it run out."""


def is_configured() -> bool:
    return bool(settings.CLERK_SECRET_KEY)


def fetch_profile(*, clerk_id: str) -> Profile:
    """Who this is. Raises `ServiceDown`. Never call it in a transaction."""
    reply = _get_from_clerk(f"/v1/users/{clerk_id}")
    if reply.status == 404:
        return Profile()
    said = reply.json()
    return Profile(
        email=_verified(said),
        first_name=_name(said.get("first_name")),
        last_name=_name(said.get("last_name")),
    )


def fetch_linked_token(*, clerk_id: str, provider: str) -> LinkedToken | None:
    """The person's token of `provider`, or None where they have not linked it.

    Raises `ConsentNeeded` and `ServiceDown`. Never call it in a transaction.
    """
    reply = _get_from_clerk(
        f"/v1/users/{clerk_id}/oauth_access_tokens/oauth_{provider}?paginated=true"
    )
    if reply.status != 200:
        if _codes(reply) & _CONSENT_AGAIN:
            raise ConsentNeeded
        return None
    # Without `paginated` it was a bare list, and an older server ignores that word.
    said = _decoded(reply)
    listed = said.get("data") if isinstance(said, dict) else said
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
        log.error("Clerk refuses CLERK_SECRET_KEY (%s).", reply.status)
    if reply.status in (401, 403, 429) or 300 <= reply.status < 400:
        raise ServiceDown(f"Clerk answered {reply.status}.")
    return reply


def _verified(said: dict[str, Any]) -> str | None:
    """The primary address if it is proved, else the first that is."""
    primary, listed = said.get("primary_email_address_id"), said.get("email_addresses")
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


def _name(said: Any) -> str:
    """What PostgreSQL can keep of a name that anybody may have given themselves."""
    return said.replace("\x00", "")[:150] if isinstance(said, str) else ""


def _codes(reply: Reply) -> set[str]:
    said = _decoded(reply)
    errors = said.get("errors") if isinstance(said, dict) else None
    return {
        str(error.get("code"))
        for error in (errors if isinstance(errors, list) else [])
        if isinstance(error, dict)
    }


def _decoded(reply: Reply) -> Any:
    try:
        return msgspec.json.decode(reply.body)
    except msgspec.DecodeError as broken:
        raise ServiceDown("Clerk gave an answer we cannot read.") from broken


def _scopes(item: dict[str, Any]) -> list[str]:
    scopes = item.get("scopes")
    return [str(scope) for scope in scopes] if isinstance(scopes, list) else []


def _time(item: dict[str, Any]) -> datetime | None:
    """Clerk's times are milliseconds; a token of a provider that has none has none."""
    at = item.get("expires_at")
    if isinstance(at, bool) or not isinstance(at, int | float):
        return None
    try:
        return datetime.fromtimestamp(int(at) / (1000 if at > 10**11 else 1), UTC)
    except (ValueError, OverflowError, OSError):
        return None

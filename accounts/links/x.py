"""X (Twitter) as an OAuth 2.0 provider: code, PKCE, and tokens that are renewed."""

import base64
import hashlib
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.utils import timezone

from accounts.links.protocol import (
    CallbackQuery,
    ConsentGone,
    LinkDeclined,
    LinkNotProven,
    OAuthTokens,
    ProvenAccount,
    single_value,
)
from accounts.providers import outbound
from accounts.providers.outbound import Reply, ServiceDown

# offline.access is what gives a refresh token.
SCOPES = ["tweet.read", "users.read", "offline.access"]
# What X says of a code or refresh token that it does not take. The first is OAuth's;
# X itself says the second, "Value passed for the token was invalid."
_REFUSED = {"invalid_grant", "invalid_request"}


def is_configured() -> bool:
    return bool(settings.X_CLIENT_ID and settings.X_CLIENT_SECRET)


def origin() -> str:
    return settings.X_OAUTH_BASE


def authorization_url(*, callback: str, state: str, verifier: str) -> str:
    """Where to send the person."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return f"{settings.X_OAUTH_BASE}/authorize?" + urlencode(
        {
            "response_type": "code",
            "client_id": settings.X_CLIENT_ID,
            "redirect_uri": callback,
            "scope": " ".join(SCOPES),
            "state": state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        },
        # X takes %20 and not + between scopes.
        quote_via=quote,
    )


def verify_callback(
    *, query: CallbackQuery, callback: str, state: str, verifier: str
) -> ProvenAccount:
    """The X account that came back with `query`, and its tokens.

    Raises `LinkDeclined`, `LinkNotProven` and `ServiceDown`.
    """
    if single_value(query, "state") != state:
        raise LinkNotProven("X's answer is for another question.")
    if "error" in query:
        raise LinkDeclined("X says that you did not agree.")
    form = {
        "grant_type": "authorization_code",
        "code": single_value(query, "code"),
        "redirect_uri": callback,
        "code_verifier": verifier,
    }
    try:
        tokens = _tokens(_post("token", form), before=None)
    except ConsentGone as refused:
        raise LinkNotProven("X does not stand by this answer.") from refused
    said = _me(tokens.access)
    return ProvenAccount(said["id"], said["username"], tokens)


def renew(*, tokens: OAuthTokens) -> OAuthTokens:
    """New tokens for the old refresh token, which X takes once.

    Raises `ConsentGone` where X takes it no more, and `ServiceDown`.
    """
    if tokens.refresh is None:
        raise ConsentGone("X gave no refresh token.")
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh}
    return _tokens(_post("token", form), before=tokens)


def revoke(*, tokens: OAuthTokens) -> None:
    """Give the consent back. Raises `ServiceDown`."""
    for token in filter(None, (tokens.refresh, tokens.access)):
        _post("revoke", {"token": token})


def look_up(*, subject: str, access_token: str | None) -> dict[str, Any]:
    """The name X shows now. Raises `ConsentGone` and `ServiceDown`."""
    said = _me(access_token or "")
    if said["id"] != subject:
        raise ServiceDown("X answered for another account.")
    return {
        "username": said["username"],
        "name": said["name"],
        "profile_url": f"https://x.com/{said['username']}",
    }


def _post(what: str, form: dict[str, str]) -> Reply:
    # RFC 6749, 2.3.1: both are form-encoded first.
    pair = f"{quote(settings.X_CLIENT_ID)}:{quote(settings.X_CLIENT_SECRET)}"
    basic = base64.b64encode(pair.encode()).decode()
    return outbound.post(
        f"{settings.X_API_BASE}/oauth2/{what}",
        form,
        headers={"Authorization": f"Basic {basic}"},
    )


def _tokens(reply: Reply, *, before: OAuthTokens | None) -> OAuthTokens:
    said = reply.json()
    if reply.status == 400 and said.get("error") in _REFUSED:
        raise ConsentGone("X no longer takes this token.")
    access, refresh = said.get("access_token"), said.get("refresh_token")
    seconds, scope = said.get("expires_in"), said.get("scope")
    if reply.status != 200 or not isinstance(access, str) or not access:
        # Also what X says of our own client id and secret: not the person's fault.
        raise ServiceDown(f"X answered {reply.status} instead of a token.")
    known = before or OAuthTokens("", None, SCOPES, None)
    return OAuthTokens(
        access,
        refresh if isinstance(refresh, str) and refresh else known.refresh,
        scope.split() if isinstance(scope, str) else known.scopes,
        _end(seconds),
    )


def _end(seconds: object) -> datetime | None:
    if isinstance(seconds, int) and 0 < seconds <= 366 * 86_400:
        return timezone.now() + timedelta(seconds=seconds)
    return None


def _me(access_token: str) -> dict[str, str]:
    reply = outbound.get(
        f"{settings.X_API_BASE}/users/me",
        headers={"Authorization": f"Bearer {access_token}"},
    )
    if reply.status == 401:
        raise ConsentGone("X no longer takes this token.")
    said = reply.json().get("data") if reply.status == 200 else None
    if not isinstance(said, dict) or not str(said.get("id", "")).isdecimal():
        raise ServiceDown(f"X answered {reply.status} and no account.")
    return {
        name: str(said.get(name, ""))[:limit]
        for name, limit in (("id", 64), ("username", 120), ("name", 120))
    }

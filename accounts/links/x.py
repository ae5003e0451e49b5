"""X (Twitter) as an OAuth 2.0 provider: code flow, PKCE and refresh tokens."""

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

# X returns a refresh token only with offline.access.
SCOPES = ["tweet.read", "users.read", "offline.access"]
# X's errors for a rejected code or refresh token. The first is OAuth's. X itself sends
# the second, with "Value passed for the token was invalid."
_REFUSED = {"invalid_grant", "invalid_request"}


def is_configured() -> bool:
    """Return whether this server has a client id and secret of X."""
    return bool(settings.X_CLIENT_ID and settings.X_CLIENT_SECRET)


def origin() -> str:
    """Return X's URL that forms redirect to, for the page's CSP."""
    return settings.X_OAUTH_BASE


def authorization_url(*, callback: str, state: str, verifier: str) -> str:
    """Return X's authorization URL."""
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
    """Verify the callback's `query`; return the X account with its tokens.

    Raises `LinkDeclined`, `LinkNotProven` and `ServiceDown`.
    """
    if single_value(query, "state") != state:
        raise LinkNotProven("X's answer has another state.")
    if "error" in query:
        raise LinkDeclined("Linking was cancelled at X.")
    form = {
        "grant_type": "authorization_code",
        "code": single_value(query, "code"),
        "redirect_uri": callback,
        "code_verifier": verifier,
    }
    try:
        tokens = _tokens(_post("token", form), before=None)
    except ConsentGone as refused:
        raise LinkNotProven("X did not confirm this answer.") from refused
    said = _me(tokens.access)
    return ProvenAccount(said["id"], said["username"], tokens)


def renew(*, tokens: OAuthTokens) -> OAuthTokens:
    """Exchange the refresh token, which X accepts once, for new tokens.

    Raises `ConsentGone` if X rejects it, and `ServiceDown`.
    """
    if tokens.refresh is None:
        raise ConsentGone("X gave no refresh token.")
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh}
    return _tokens(_post("token", form), before=tokens)


def revoke(*, tokens: OAuthTokens) -> None:
    """Revoke both tokens at X. Raises `ServiceDown`."""
    for token in filter(None, (tokens.refresh, tokens.access)):
        _post("revoke", {"token": token})


def look_up(*, subject: str, access_token: str | None) -> dict[str, Any]:
    """Return the account's current names and profile URL.

    Raises `ConsentGone` and `ServiceDown`.
    """
    said = _me(access_token or "")
    if said["id"] != subject:
        raise ServiceDown("X answered for another account.")
    return {
        "username": said["username"],
        "name": said["name"],
        "profile_url": f"https://x.com/{said['username']}",
    }


def _post(what: str, form: dict[str, str]) -> Reply:
    # RFC 6749, 2.3.1: form-encode client id and secret before Basic.
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
        raise ConsentGone("X no longer accepts this token.")
    access, refresh = said.get("access_token"), said.get("refresh_token")
    seconds, scope = said.get("expires_in"), said.get("scope")
    if reply.status != 200 or not isinstance(access, str) or not access:
        # X also sends this for a wrong client id or secret: our fault, not the user's.
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
        raise ConsentGone("X no longer accepts this token.")
    said = reply.json().get("data") if reply.status == 200 else None
    if not isinstance(said, dict) or not str(said.get("id", "")).isdecimal():
        raise ServiceDown(f"X answered {reply.status} and no account.")
    return {
        name: str(said.get(name, ""))[:limit]
        for name, limit in (("id", 64), ("username", 120), ("name", 120))
    }

"""Steam as an OpenID 2.0 provider.

Only Steam can check its signature (`check_authentication`), and that check only says
that Steam signed *something*. We must check that the answer is about this account, for
us, recent and unused. Each line of `_checked_subject` stops an attack that worked
against other sites (python-social-auth/social-core#538, liamcurry/passport-steam#120).
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.utils import timezone

from accounts import nonces
from accounts.links.protocol import (
    CallbackQuery,
    LinkDeclined,
    LinkNotProven,
    ProvenAccount,
    single_value,
)
from accounts.providers import outbound

NAMESPACE = "http://specs.openid.net/auth/2.0"
ANYBODY = f"{NAMESPACE}/identifier_select"
SIGNED = {
    "op_endpoint",
    "claimed_id",
    "identity",
    "return_to",
    "response_nonce",
    "assoc_handle",
}
# The maximum age of an answer, and how far Steam's clock may be ahead of ours.
FRESH = timedelta(minutes=5)
AHEAD = timedelta(minutes=1)
# Longer than a nonce is fresh, so that none is accepted twice.
REMEMBERED_SECONDS = 3600
LONGEST = 2048
_NONCE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)[\x21-\x7e]{0,235}", re.ASCII)
# `communityvisibilitystate` in Steam's Web API.
_VISIBILITY = {1: "private", 3: "public"}


def is_configured() -> bool:
    """Return True: OpenID needs no client registration at Steam."""
    return True


def origin() -> str:
    """Return Steam's URL that forms redirect to, for the page's CSP."""
    return settings.STEAM_OPENID_BASE


def authorization_url(*, callback: str, state: str, verifier: str) -> str:
    """Return Steam's sign-in URL. Steam signs `state` as a part of `return_to`."""
    return f"{_endpoint()}?" + urlencode(
        {
            "openid.ns": NAMESPACE,
            "openid.mode": "checkid_setup",
            "openid.claimed_id": ANYBODY,
            "openid.identity": ANYBODY,
            "openid.return_to": _return_to(callback, state),
            "openid.realm": f"{settings.PUBLIC_BASE_URL}/",
        }
    )


def verify_callback(
    *, query: CallbackQuery, callback: str, state: str, verifier: str
) -> ProvenAccount:
    """Verify the callback's `query` and return the Steam account.

    Raises `LinkDeclined`, `LinkNotProven`, and `ServiceDown` or `Unavailable`.
    """
    assertion = {
        name: single_value(query, name) for name in query if name.startswith("openid.")
    }
    if assertion.get("openid.mode") == "cancel":
        raise LinkDeclined("The sign-in at Steam was cancelled.")
    subject = _checked_subject(assertion, _return_to(callback, state))
    nonce = assertion["openid.response_nonce"]
    # Spend the nonce before the request to Steam: of two identical callbacks, one
    # fails.
    if not nonces.spend(purpose="steam", nonce=nonce, seconds=REMEMBERED_SECONDS):
        raise LinkNotProven("Steam's answer was used before.")
    reply = outbound.post(
        _endpoint(), {**assertion, "openid.mode": "check_authentication"}
    )
    lines = reply.body.decode("utf-8", "replace").splitlines()
    if reply.status != 200 or "is_valid:true" not in lines:
        raise LinkNotProven("Steam did not confirm this answer.")
    return ProvenAccount(subject)


def look_up(*, subject: str, access_token: str | None) -> dict[str, Any]:
    """Return an account's profile URL, and with STEAM_API_KEY its name and visibility.

    Raises `ServiceDown`.
    """
    known = {"profile_url": f"https://steamcommunity.com/profiles/{subject}"}
    if not settings.STEAM_API_KEY:
        return known
    query = urlencode({"key": settings.STEAM_API_KEY, "steamids": subject})
    reply = outbound.get(
        f"{settings.STEAM_API_BASE}/ISteamUser/GetPlayerSummaries/v2/?{query}"
    )
    if reply.status != 200:
        raise outbound.ServiceDown(f"Steam answered {reply.status}.")
    player = _player(reply.json(), subject)
    if player is None:
        return known
    visibility = player.get("communityvisibilitystate")
    return {
        **known,
        "username": str(player.get("personaname", ""))[:120],
        "visibility": _VISIBILITY.get(
            visibility if isinstance(visibility, int) else 0, "unknown"
        ),
    }


def _player(answered: dict[str, Any], subject: str) -> dict[str, Any] | None:
    response = answered.get("response")
    players = response.get("players") if isinstance(response, dict) else None
    if not isinstance(players, list):
        raise outbound.ServiceDown("Steam sent an unreadable answer.")
    return next(
        (
            player
            for player in players
            if isinstance(player, dict) and player.get("steamid") == subject
        ),
        None,
    )


def _endpoint() -> str:
    return f"{settings.STEAM_OPENID_BASE}/login"


def _return_to(callback: str, state: str) -> str:
    return f"{callback}?{urlencode({'state': state})}"


def _checked_subject(assertion: dict[str, str], return_to: str) -> str:
    """Check the answer's fields (OpenID 2.0, section 11) and return the SteamID.

    Raises `LinkNotProven`.
    """
    if any(len(value) > LONGEST for value in assertion.values()):
        raise LinkNotProven("Steam's answer is too long.")
    _require_value(assertion, "openid.ns", NAMESPACE)
    _require_value(assertion, "openid.mode", "id_res")
    _require_value(assertion, "openid.op_endpoint", _endpoint())
    _require_value(assertion, "openid.return_to", return_to)
    if lacking := SIGNED - set(assertion.get("openid.signed", "").split(",")):
        raise LinkNotProven(f"Steam did not sign {', '.join(sorted(lacking))}.")
    claimed = assertion.get("openid.claimed_id", "")
    _require_value(assertion, "openid.identity", claimed)
    one = re.escape(f"{settings.STEAM_OPENID_BASE}/id/")
    # Match the whole URL: `…/id/7656…/../7656…` has a valid beginning and end.
    found = re.fullmatch(rf"{one}(7656[0-9]{{13}})", claimed)
    if found is None:
        raise LinkNotProven("Steam's answer names no Steam account.")
    _require_fresh(assertion.get("openid.response_nonce", ""))
    return found[1]


def _require_value(assertion: dict[str, str], name: str, value: str) -> None:
    if assertion.get(name) != value:
        raise LinkNotProven(f"Steam's answer has the wrong {name}.")


def _require_fresh(nonce: str) -> None:
    found = _NONCE.fullmatch(nonce)
    try:
        made_at = datetime.strptime(
            found[1] if found else "", "%Y-%m-%dT%H:%M:%SZ"
        ).replace(tzinfo=UTC)
    except ValueError:
        raise LinkNotProven("Steam's answer has no readable response_nonce.") from None
    now = timezone.now()
    if not now - FRESH <= made_at <= now + AHEAD:
        raise LinkNotProven("Steam's answer is too old or from the future.")

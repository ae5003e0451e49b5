"""Queries of authentication: one for a known credential, none for a malformed one."""

from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import RequestFactory
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.authentication import Credentials
from accounts.credentials import app_keys, opaque, tokens, user_keys
from accounts.credentials.principals import Kind, Principal
from accounts.models import App, User
from accounts.signin import sessions
from accounts.signin.browser_sessions import SessionStore
from tests.clerk import ISSUER, SIGNER, public_pem, session_token
from tests.counting import statements


@pytest.fixture(autouse=True)
def _by_pem(settings: Any) -> None:
    settings.CLERK_ISSUER, settings.CLERK_JWT_KEY = ISSUER, public_pem(SIGNER)


def believe(**headers: Any) -> tuple[Principal | None, int]:
    """Return the authenticated principal and the number of queries."""
    request = Request(RequestFactory().get("/api/wallet", **headers))
    with statements() as asked:
        believed = Credentials().authenticate(request)
    return believed[1] if believed else None, len(asked)


def test_a_known_credential_costs_one_query(alice: User, video: App) -> None:
    alice.clerk_id = "user_2ann"
    alice.save()
    store = SessionStore()
    store.create()
    key = str(store.session_key)
    sessions.begin_in_browser(user=alice, browser_key=key, methods=["pwd"])
    signed_in = sessions.begin(
        user=alice, client="x", access_seconds=60, methods=["pwd"]
    )
    vouched = session_token(SIGNER, azp="https://video.example.com")
    shown: dict[Kind, dict[str, Any]] = {
        Kind.JWT: {"HTTP_AUTHORIZATION": f"Bearer {signed_in.access_token}"},
        Kind.PAT: {
            "HTTP_AUTHORIZATION": "Bearer "
            + tokens.issue(user=alice, name="x", scopes=[]).secret
        },
        Kind.APP_KEY: {
            "HTTP_AUTHORIZATION": "Bearer " + app_keys.issue(app=video, name="x").secret
        },
        Kind.USER_KEY: {"HTTP_X_API_KEY": user_keys.issue(user=alice, name="x").secret},
        Kind.CLERK: {"HTTP_AUTHORIZATION": f"Bearer {vouched}"},
        Kind.SESSION: {"HTTP_COOKIE": f"{django_settings.SESSION_COOKIE_NAME}={key}"},
    }
    assert set(shown) == set(Kind)
    for kind, headers in shown.items():
        # The first use in a minute also records the time of use.
        believe(**headers)
        principal, queries = believe(**headers)
        assert principal is not None
        assert (principal.kind, queries) == (kind, 1)
    # Clerk's cookie costs the same.
    principal, queries = believe(HTTP_COOKIE=f"__session={vouched}")
    assert principal is not None
    assert (principal.kind, queries) == (Kind.CLERK, 1)


def test_a_malformed_credential_costs_no_query(alice: User, video: App) -> None:
    def wrong(secret: str) -> str:
        return secret[:-1] + ("A" if secret[-1] != "A" else "B")

    pat = tokens.issue(user=alice, name="x", scopes=[]).secret
    app_key = app_keys.issue(app=video, name="x").secret
    user_key = user_keys.issue(user=alice, name="x").secret
    ours = sessions.begin(user=alice, client="x", access_seconds=60, methods=["pwd"])
    forged = session_token(SIGNER).rsplit(".", 1)[0] + ".AAAA"
    refused: list[dict[str, Any]] = [
        *[
            {"HTTP_AUTHORIZATION": f"Bearer {it}"}
            for it in (
                wrong(pat),
                wrong(app_key),
                f"{opaque.PAT}short",
                "nonsense",
                "",
                "a.b.c",
                wrong(ours.access_token[:-3]) + "AAA",
                forged,
                session_token(SIGNER, iss="https://evil.example"),
                session_token(SIGNER, exp=9, nbf=0, iat=0),
                session_token("k" * 40, algorithm="HS256"),
            )
        ],
        {"HTTP_AUTHORIZATION": "Basic YTpi"},
        {"HTTP_X_API_KEY": wrong(user_key)},
        {"HTTP_X_API_KEY": "nonsense"},
    ]
    for headers in refused:
        with statements() as asked, pytest.raises(AuthenticationFailed):
            Credentials().authenticate(
                Request(RequestFactory().get("/api/wallet", **headers))
            )
        assert asked == [], headers
    for cookie in ("a=b", f"__session={forged}", "__session=x", "focus_session=short"):
        assert believe(HTTP_COOKIE=cookie) == (None, 0)

"""Authentication of requests: accepted and refused credentials, cookies and CORS."""

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
import time_machine
from django.conf import settings as live
from django.db import OperationalError
from rest_framework.test import APIClient

from accounts.credentials import app_keys, scopes, tokens
from accounts.models import App, User
from accounts.partners import origins
from accounts.signin import closing, sessions
from accounts.signin.browser_sessions import SessionStore
from tests.counting import statements

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BASE = "http://localhost:8000"


@pytest.fixture
def alice_in_browser(alice: User) -> APIClient:
    """A client with alice's browser session and none of a browser's headers."""
    return in_browser(alice)


@pytest.fixture
def alice_by_jwt(alice: User) -> APIClient:
    made = sessions.begin(user=alice, client="test", access_seconds=60, methods=["pwd"])
    return APIClient(headers={"Authorization": f"Bearer {made.access_token}"})


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["error"]) == (status, code), body
    assert isinstance(body["message"], str)
    return body


class TestCredentials:
    """The dispatcher: accepted and refused credentials, and their queries."""

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "Bearer",
            "Bearer ",
            "Basic YWxpY2U6eA==",
            "Bearer nonsense",
            "Bearer a.b.c",
            "Bearer focus_pat_" + "0" * 38,
            "Bearer sk-tool-" + "0" * 38,
            "Bearer sk_live_" + "0" * 38,
            "focus_pat_" + "0" * 38,
            "Bearer \u00e9\u00e9.\u00e9.\u00e9",
            "Bearer " + "x" * 5000,
        ],
    )
    def test_a_malformed_bearer_is_401_without_a_query_despite_a_good_cookie(
        self, alice_in_browser: APIClient, header: str
    ) -> None:
        with statements() as queries:
            answer = alice_in_browser.get(
                "/api/tokens", headers={"Authorization": header}
            )
        refused(answer, 401, "invalid_token")
        assert answer["WWW-Authenticate"] == "Bearer"
        assert len(queries) == 0

    def test_a_bad_api_key_is_401_despite_a_good_cookie(
        self, alice_in_browser: APIClient
    ) -> None:
        headers = {"X-Api-Key": "sk_live_" + "0" * 38}
        answer = alice_in_browser.get("/api/tokens", headers=headers)
        refused(answer, 401, "invalid_token")

    def test_each_credential_costs_one_query(
        self,
        alice: User,
        video: App,
        alice_in_browser: APIClient,
        alice_by_jwt: APIClient,
        as_alice: APIClient,
        as_video: APIClient,
    ) -> None:
        for client in (alice_in_browser, alice_by_jwt, as_alice, as_video):
            client.get("/api/sessionToken")  # the minute's note of its use
            with statements() as queries:
                # Refused for a wrong body or kind, after authentication.
                answer = client.post("/api/device/complete", {})
            assert answer.status_code in (400, 403)
            assert len(queries) == 1, queries

    def test_an_expired_credential_has_an_error_code_of_its_own(
        self, alice: User
    ) -> None:
        with time_machine.travel(START, tick=False) as clock:
            issued = tokens.issue(user=alice, name="x", scopes=scopes.DEFAULT)
            signed_in = sessions.begin(
                user=alice, client="x", access_seconds=60, methods=["pwd"]
            )
            clock.shift(60)
            client = APIClient(
                headers={"Authorization": f"Bearer {signed_in.access_token}"}
            )
            refused(client.get("/api/tokens"), 401, "token_expired")
            clock.shift(timedelta(days=90))
            client = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
            refused(client.get("/api/tokens"), 401, "token_expired")

    def test_a_closed_account_is_refused_with_every_credential(
        self,
        alice: User,
        alice_in_browser: APIClient,
        alice_by_jwt: APIClient,
        as_alice: APIClient,
    ) -> None:
        closing.close(user=alice, actor="staff")
        refused(alice_by_jwt.get("/api/tokens"), 401, "invalid_token")
        refused(as_alice.get("/api/tokens"), 401, "invalid_token")
        refused(alice_in_browser.get("/api/tokens"), 401, "unauthenticated")

    def test_a_refresh_token_does_not_authenticate(self, alice: User) -> None:
        made = sessions.begin(
            user=alice, client="x", access_seconds=60, methods=["pwd"]
        )
        client = APIClient(headers={"Authorization": f"Bearer {made.refresh_token}"})
        refused(client.get("/api/tokens"), 401, "invalid_token")

    def test_inactive_is_403_and_revoked_is_401(
        self, video: App, as_video: APIClient
    ) -> None:
        issued = app_keys.issue(app=video, name="other")
        client = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
        app_keys.set_active(key_id=issued.key.pk, active=False)
        refused(client.get("/api/jobs"), 403, "key_inactive")
        app_keys.revoke(key_id=issued.key.pk)
        refused(client.get("/api/jobs"), 401, "invalid_token")
        App.objects.update(active=False)
        refused(as_video.get("/api/jobs"), 403, "app_inactive")

    def test_the_bearer_scheme_is_case_insensitive(self, alice: User) -> None:
        issued = tokens.issue(user=alice, name="x", scopes=scopes.DEFAULT)
        client = APIClient(headers={"Authorization": f"bearer {issued.secret}"})
        assert client.get("/api/tokens").status_code == 200


class TestCookies:
    """Browsers send cookies by themselves, so cookie requests pass same-site checks."""

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({}, 400),  # no browser; the body is what is wrong
            ({"Origin": BASE}, 400),
            ({"Origin": BASE, "Sec-Fetch-Site": "same-origin"}, 400),
            ({"Sec-Fetch-Site": "same-origin"}, 400),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-site"}, 403),
            ({"Origin": BASE, "Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "none"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "https://video.example.com.evil.example"}, 403),
            ({"Origin": "http://video.example.com"}, 403),
        ],
    )
    def test_the_origins_that_may_post_with_the_cookie(
        self,
        video: App,
        alice_in_browser: APIClient,
        headers: dict[str, str],
        status: int,
    ) -> None:
        answer = alice_in_browser.post("/api/device/complete", {}, headers=headers)
        assert answer.status_code == status
        if status == 403:
            refused(answer, 403, "cross_site_request")

    def test_a_cookie_on_an_apps_page_grants_what_the_apps_tokens_grant(
        self, video: App, alice_in_browser: APIClient
    ) -> None:
        headers = {"Origin": "https://video.example.com", "Sec-Fetch-Site": "same-site"}
        answer = alice_in_browser.post("/api/device/complete", {}, headers=headers)
        refused(answer, 403, "token_bound_to_app")
        answer = alice_in_browser.post("/api/jobs", {}, headers=headers)
        refused(answer, 400, "invalid_request")

    @pytest.mark.parametrize(
        "content_type",
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""],
    )
    def test_a_body_that_needs_no_preflight_is_refused(
        self, alice_in_browser: APIClient, content_type: str
    ) -> None:
        answer = alice_in_browser.generic(
            "POST",
            "/api/device/complete",
            '{"user_code":"BBBB-BBBB"}',
            content_type=content_type,
            headers={"Origin": BASE},
        )
        refused(answer, 403, "cross_site_request")

    def test_a_bearer_token_skips_the_same_site_checks(
        self, alice_by_jwt: APIClient
    ) -> None:
        headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        answer = alice_by_jwt.post("/api/device/complete", {}, headers=headers)
        refused(answer, 400, "invalid_request")

    @pytest.mark.parametrize("value", ["", "x", "a" * 32, "é" * 32, "A" * 32, "' --"])
    def test_a_cookie_without_a_session_is_anonymous(
        self, as_stranger: APIClient, value: str
    ) -> None:
        as_stranger.cookies[live.SESSION_COOKIE_NAME] = value
        refused(as_stranger.get("/api/tokens"), 401, "unauthenticated")


class TestCrossOrigin:
    """Guide, "Errors & CORS": "include credentials when relying on cookies"."""

    def preflight(self, client: APIClient, path: str, origin: str) -> Any:
        return client.options(
            path,
            headers={
                "Origin": origin,
                "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers": "authorization",
            },
        )

    def test_a_registered_origin_gets_credentials_exactly(
        self, as_stranger: APIClient, video: App
    ) -> None:
        origin = "https://video.example.com"
        for answer in (
            self.preflight(as_stranger, "/api/sessionToken", origin),
            as_stranger.get("/api/sessionToken", headers={"Origin": origin}),
        ):
            assert answer["Access-Control-Allow-Origin"] == origin
            assert answer["Access-Control-Allow-Credentials"] == "true"
            assert "origin" in answer["Vary"].lower()

    @pytest.mark.parametrize("path", ["/v1/usage", "/api/wallet", "/api/device/poll"])
    @pytest.mark.parametrize(
        "header",
        [
            *("x-api-key", "x-code-verifier", "idempotency-key", "authorization"),
            *("traceparent", "tracestate", "baggage", "sentry-trace"),
        ],
    )
    def test_a_page_may_send_these_headers(
        self, as_stranger: APIClient, video: App, path: str, header: str
    ) -> None:
        answer = as_stranger.options(
            path,
            headers={
                "Origin": "https://video.example.com",
                "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers": header,
            },
        )
        allowed = answer["Access-Control-Allow-Headers"].split(", ")
        assert header in allowed

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            "null",
            "http://video.example.com",
            "https://sub.video.example.com",
            "https://video.example.com.",
        ],
    )
    def test_an_unknown_origin_gets_no_cors_headers(
        self, as_stranger: APIClient, video: App, origin: str
    ) -> None:
        for answer in (
            self.preflight(as_stranger, "/api/sessionToken", origin),
            as_stranger.get("/api/sessionToken", headers={"Origin": origin}),
        ):
            assert "Access-Control-Allow-Origin" not in answer

    def test_an_inactive_apps_origin_gets_no_cors_headers(
        self, as_stranger: APIClient, video: App
    ) -> None:
        App.objects.update(active=False)
        headers = {"Origin": "https://video.example.com"}
        answer = as_stranger.get("/api/sessionToken", headers=headers)
        assert "Access-Control-Allow-Origin" not in answer

    def test_without_a_database_no_origin_is_allowed_and_the_answer_is_503(
        self, as_stranger: APIClient, video: App
    ) -> None:
        headers = {"Origin": "https://video.example.com"}
        with mock.patch.object(
            origins, "is_registered", side_effect=OperationalError("gone")
        ):
            answer = as_stranger.get("/api/sessionToken", headers=headers)
        assert answer.status_code == 503
        assert "Access-Control-Allow-Origin" not in answer

    def test_no_other_origin_may_read_our_pages(
        self, as_stranger: APIClient, video: App
    ) -> None:
        for path in ("/signin", "/device", "/"):
            headers = {"Origin": "https://video.example.com"}
            answer = as_stranger.get(path, headers=headers)
            assert "Access-Control-Allow-Origin" not in answer


def in_browser(user: User) -> APIClient:
    store = SessionStore()
    store.create()
    key = str(store.session_key)
    sessions.begin_in_browser(user=user, browser_key=key, methods=["pwd"])
    client = APIClient()
    client.cookies[live.SESSION_COOKIE_NAME] = key
    return client

"""Focus guide, sections 0, 1 and 6: session tokens, device login, access tokens."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt as pyjwt
import pytest
import time_machine
from django.conf import settings as live
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.credentials import scopes, tokens
from accounts.models import App, DeviceGrant, PersonalAccessToken, Session, User
from accounts.signin import devices, sessions
from accounts.signin.browser_sessions import SessionStore

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


class TestSessionToken:
    """Guide 1A: "Get a Clerk session JWT via API using cookies"."""

    def test_a_browser_session_becomes_a_token_of_15_minutes(self, alice: User) -> None:
        with time_machine.travel(START, tick=False):
            answer = in_browser(alice).get("/api/sessionToken")
            assert answer.status_code == 200
            body = answer.json()
            assert body == {
                "token": body["token"],
                "expires_at": "2026-03-01T12:15:00Z",
            }
            assert answer["Cache-Control"] == "no-store"
            claims = pyjwt.decode(body["token"], options={"verify_signature": False})
            assert claims["sub"] == str(alice.pk)
            assert claims["exp"] - claims["iat"] == 900
            client = APIClient(headers={"Authorization": f"Bearer {body['token']}"})
            assert client.get("/api/tokens").status_code == 200

    def test_the_token_dies_with_the_session(self, alice_in_browser: APIClient) -> None:
        token = alice_in_browser.get("/api/sessionToken").json()["token"]
        sessions.revoke(session=Session.objects.get())
        client = APIClient(headers={"Authorization": f"Bearer {token}"})
        refused(client.get("/api/tokens"), 401, "invalid_token")
        refused(alice_in_browser.get("/api/sessionToken"), 401, "unauthenticated")

    def test_a_401_has_the_address_of_the_sign_in_page(
        self, as_stranger: APIClient
    ) -> None:
        answer = as_stranger.get("/api/sessionToken")
        assert answer.status_code == 401
        assert answer.json() == {
            "error": "unauthenticated",
            "message": "Sign in or send a credential.",
            "signin_url": f"{BASE}/signin",
        }
        assert answer["WWW-Authenticate"] == "Bearer"
        assert answer["Cache-Control"] == "no-store"

    @pytest.mark.parametrize(
        ("headers", "back"),
        [
            (
                {"Origin": "https://video.example.com"},
                "https%3A%2F%2Fvideo.example.com",
            ),
            (
                {"Referer": "https://video.example.com/a?b=1&token=x"},
                "https%3A%2F%2Fvideo.example.com%2Fa%3Fb%3D1",
            ),
            ({"Origin": "https://evil.example"}, None),
            ({"Referer": "https://evil.example/https://video.example.com"}, None),
            ({"Origin": "null"}, None),
            ({"Referer": f"{BASE}/device"}, None),
        ],
    )
    def test_the_sign_in_page_returns_only_to_registered_apps(
        self,
        as_stranger: APIClient,
        video: App,
        headers: dict[str, str],
        back: str | None,
    ) -> None:
        answer = as_stranger.get("/api/sessionToken", headers=headers)
        tail = f"?redirect_to={back}" if back else ""
        assert answer.json()["signin_url"] == f"{BASE}/signin{tail}"

    def test_a_bad_header_is_401_with_the_way_to_sign_in(
        self, alice_in_browser: APIClient
    ) -> None:
        answer = alice_in_browser.get(
            "/api/sessionToken", headers={"Authorization": "Bearer nonsense"}
        )
        assert refused(answer, 401, "invalid_token")["signin_url"] == f"{BASE}/signin"

    def test_only_a_browser_session_is_exchanged(
        self, as_alice: APIClient, as_video: APIClient, alice_by_jwt: APIClient
    ) -> None:
        for client in (as_alice, as_video, alice_by_jwt):
            answer = client.get("/api/sessionToken")
            refused(answer, 403, "credential_not_accepted")
        said = as_alice.get("/api/sessionToken").json()["message"]
        assert "A personal access token needs no session token" in said

    def test_a_link_on_another_site_gets_no_token(
        self, alice_in_browser: APIClient
    ) -> None:
        for site, status in [
            ("cross-site", 403),
            ("same-site", 200),
            ("same-origin", 200),
            ("none", 200),
        ]:
            answer = alice_in_browser.get(
                "/api/sessionToken", headers={"Sec-Fetch-Site": site}
            )
            assert answer.status_code == status, site
        refused(
            alice_in_browser.get(
                "/api/sessionToken", headers={"Sec-Fetch-Site": "cross-site"}
            ),
            403,
            "cross_site_request",
        )


class TestDevice:
    """Guide 6: device-code & PAT endpoints."""

    def test_from_start_to_token(
        self, as_stranger: APIClient, alice: User, alice_in_browser: APIClient
    ) -> None:
        answer = as_stranger.post("/api/device/start", {"client_name": "focus-cli"})
        assert answer.status_code == 200
        start = answer.json()
        code = start["user_code"]
        assert start == {
            "device_code": start["device_code"],
            "user_code": code,
            "verification_uri": f"{BASE}/device",
            "verification_uri_complete": f"{BASE}/device?user_code={code}",
            "expires_in": 900,
            "interval": 5,
        }
        assert (len(code), code[4]) == (9, "-")
        assert answer["Cache-Control"] == "no-store"

        poll = f"/api/device/poll?device_code={start['device_code']}"
        answer = as_stranger.get(poll)
        assert answer.status_code == 202
        assert answer.json() == {"status": "pending", "interval": 5}
        answer = as_stranger.get(poll)
        assert answer.status_code == 202
        assert answer.json() == {"status": "slow_down", "interval": 10}
        assert answer["Retry-After"] == "10"

        answer = alice_in_browser.post("/api/device/complete", {"user_code": code})
        assert answer.status_code == 200
        assert answer.json() == {"ok": True}

        answer = as_stranger.get(poll)
        assert answer.status_code == 200
        body = answer.json()
        assert set(body) == {"token", "expires_at"}
        assert answer["Cache-Control"] == "no-store"
        lives = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
        assert timedelta(days=89, hours=23) < lives <= timedelta(days=90)

        refused(as_stranger.get(poll), 400, "invalid_device_code")
        client = APIClient(headers={"Authorization": f"Bearer {body['token']}"})
        assert client.get("/api/tokens/current").json()["name"] == "focus-cli"
        assert client.get("/api/wallet").status_code == 200

    def test_no_body_is_needed(self, as_stranger: APIClient) -> None:
        assert as_stranger.post("/api/device/start").status_code == 200
        grant = DeviceGrant.objects.get()
        assert (grant.client_name, grant.scopes) == ("A device", scopes.DEFAULT)

    def test_denied_expired_and_unknown_codes_have_their_own_errors(
        self, as_stranger: APIClient, alice_by_jwt: APIClient
    ) -> None:
        start = as_stranger.post("/api/device/start").json()
        poll = f"/api/device/poll?device_code={start['device_code']}"
        payload = {"user_code": start["user_code"].lower(), "approve": False}
        assert alice_by_jwt.post("/api/device/complete", payload).json() == {"ok": True}
        refused(as_stranger.get(poll), 400, "access_denied")
        other = as_stranger.post("/api/device/start").json()
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=901)):
            poll = f"/api/device/poll?device_code={other['device_code']}"
            refused(as_stranger.get(poll), 400, "expired_token")
        for code in ("nonsense", "A" * 43, ""):
            poll = f"/api/device/poll?device_code={code}"
            refused(as_stranger.get(poll), 400, "invalid_device_code")
        refused(as_stranger.get("/api/device/poll"), 400, "invalid_device_code")

    def test_a_stopped_login_cancels_its_code(
        self, as_stranger: APIClient, alice_by_jwt: APIClient
    ) -> None:
        start = as_stranger.post("/api/device/start").json()
        body = {"device_code": start["device_code"]}
        for _ in range(2):
            answer = as_stranger.post("/api/device/cancel", body)
            assert (answer.status_code, answer.json()) == (200, {"ok": True})
        poll = f"/api/device/poll?device_code={start['device_code']}"
        refused(as_stranger.get(poll), 400, "expired_token")
        payload = {"user_code": start["user_code"]}
        answer = alice_by_jwt.post("/api/device/complete", payload)
        refused(answer, 400, "invalid_user_code")
        unknown = as_stranger.post("/api/device/cancel", {"device_code": "A" * 43})
        refused(unknown, 400, "invalid_device_code")

    def test_a_proof_key_travels_in_a_header(
        self, as_stranger: APIClient, alice: User
    ) -> None:
        proof = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        payload = {"code_challenge": challenge, "client_name": "cli"}
        start = as_stranger.post("/api/device/start", payload).json()
        poll = f"/api/device/poll?device_code={start['device_code']}"
        devices.decide(user=alice, user_code=start["user_code"], approve=True)
        refused(as_stranger.get(poll), 400, "invalid_device_code")
        answer = as_stranger.get(poll, headers={"X-Code-Verifier": proof})
        assert answer.status_code == 200

    def test_invalid_device_requests_are_refused(self, as_stranger: APIClient) -> None:
        for payload, code in [
            ({"scope": "everything"}, "invalid_scope"),
            ({"code_challenge": "short"}, "invalid_code_challenge"),
            ({"client_name": "x" * 121}, "invalid_request"),
            ({"client_name": ["x"]}, "invalid_request"),
        ]:
            refused(as_stranger.post("/api/device/start", payload), 400, code)

    def test_neither_a_token_nor_a_key_may_approve(
        self, as_alice: APIClient, as_video: APIClient, as_stranger: APIClient
    ) -> None:
        payload = {
            "user_code": as_stranger.post("/api/device/start").json()["user_code"]
        }
        for client in (as_alice, as_video):
            answer = client.post("/api/device/complete", payload)
            refused(answer, 403, "credential_not_accepted")
        answer = as_stranger.post("/api/device/complete", payload)
        refused(answer, 401, "unauthenticated")
        assert DeviceGrant.objects.get().status == "pending"

    def test_wrong_codes(self, alice_by_jwt: APIClient) -> None:
        answer = alice_by_jwt.post("/api/device/complete", {})
        assert "user_code" in refused(answer, 400, "invalid_request")["fields"]
        for _ in range(5):
            payload = {"user_code": "BBBB-BBBB"}
            answer = alice_by_jwt.post("/api/device/complete", payload)
            refused(answer, 400, "invalid_user_code")
        answer = alice_by_jwt.post("/api/device/complete", payload)
        refused(answer, 429, "rate_limited")
        assert 890 <= int(answer["Retry-After"]) <= 900

    def test_twenty_codes_may_wait_at_one_address(self, as_stranger: APIClient) -> None:
        for _ in range(20):
            assert as_stranger.post("/api/device/start").status_code == 200
        answer = as_stranger.post("/api/device/start")
        refused(answer, 429, "rate_limited")
        assert int(answer["Retry-After"]) >= 1

    @pytest.mark.parametrize("slash", ["", "/"])
    def test_the_paths_work_with_and_without_a_slash(
        self, as_stranger: APIClient, slash: str
    ) -> None:
        start = as_stranger.post(f"/api/device/start{slash}").json()
        query = f"?device_code={start['device_code']}"
        assert as_stranger.get(f"/api/device/poll{slash}{query}").status_code == 202


class TestTokens:
    def row(self, token: PersonalAccessToken) -> dict[str, Any]:
        token.refresh_from_db()
        used = token.last_used_at
        return {
            "id": str(token.pk),
            "name": token.name,
            "prefix": "focus_pat_",
            "last4": token.last4,
            "scopes": token.scopes,
            "created_at": token.created_at.isoformat().replace("+00:00", "Z"),
            "expires_at": token.expires_at.isoformat().replace("+00:00", "Z"),
            "last_used_at": used and used.isoformat().replace("+00:00", "Z"),
        }

    def test_a_token_describes_itself(self, alice: User) -> None:
        issued = tokens.issue(user=alice, name="ci", scopes=[])
        client = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
        answer = client.get("/api/tokens/current")
        assert answer.status_code == 200
        assert answer.json() == self.row(issued.token)
        assert issued.secret not in answer.content.decode()

    def test_a_token_can_revoke_itself(self, alice: User) -> None:
        issued = tokens.issue(user=alice, name="ci", scopes=[])
        client = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
        answer = client.delete("/api/tokens/current")
        assert answer.status_code == 200
        assert answer.json()["id"] == str(issued.token.pk)
        refused(client.get("/api/tokens/current"), 401, "invalid_token")
        refused(client.delete("/api/tokens/current"), 401, "invalid_token")

    def test_only_a_token_has_a_current_one(
        self, alice_in_browser: APIClient, alice_by_jwt: APIClient, as_video: APIClient
    ) -> None:
        for client in (alice_in_browser, alice_by_jwt, as_video):
            answer = client.get("/api/tokens/current")
            refused(answer, 403, "credential_not_accepted")

    def test_the_list_has_the_users_own_tokens_newest_first(
        self, alice: User, bob: User, alice_in_browser: APIClient
    ) -> None:
        older = tokens.issue(user=alice, name="older", scopes=["jobs:read"]).token
        tokens.issue(user=bob, name="bob's", scopes=[])
        newer = tokens.issue(user=alice, name="newer", scopes=[]).token
        answer = alice_in_browser.get("/api/tokens")
        assert answer.status_code == 200
        assert answer.json() == {"tokens": [self.row(newer), self.row(older)]}

    def test_a_token_needs_the_scope_to_list(self, alice: User) -> None:
        issued = tokens.issue(user=alice, name="ci", scopes=["jobs:read"])
        client = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
        body = refused(client.get("/api/tokens"), 403, "insufficient_scope")
        assert body["required_scope"] == "account:read"

    def test_revoking_one(
        self, alice: User, bob: User, alice_by_jwt: APIClient, as_alice: APIClient
    ) -> None:
        mine = tokens.issue(user=alice, name="mine", scopes=[]).token
        theirs = tokens.issue(user=bob, name="theirs", scopes=[]).token
        answer = alice_by_jwt.delete(f"/api/tokens/{mine.pk}")
        assert answer.status_code == 200
        assert answer.json() == self.row(mine)
        for unknown in (theirs.pk, uuid.uuid4()):
            refused(alice_by_jwt.delete(f"/api/tokens/{unknown}"), 404, "not_found")
        answer = as_alice.delete(f"/api/tokens/{mine.pk}")
        refused(answer, 403, "credential_not_accepted")


def test_the_keys_are_published(as_stranger: APIClient, settings: Settings) -> None:
    answer = as_stranger.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "public, max-age=3600"
    (key,) = answer.json()["keys"]
    assert {**key, "x": "", "y": "", "kid": ""} == {
        "kty": "EC",
        "crv": "P-256",
        "alg": "ES256",
        "use": "sig",
        "x": "",
        "y": "",
        "kid": "",
    }


def in_browser(user: User) -> APIClient:
    store = SessionStore()
    store.create()
    key = str(store.session_key)
    sessions.begin_in_browser(user=user, browser_key=key, methods=["pwd"])
    client = APIClient()
    client.cookies[live.SESSION_COOKIE_NAME] = key
    return client

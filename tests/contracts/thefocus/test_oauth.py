"""Focus guide, "OAuth token helpers": xToken, oauthToken/{provider}, xMe."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.credentials import app_keys, opaque, scopes, tokens, user_keys
from accounts.links import tokens as link_tokens
from accounts.links import x_profile
from accounts.links.protocol import OAuthTokens
from accounts.models import App, Link, User
from accounts.providers import clerk_backend
from accounts.signin import sessions
from tests.clerk import SIGNER, Clerk, session_token

X_TOKEN = "bWRKa1h3b0pVcGZ2TkxkRXh0Y1JmdE5qT2t4bDoxNzA:1:at:1"
KEPT = {
    "object": "oauth_access_token",
    "external_account_id": "eac_1",
    "provider_user_id": "2244994945",
    "token": X_TOKEN,
    "expires_at": 1_795_400_000_000,
    "provider": "oauth_x",
    "public_metadata": {},
    "label": None,
    "scopes": ["tweet.read", "users.read"],
}
ANN = {"data": {"id": "2244994945", "name": "Ann", "username": "ann"}}


@pytest.fixture
def backend(clerk: Clerk, settings: Any) -> Clerk:
    settings.CLERK_SECRET_KEY = clerk.secret_key
    settings.CLERK_API_BASE = clerk.base
    settings.CLERK_PROFILE_URL = "https://accounts.thefocus.ai/user"
    settings.X_API_BASE = f"{clerk.base}/2"
    clerk_backend._breaker.close()
    x_profile._breaker.close()
    return clerk


@pytest.fixture
def as_ann(backend: Clerk, alice: User, as_alice: APIClient) -> APIClient:
    """Alice with a Clerk id, by a personal access token."""
    User.objects.filter(pk=alice.pk).update(clerk_id="user_2ann")
    backend.knows("user_2ann")
    return as_alice


class TestProviderToken:
    def test_the_answer_has_the_token_that_clerk_stores(
        self, backend: Clerk, as_ann: APIClient
    ):
        backend.linked("user_2ann", "x", [KEPT])
        backend.linked("user_2ann", "google", [{"token": "ya29.a0", "scopes": None}])
        answer = as_ann.get("/api/xToken")
        assert (answer.status_code, answer.json()) == (
            200,
            {
                "provider": "x",
                "token": X_TOKEN,
                "scopes": ["tweet.read", "users.read"],
                "expires_at": "2026-11-23T02:13:20Z",
            },
        )
        assert answer["Cache-Control"] == "no-store"
        assert as_ann.get("/api/oauthToken/x").json() == answer.json()
        assert as_ann.get("/api/oauthToken/google").json() == {
            "provider": "google",
            "token": "ya29.a0",
            "scopes": [],
            "expires_at": None,
        }
        asked = backend.asked("/v1/users/user_2ann/oauth")
        assert [it["path"].rsplit("/", 1)[-1] for it in asked] == [
            "oauth_x",
            "oauth_x",
            "oauth_google",
        ]

    @pytest.mark.parametrize(
        "kept",
        [[], [{"token": None}], [{}], [5], "oauth_token_provider_not_enabled"],
        ids=str,
    )
    def test_no_link_is_404(self, backend: Clerk, as_ann: APIClient, kept: Any):
        backend.linked("user_2ann", "x", kept)
        answer = as_ann.get("/api/xToken")
        assert (answer.status_code, answer.json()) == (
            404,
            {"error": "not_linked", "message": "No x account is linked to yours."},
        )

    def test_a_user_unknown_to_clerk_has_no_linked_account(
        self, backend: Clerk, as_bob: APIClient
    ):
        assert as_bob.get("/api/xToken").status_code == 404
        assert not backend.asked("/v1")

    @pytest.mark.parametrize(
        "code", ["oauth_missing_refresh_token", "oauth_token_retrieval_error"]
    )
    def test_withdrawn_consent_is_409_with_the_reconnect_address(
        self, backend: Clerk, as_ann: APIClient, code: str
    ):
        backend.linked("user_2ann", "x", code)
        answer = as_ann.get("/api/xToken")
        assert (answer.status_code, answer.json()) == (
            409,
            {
                "error": "reconnect_required",
                "message": "Your x account has to be connected again.",
                "reconnect_url": "https://accounts.thefocus.ai/user",
            },
        )

    @pytest.mark.parametrize("mode", ["down", "garbage", "huge", "moved"])
    def test_clerk_down_is_503_and_is_not_asked_again_for_five_seconds(
        self, backend: Clerk, as_ann: APIClient, mode: str
    ):
        backend.linked("user_2ann", "x", [KEPT])
        backend.mode(api=mode)
        answer = as_ann.get("/api/xToken")
        assert answer.status_code == 503
        assert answer.json()["error"] == "service_unavailable"
        assert answer["Retry-After"] == "5"
        if mode in ("down", "huge"):
            for _ in range(3):
                assert as_ann.get("/api/xToken").status_code == 503
            assert len(backend.asked("/v1")) == 1
        backend.mode(api="")
        clerk_backend._breaker.close()
        assert as_ann.get("/api/xToken").status_code == 200

    @pytest.mark.parametrize(
        "provider",
        ["X", "..", "x%2f..%2f..", "a" * 65, "x%0a", "é", "x.y"],
    )
    def test_an_invalid_provider_name_never_reaches_clerk(
        self, backend: Clerk, as_ann: APIClient, provider: str
    ):
        answer = as_ann.get(f"/api/oauthToken/{provider}")
        assert answer.status_code == 404
        assert not backend.asked("/v1")

    def test_an_account_linked_here_takes_precedence_over_clerks(
        self, backend: Clerk, as_ann: APIClient, alice: User
    ):
        backend.linked("user_2ann", "x", [KEPT])
        link = Link(user=alice, provider="x", subject="5", created_at=timezone.now())
        ends = timezone.now() + timedelta(hours=1)
        link_tokens.store(link, OAuthTokens("linked-here", None, ["users.read"], ends))
        link.save()
        said = as_ann.get("/api/xToken").json()
        assert (said["token"], said["scopes"]) == ("linked-here", ["users.read"])
        assert not backend.asked("/v1")
        # A link that needs new consent is not skipped in favour of Clerk's.
        Link.objects.update(is_active=False)
        answer = as_ann.get("/api/xToken")
        assert (answer.status_code, answer.json()["error"]) == (
            409,
            "reconnect_required",
        )
        assert answer.json()["reconnect_url"].startswith("http")

    def test_a_token_needs_its_scope(self, as_ann: APIClient, alice: User):
        few = tokens.issue(user=alice, name="ci", scopes=["jobs:read"]).secret
        for path in ("/api/xToken", "/api/oauthToken/google"):
            answer = APIClient(headers={"Authorization": f"Bearer {few}"}).get(path)
            assert answer.status_code == 403
            assert answer.json()["error"] == "insufficient_scope"
            assert answer.json()["required_scope"] == "oauth:read"

    def test_impersonating_support_gets_no_token(
        self, backend: Clerk, as_ann: APIClient
    ):
        backend.linked("user_2ann", "x", [KEPT])
        base = "http://localhost:8000"
        for act, status in ((None, 200), ({"sub": "user_admin"}, 403)):
            text = backend.token(azp=base, act=act)
            answer = APIClient(headers={"Authorization": f"Bearer {text}"}).get(
                "/api/xToken"
            )
            assert answer.status_code == status, answer.json()


class TestXMe:
    def ask(self, token: str, query: str = "", **headers: str) -> Any:
        bearer = {"Authorization": f"Bearer {token}"} | headers
        return Client().get(f"/api/xMe{query}", headers=bearer)

    def test_forwards_only_the_token_to_x(self, backend: Clerk, db: None):
        backend.x_knows(X_TOKEN, ANN)
        answer = self.ask(X_TOKEN, Cookie="__session=secret; a=b", Origin="https://a.b")
        assert (answer.status_code, answer.json()) == (200, ANN)
        assert answer["Cache-Control"] == "no-store"
        [asked] = backend.asked("/2")
        assert asked["path"] == "/2/users/me"
        assert asked["headers"]["Authorization"] == f"Bearer {X_TOKEN}"
        assert "Cookie" not in asked["headers"]
        assert asked["query"] == {}

    def test_field_names_are_those_of_x(self, backend: Clerk, db: None):
        backend.x_knows(X_TOKEN, ANN)
        fields = "created_at,public_metrics,created_at"
        assert self.ask(X_TOKEN, f"?user.fields={fields}&x=1").status_code == 200
        assert backend.asked("/2")[-1]["query"] == {
            "user.fields": "created_at,public_metrics"
        }
        for odd in ("secret", "id,,name", "id%26expansions=x", "", "id%0d%0aX: y"):
            answer = self.ask(X_TOKEN, f"?user.fields={odd}")
            assert answer.status_code == 400
            assert answer.json()["error"] == "invalid_request"
        assert len(backend.asked("/2")) == 1

    def test_refuses_to_forward_our_own_tokens(
        self, backend: Clerk, alice: User, video: App
    ):
        jwt = sessions.begin(
            user=alice, client="x", access_seconds=60, methods=["pwd"]
        ).access_token
        pat = tokens.issue(user=alice, name="x", scopes=scopes.DEFAULT).secret
        for ours in (
            pat,
            f'"{pat}"',
            f"x{pat}",
            pat.upper(),
            f"{opaque.PAT}nonsense",
            app_keys.issue(app=video, name="x").secret,
            user_keys.issue(user=alice, name="x").secret,
            jwt,
            session_token(SIGNER),
            session_token("k" * 40, algorithm="HS256"),
            backend.secret_key,
            "sk_live_123",
            "whsec_abc",
        ):
            answer = self.ask(ours)
            assert answer.status_code == 401, ours
            assert answer.json() == {
                "error": "invalid_token",
                "message": "Send your X (Twitter) access token here, and nothing else.",
            }
        assert not backend.asked("/2")

    @pytest.mark.parametrize(
        "header", [None, "", "Basic abc", "Bearer", "Bearer ", "Bearer a b", "Bearer é"]
    )
    def test_without_a_token_it_is_401(
        self, backend: Clerk, db: None, header: str | None
    ):
        headers = {} if header is None else {"Authorization": header}
        answer = Client().get("/api/xMe", headers=headers)
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == "Bearer"
        assert not backend.asked("/2")

    @pytest.mark.parametrize(
        ("said", "status", "error"),
        [
            (400, 400, "invalid_request"),
            (401, 401, "invalid_token"),
            (403, 403, "forbidden"),
            (404, 503, "service_unavailable"),
            (429, 429, "rate_limited"),
            (500, 503, "service_unavailable"),
        ],
    )
    def test_refusals_of_x_are_returned_in_this_guides_format(
        self, backend: Clerk, db: None, said: int, status: int, error: str
    ):
        backend.x_knows(X_TOKEN, {"title": "No", "detail": "<b>"}, said)
        answer = self.ask(X_TOKEN)
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert set(answer.json()) == {"error", "message"}
        if status in (429, 503):
            assert int(answer["Retry-After"]) >= 1

    @pytest.mark.parametrize("mode", ["down", "garbage", "huge", "moved"])
    def test_x_down_is_503(self, backend: Clerk, db: None, mode: str):
        backend.mode(x=mode)
        assert self.ask(X_TOKEN).status_code == 503

    def test_an_answer_of_64_kib_is_too_long(self, backend: Clerk, db: None):
        backend.x_knows(X_TOKEN, {"data": {"name": "x" * x_profile.MAX_BYTES}})
        assert self.ask(X_TOKEN).status_code == 503

    @pytest.mark.usefixtures("real_limits")
    def test_thirty_a_minute_for_an_address(self, backend: Clerk, db: None):
        backend.x_knows(X_TOKEN, ANN)
        statuses = [self.ask(X_TOKEN).status_code for _ in range(31)]
        assert statuses == [200] * 30 + [429]
        assert self.ask(X_TOKEN)["RateLimit-Policy"] == '"x-me";q=30;w=60'

    def test_the_token_is_in_no_log(
        self, backend: Clerk, db: None, caplog: pytest.LogCaptureFixture
    ):
        caplog.set_level(logging.DEBUG)
        backend.x_knows(X_TOKEN, ANN)
        self.ask(X_TOKEN)
        backend.mode(x="down")
        self.ask(X_TOKEN)
        assert caplog.records
        assert X_TOKEN not in caplog.text

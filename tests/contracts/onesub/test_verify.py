"""1sub's guide, verify-user: whole bodies, as it prints them."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.credentials import jwt
from accounts.models import App, User
from accounts.partners import consents
from accounts.signin import sessions
from jobs import tool_purchases
from jobs.models import ToolPurchase

pytestmark = pytest.mark.django_db
VERIFY = "/api/v1/verify-user"


@pytest.fixture
def bought(alice: User, tool: App, give: Any) -> tool_purchases.Bought:
    give(alice, 100)
    purchase = tool_purchases.create(user=alice, tool_id=tool.pk)
    return tool_purchases.process(user=alice, purchase_id=purchase.pk)


class TestVerifyUser:
    def test_as_the_guide_prints_it(self, as_stranger, bought, alice, tool):
        claims = jwt.read(jwt.TOOL, bought.token)
        ends = datetime.fromtimestamp(claims["exp"], UTC)
        # The token verifies again until it expires.
        for _ in range(2):
            answer = as_stranger.post(VERIFY, {"token": bought.token})
            assert (answer.status_code, answer.json()) == (
                200,
                {
                    "valid": True,
                    "user_id": str(alice.pk),
                    "tool_id": str(tool.pk),
                    "checkout_id": str(bought.purchase.pk),
                    "expires_at": ends.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                },
            )
        assert claims["exp"] - claims["iat"] == 3600
        assert int(answer["Retry-After"]) >= 1

    def test_expired(self, as_stranger, bought):
        claims = jwt.read(jwt.TOOL, bought.token)
        old = jwt.sign(jwt.TOOL, claims | {"exp": claims["iat"] - 1})
        answer = as_stranger.post(VERIFY, {"token": old})
        assert (answer.status_code, answer.json()) == (
            401,
            {"error": "Token expired", "message": "The provided token has expired"},
        )

    @pytest.mark.parametrize(
        "ended", ["purchase", "account", "permission", "garbage", "unpaid", "another"]
    )
    def test_an_ended_or_unknown_token_is_refused(
        self, as_stranger, bought, alice, tool, ended
    ):
        token = bought.token
        claims = jwt.read(jwt.TOOL, token)
        if ended == "purchase":
            tool_purchases.revoke(purchase_id=bought.purchase.pk, actor="test")
        elif ended == "account":
            User.objects.update(is_active=False)
        elif ended == "permission":
            consents.revoke(user=alice, app_id=tool.pk)
        elif ended == "garbage":
            token = "eyJhbGciOiJIUzI1NiIs..."
        elif ended == "unpaid":
            ToolPurchase.objects.update(paid_at=None, movement_id=None)
        else:
            token = jwt.sign(jwt.TOOL, claims | {"tool": str(uuid.uuid4())})
        answer = as_stranger.post(VERIFY, {"token": token})
        assert (answer.status_code, answer.json()) == (
            401,
            {"error": "Invalid token", "message": "The provided token is invalid"},
        )
        if ended == "unpaid":
            ToolPurchase.objects.update(
                paid_at=bought.purchase.paid_at, movement_id=bought.purchase.movement_id
            )

    def test_a_tool_token_opens_nothing_else(self, bought):
        client = APIClient(headers={"Authorization": f"Bearer {bought.token}"})
        for path in ("/api/wallet", "/api/jobs", "/api/sessionToken"):
            assert client.get(path).status_code == 401
        assert client.get("/v1/auth/me").status_code == 401
        answer = client.post("/api/checkout/create", {"tool_id": str(uuid.uuid4())})
        assert answer.json()["error"] == "Invalid token"

    def test_an_access_token_is_no_tool_token(self, as_stranger, alice):
        made = sessions.begin(
            user=alice, client="x", access_seconds=60, methods=["pwd"]
        )
        for token in (made.access_token, made.refresh_token):
            answer = as_stranger.post(VERIFY, {"token": token})
            assert (answer.status_code, answer.json()["error"]) == (
                401,
                "Invalid token",
            )

    @pytest.mark.parametrize(
        "body",
        [{}, {"token": ""}, {"token": 7}, {"token": None}, {"token": "x" * 4097}],
    )
    def test_an_invalid_body_is_400(self, as_stranger, body):
        answer = as_stranger.post(VERIFY, body)
        assert answer.status_code == 400
        assert answer.json()["error"] == "Invalid request"
        assert answer.json()["message"].startswith("token: ")

    def test_an_inactive_tool(self, as_stranger, bought):
        App.objects.update(active=False)
        answer = as_stranger.post(VERIFY, {"token": bought.token})
        assert (answer.status_code, answer.json()["error"]) == (403, "Tool inactive")

    def test_wrong_tokens_count_against_the_60_a_minute_only(
        self, as_stranger, bought, real_limits
    ):
        for n in range(60):
            answer = as_stranger.post(VERIFY, {"token": "x.y.z"})
            assert answer.status_code == 401
            assert answer["X-RateLimit-Limit"] == "60"
            assert answer["X-RateLimit-Remaining"] == str(59 - n)
        answer = as_stranger.post(VERIFY, {"token": bought.token})
        assert (answer.status_code, answer.json()["error"]) == (
            429,
            "Rate limit exceeded",
        )
        # No failed authentication was counted: other routes still read credentials.
        header = {"Authorization": "Bearer nonsense"}
        answer = as_stranger.get("/api/wallet", headers=header)
        assert answer.status_code == 401

"""1sub's guide, credits/consume: whole bodies, as it prints them."""

import hashlib
import re
import uuid
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts.credentials import app_keys
from accounts.models import App, User
from accounts.partners import consents
from focus.money import MICRO
from jobs.invariants import ALL
from jobs.models import Usage
from wallet import invariants, ledger
from wallet.models import Entry

pytestmark = pytest.mark.django_db
CONSUME = "/api/v1/credits/consume"
GUIDE = {
    "amount": 10,
    "reason": "Generated 1 image",
    "idempotency_key": "unique-request-id-12345",
}
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


LIMITS: dict[str, list[Any]] = {
    "user_id": [
        *("x", 7, True, None, [], "{}", ""),
        "550e8400e29b41d4a716446655440000",
        "urn:uuid:550e8400-e29b-41d4-a716-446655440000",
    ],
    "amount": [
        0,
        -1,
        1e-7,
        1e-10,
        1e-300,
        0.0000015,
        1_000_000.000001,
        1e300,
        "10",
        True,
        None,
        [],
    ],
    "reason": ["", "x" * 501, 7, None, ["x"]],
    "idempotency_key": ["", "x" * 256, 7, None, {}],
}
WRONG = [(field, wrong) for field, all_wrong in LIMITS.items() for wrong in all_wrong]


@pytest.fixture(autouse=True)
def _adds_up(db):
    yield
    assert invariants.violations(among=ALL) == []


@pytest.fixture
def key(tool: App) -> str:
    return app_keys.issue(app=tool, name="test").secret


@pytest.fixture
def as_tool(key: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
def payload(alice: User, tool: App, give: Any) -> dict[str, Any]:
    """The guide's request; alice has 100 credits and lets the tool spend them."""
    give(alice, 100)
    consents.grant(user=alice, app_id=tool.pk)
    return {"user_id": str(alice.pk), **GUIDE}


def left(user: User) -> float:
    return ledger.balance(account_id=user.pk).available_micro / MICRO


def test_float_rounding_errors_are_dropped_and_a_repeat_is_a_duplicate(
    as_tool: APIClient, alice: User, payload: dict[str, Any]
) -> None:
    first = as_tool.post(CONSUME, payload | {"amount": 0.1 + 0.2})
    assert (first.status_code, first.json()["new_balance"]) == (200, 99.7)
    again = as_tool.post(CONSUME, payload | {"amount": 0.3})
    assert (again.status_code, again.json()["is_duplicate"]) == (409, True)
    assert left(alice) == 99.7


class TestConsume:
    def test_as_the_guide_prints_it(self, as_tool, payload, alice):
        answer = as_tool.post(CONSUME, payload)
        body = answer.json()
        assert answer.status_code == 200
        assert body == {
            "success": True,
            "new_balance": 90,
            "transaction_id": body["transaction_id"],
        }
        assert re.fullmatch(ID, body["transaction_id"])
        entry = Entry.objects.get(kind="consume")
        assert str(entry.movement_id) == body["transaction_id"]
        assert (entry.actor, entry.shown_reason) == ("app:tool", "Generated 1 image")
        assert (entry.credit, left(alice)) == ("revenue:tool", 90)

    def test_headers(self, as_tool, payload):
        for answer in (as_tool.post(CONSUME, payload), as_tool.post(CONSUME, {})):
            assert re.fullmatch(
                r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer["X-RateLimit-Reset"]
            )
            assert {"X-RateLimit-Limit", "X-RateLimit-Remaining"} <= set(answer.headers)
            assert int(answer["Retry-After"]) >= 1

    def test_insufficient_credits_move_and_store_nothing(self, as_tool, payload, alice):
        payload["amount"] = 100.5
        answer = as_tool.post(CONSUME, payload)
        assert (answer.status_code, answer.json()) == (
            400,
            {
                "error": "Insufficient credits",
                "message": "User does not have sufficient credits",
                "current_balance": 100,
                "required": 100.5,
                "shortfall": 0.5,
            },
        )
        assert not Usage.objects.exists()
        # The key is free: the corrected retry may succeed.
        payload["amount"] = 100
        assert as_tool.post(CONSUME, payload).json()["new_balance"] == 0

    def test_an_identical_repeat_tells_that_the_charge_stands(
        self, as_tool, payload, alice, give
    ):
        first = as_tool.post(CONSUME, payload).json()
        give(alice, 7)
        as_tool.post(CONSUME, payload | {"idempotency_key": "another"})
        for spelled in (
            payload,
            dict(reversed(payload.items())),
            payload | {"unknown": 1},
        ):
            answer = as_tool.post(CONSUME, spelled)
            assert (answer.status_code, answer.json()) == (
                409,
                {
                    "error": "Duplicate request",
                    "message": "This request was charged before. "
                    "It was not charged again.",
                    "is_duplicate": True,
                    "transaction_id": first["transaction_id"],
                    "new_balance": 90,
                },
            )
        assert left(alice) == 87

    def test_a_number_spelled_otherwise_is_the_same_request(self, as_tool, payload):
        as_tool.post(CONSUME, payload)
        text = (
            f'{{"user_id":"{payload["user_id"]}","amount":10.000,'
            '"reason":"Generated 1 image","idempotency_key":"unique-request-id-12345"}'
        )
        answer = as_tool.generic("POST", CONSUME, text, content_type="application/json")
        assert answer.json()["is_duplicate"] is True

    @pytest.mark.parametrize(
        "other", [{"amount": 10.01}, {"reason": "Something else"}], ids=str
    )
    @pytest.mark.parametrize("mode", ["conflict", "replay"])
    def test_the_same_key_with_another_request(
        self, as_tool, payload, alice, tool, mode, other
    ):
        App.objects.update(duplicate_mode=mode)
        as_tool.post(CONSUME, payload)
        answer = as_tool.post(CONSUME, payload | other)
        assert (answer.status_code, answer.json()) == (
            409,
            {
                "error": "Duplicate request",
                "message": "This idempotency_key was used for another request. "
                "Nothing was charged now.",
                "is_duplicate": False,
            },
        )
        assert left(alice) == 90

    def test_the_same_key_for_another_person(self, as_tool, payload, tool, bob, give):
        as_tool.post(CONSUME, payload)
        give(bob, 50)
        other = payload | {"user_id": str(bob.pk)}
        # Without a consent the answer does not reveal whether the key was used.
        assert as_tool.post(CONSUME, other).status_code == 403
        consents.grant(user=bob, app_id=tool.pk)
        answer = as_tool.post(CONSUME, other)
        assert (answer.status_code, answer.json()["is_duplicate"]) == (409, False)
        assert left(bob) == 50

    def test_a_tool_may_ask_for_the_first_answer_again(self, as_tool, payload, tool):
        App.objects.update(duplicate_mode="replay")
        first = as_tool.post(CONSUME, payload)
        again = as_tool.post(CONSUME, payload)
        assert (again.status_code, again.content) == (200, first.content)
        assert again["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first.headers
        assert Usage.objects.count() == 1

    def test_another_tool_has_keys_of_its_own(self, as_tool, payload, as_video, video):
        consents.grant(user=User(pk=payload["user_id"]), app_id=video.pk)
        assert as_tool.post(CONSUME, payload).json()["new_balance"] == 90
        assert as_video.post(CONSUME, payload).json()["new_balance"] == 80

    def test_a_rotated_key_keeps_its_replays(self, as_tool, payload, key):
        first = as_tool.post(CONSUME, payload).json()
        old = app_keys.find(secret=key)
        new = app_keys.rotate(key_id=old.pk, overlap_seconds=60).secret
        for secret in (key, new):
            client = APIClient(headers={"Authorization": f"Bearer {secret}"})
            answer = client.post(CONSUME, payload)
            assert answer.status_code == 409
            assert answer.json()["transaction_id"] == first["transaction_id"]

    def test_keys_of_any_length_are_told_apart(self, as_tool, payload, alice):
        keys = ["k" * 255, "k" * 254 + "l", "é" * 255, "日本語 🚀", " k", "k ", "k"]
        keys.append(f"sha256:{hashlib.sha256(keys[0].encode()).hexdigest()}")
        for sent in keys:
            answer = as_tool.post(
                CONSUME, payload | {"amount": 1, "idempotency_key": sent}
            )
            assert answer.status_code == 200, sent
        for sent in keys:
            answer = as_tool.post(
                CONSUME, payload | {"amount": 1, "idempotency_key": sent}
            )
            assert answer.json()["is_duplicate"] is True
        assert left(alice) == 100 - len(keys)

    def test_fractions_are_exact(self, as_tool, payload, alice):
        for n in range(1, 8):
            sent = payload | {"amount": 0.01, "idempotency_key": f"k{n}"}
            answer = as_tool.post(CONSUME, sent)
            told = b'{"success":true,"new_balance":99.%d,' % (100 - n)
            assert answer.content.startswith(told)
        tiny = payload | {"amount": 0.000001, "idempotency_key": "tiny"}
        assert b'"new_balance":99.929999' in as_tool.post(CONSUME, tiny).content

    @pytest.mark.parametrize("who", ["unknown", "stranger", "revoked", "closed"])
    def test_a_user_without_consent_reads_like_an_unknown_user(
        self, as_tool, payload, who, alice, bob, tool
    ):
        assert as_tool.post(CONSUME, payload).status_code == 200
        if who == "unknown":
            payload["user_id"] = str(uuid.uuid4())
        elif who == "stranger":
            payload["user_id"] = str(bob.pk)
        elif who == "revoked":
            consents.revoke(user=alice, app_id=tool.pk)
        else:
            User.objects.filter(pk=alice.pk).update(is_active=False)
        # Even for a key that has charged: after a revocation the tool learns nothing.
        answer = as_tool.post(CONSUME, payload)
        assert (answer.status_code, answer.json()) == (
            403,
            {
                "error": "User not authorized",
                "message": "This person has not let the app spend their credits.",
            },
        )

    def test_every_invalid_field_is_listed(self, as_tool, payload):
        answer = as_tool.post(CONSUME, {})
        assert (answer.status_code, answer.json()) == (
            400,
            {
                "error": "Invalid request",
                "message": "user_id: This field is required. "
                "amount: This field is required. reason: This field is required. "
                "idempotency_key: This field is required.",
            },
        )

    @pytest.mark.parametrize(("field", "wrong"), WRONG, ids=str)
    def test_each_field_has_its_limits(self, as_tool, payload, alice, field, wrong):
        answer = as_tool.post(CONSUME, payload | {field: wrong})
        assert answer.status_code == 400
        body = answer.json()
        assert body["error"] == "Invalid request"
        assert body["message"].startswith(f"{field}: ")
        assert left(alice) == 100

    def test_the_largest_charge_is_a_million(self, as_tool, payload, alice, give):
        give(alice, 999_900)
        answer = as_tool.post(
            CONSUME, payload | {"amount": 1_000_000, "reason": "x" * 500}
        )
        assert answer.json()["new_balance"] == 0

    def test_new_balance_is_what_the_tool_may_spend(
        self, as_tool, payload, alice, give, video
    ):
        give(alice, 1000, only_for=video)
        assert as_tool.post(CONSUME, payload).json()["new_balance"] == 90
        much = payload | {"amount": 91, "idempotency_key": "much"}
        assert as_tool.post(CONSUME, much).json()["current_balance"] == 90
        assert as_tool.post(CONSUME, payload).json()["new_balance"] == 90


class TestWhoMayConsume:
    def test_a_malformed_key_is_refused(self, as_stranger, payload):
        for secret in ("sk-tool-xxxxxxxxxxxx", "nonsense", "sk-tool-" + "a" * 38):
            header = {"Authorization": f"Bearer {secret}"}
            answer = as_stranger.post(CONSUME, payload, headers=header)
            assert (answer.status_code, answer.json()) == (
                401,
                {
                    "error": "Invalid API key",
                    "message": "The provided API key is invalid or does not exist",
                },
            )

    def test_no_key(self, as_stranger, payload):
        answer = as_stranger.post(CONSUME, payload)
        assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized")

    def test_a_revoked_key(self, as_tool, payload, key):
        app_keys.revoke(key_id=app_keys.find(secret=key).pk)
        answer = as_tool.post(CONSUME, payload)
        assert (answer.status_code, answer.json()["error"]) == (401, "Invalid API key")

    def test_an_inactive_tool_or_key(self, as_tool, payload, tool, key):
        found = app_keys.find(secret=key)
        app_keys.set_active(key_id=found.pk, active=False)
        answer = as_tool.post(CONSUME, {})
        assert (answer.status_code, answer.json()["error"]) == (403, "API key inactive")
        App.objects.update(active=False)
        answer = as_tool.post(CONSUME, {})
        assert (answer.status_code, answer.json()["error"]) == (403, "Tool inactive")


def test_consume_is_limited_to_100_a_minute_a_key(as_tool, payload, tool, real_limits):
    for n in range(100):
        sent = payload | {"amount": 0.01, "idempotency_key": f"k{n}"}
        assert as_tool.post(CONSUME, sent).status_code == 200
    answer = as_tool.post(CONSUME, payload)
    assert (answer.status_code, answer["X-RateLimit-Limit"]) == (429, "100")
    other = app_keys.issue(app=tool, name="another").secret
    header = {"Authorization": f"Bearer {other}"}
    assert APIClient().post(CONSUME, payload, headers=header).status_code == 200


def test_a_stray_path_speaks_1sub(client: Client) -> None:
    answer = client.post("/api/checkout/nothing")
    assert answer.json()["error"] == "Not found"

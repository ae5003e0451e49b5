"""reviv guide, "Credits / Payments": packs, transactions, and Stripe's webhook."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe
from rest_framework.test import APIClient

from accounts.models import App, User
from focus.money import MICRO
from jobs import lifecycle
from payments.models import Pack, Purchase, StripeEvent
from tests.contracts.reviv.test_refresh import bearer, sign_in

PACKS = "/api/credits/packs/"
TRANSACTIONS = "/api/credits/transactions/"
PURCHASE = "/api/credits/purchase/"
WEBHOOKS = ("/api/credits/webhook/", "/api/v2/billing/webhook")
SECRETS = ["whsec_first", "whsec_second"]


@pytest.fixture
def as_reviv(alice: User) -> APIClient:
    return bearer(sign_in(alice).access_token)


class TestPacks:
    def test_the_guides_example(self, as_reviv: APIClient) -> None:
        answer = as_reviv.get(PACKS)
        assert answer.status_code == 200
        [pack] = answer.json()
        assert isinstance(pack.pop("id"), int)
        assert pack == {
            "sku": "PACK_5",
            "credits": 5,
            "price_cents": 499,
            "price_dollars": "$4.99",
            "active": True,
        }

    def test_active_ones_by_credits(self, as_reviv: APIClient) -> None:
        Pack.objects.create(sku="BIG", credits=5000, price_cents=123_456)
        Pack.objects.create(sku="SMALL", credits=1, price_cents=100)
        Pack.objects.create(sku="OLD", credits=2, price_cents=100, active=False)
        packs = as_reviv.get(PACKS).json()
        assert [pack["sku"] for pack in packs] == ["SMALL", "PACK_5", "BIG"]
        assert packs[2]["price_dollars"] == "$1,234.56"


class TestTransactions:
    def test_changes_of_the_available_credits_are_listed(
        self, as_reviv: APIClient, alice: User, video: App, give: Any
    ) -> None:
        give(alice, 5, source="purchase", category="paid")
        give(alice, 2)
        job = lifecycle.start(
            account_id=alice.pk,
            app=video,
            action="x",
            estimate_micro=3 * MICRO,
            metadata={},
            actor="test",
        ).job
        lifecycle.complete(
            job_id=job.pk,
            caller=lifecycle.Caller("test", account_id=alice.pk),
            cost_micro=MICRO // 100,
            metadata={},
        )
        answer = as_reviv.get(TRANSACTIONS)
        assert answer.status_code == 200
        rows = answer.json()
        assert [(row["amount"], row["transaction_type"]) for row in rows] == [
            (2.99, "job"),
            (-3, "job"),
            (2, "grant"),
            (5, "purchase"),
        ]
        assert all(
            set(row) == {*rows[0]} and isinstance(row["id"], int) for row in rows
        )
        assert {*rows[0]} == {"id", "amount", "transaction_type", "created_at"}
        assert b'"amount":5,' in answer.content

    def test_at_most_fifty_and_only_ones_own(
        self, as_reviv: APIClient, alice: User, bob: User, give: Any
    ) -> None:
        give(bob, 1)
        for _ in range(51):
            give(alice, 1)
        rows = as_reviv.get(TRANSACTIONS).json()
        assert len(rows) == 50
        assert rows[0]["id"] > rows[-1]["id"]


class TestPurchaseWithoutStripe:
    def test_an_unknown_or_withdrawn_pack_is_404(self, as_reviv: APIClient) -> None:
        Pack.objects.create(sku="OLD", credits=2, price_cents=100, active=False)
        for sku in ("NOPE", "OLD", "", "x" * 41):
            answer = as_reviv.post(PURCHASE, {"sku": sku})
            status, code = answer.status_code, answer.json()["error"]["code"]
            assert (status, code) in ((404, "UNKNOWN_PACK"), (400, "VALIDATION_ERROR"))
        assert not Purchase.objects.exists()

    def test_a_server_without_a_key_says_so(
        self, as_reviv: APIClient, settings: Any
    ) -> None:
        settings.STRIPE_SECRET_KEY = ""
        answer = as_reviv.post(PURCHASE, {"sku": "PACK_5"})
        assert answer.status_code == 503
        assert answer["Retry-After"] == "3600"
        assert answer.json() == {
            "error": {
                "code": "SERVICE_UNAVAILABLE",
                "message": "Payments are not set up on this server.",
                "details": {},
            }
        }

    def test_a_stripe_that_does_not_respond_is_503(
        self, as_reviv: APIClient, settings: Any
    ) -> None:
        settings.STRIPE_SECRET_KEY = "sk_test_unused"
        settings.STRIPE_API_BASE = "http://127.0.0.1:9"
        answer = as_reviv.post(PURCHASE, {"sku": "PACK_5"})
        assert answer.status_code == 503
        assert answer["Retry-After"] == "5"


def event(**more: Any) -> str:
    about = {"id": "cs_test_1", "object": "checkout.session", "payment_intent": None}
    whole = {
        "id": "evt_1",
        "object": "event",
        "type": "checkout.session.completed",
        "livemode": False,
        "created": int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()),
        "data": {"object": about},
    }
    return json.dumps({**whole, **more})


def send(path: str, body: Any, signature: str | None) -> Any:
    headers = {} if signature is None else {"Stripe-Signature": signature}
    return APIClient().generic(
        "POST", path, body, content_type="application/json", headers=headers
    )


def signed(body: str, secret: str = SECRETS[0], at: int | None = None) -> str:
    made: str = stripe.WebhookSignature.generate_signature_header(body, secret, at)
    return made


@pytest.mark.django_db
@pytest.mark.parametrize("path", WEBHOOKS)
class TestReceiver:
    @pytest.fixture(autouse=True)
    def _secrets(self, settings: Any) -> None:
        settings.STRIPE_WEBHOOK_SECRETS = SECRETS

    @pytest.mark.parametrize("secret", SECRETS)
    def test_a_signed_event_is_stored_before_it_is_answered(
        self, path: str, secret: str
    ) -> None:
        body = event()
        answer = send(path, body, signed(body, secret))
        assert (answer.status_code, answer.json()) == (200, {"received": True})
        row = StripeEvent.objects.get()
        assert (row.stripe_id, row.type, row.object_id) == (
            "evt_1",
            "checkout.session.completed",
            "cs_test_1",
        )
        assert (row.state, row.body) == ("pending", body)
        assert row.due_at is not None

    def test_a_duplicate_is_200_and_one_row(self, path: str) -> None:
        body = event()
        for _ in range(3):
            assert send(path, body, signed(body)).status_code == 200
        assert StripeEvent.objects.count() == 1

    def test_a_bad_request_is_400_and_stored_only_if_its_signature_is_right(
        self, path: str
    ) -> None:
        body = event()
        long_ago = int(datetime.now(UTC).timestamp()) - 301
        wrongs: list[tuple[Any, str | None]] = [
            (body, None),
            (body, ""),
            (body, "t=1,v1=00"),
            (body, "nonsense"),
            (body, "t=x,v1=é"),
            (body, signed(body, "whsec_forged")),
            (body, signed(body, "")),
            (body, signed(body, at=long_ago)),
            (body + " ", signed(body)),
            (body.replace("evt_1", "evt_2"), signed(body)),
            (b"\xff\xfe", signed(body)),
            ("[]", signed("[]")),
            ("{}", signed("{}")),
            ("{", signed("{")),
            ('"x"', signed('"x"')),
        ]
        for wrong, signature in wrongs:
            answer = send(path, wrong, signature)
            assert answer.status_code == 400, (wrong, signature)
            refusal = answer.json()["error"]
            assert refusal["code"] == "INVALID_SIGNATURE", refusal
        assert send(path, body, "nonsense\x00").status_code == 400
        kept = StripeEvent.objects.all()
        assert {row.state for row in kept} == {"refused"}
        assert {row.body for row in kept} == {"[]", "{}", "{", '"x"'}
        assert {row.due_at for row in kept} == {None}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"created": 10**15},
            {"created": -1},
            {"created": 1.5},
            {"created": True},
            {"created": "1"},
            {"created": None},
            {"created": 10**400},
            {"id": "evt_\x00"},
            {"id": "evt_" + "x" * 300},
            {"id": ""},
            {"id": 7},
            {"id": ["evt_1"]},
            {"id": "evt_\u00e9 1"},
            {"type": "x" * 300},
            {"type": "a\x00b"},
            {"type": {"a": 1}},
            {"livemode": "no"},
            {"data": None},
            {"data": []},
            {"data": {"object": []}},
            {"data": {"object": "cs_1"}},
            {"data": {"object": {"id": {"a": 1}}}},
            {"data": {"object": {"id": "x" * 300}}},
            {"data": {"object": {"id": "pi_\x00", "object": "payment_intent"}}},
            {"data": {"object": {"object": "payment_intent"}}},
            {"data": {"object": {"id": "ch_1", "payment_intent": 7}}},
            {"data": {"object": {"id": "ch_1", "payment_intent": {"a": 1}}}},
        ],
        ids=str,
    )
    def test_signed_junk_is_400_and_stored_as_refused(
        self, path: str, wrong: dict[str, Any]
    ) -> None:
        body = json.dumps({**json.loads(event()), **wrong})
        for _ in range(2):
            answer = send(path, body, signed(body))
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "INVALID_SIGNATURE"
        row = StripeEvent.objects.get()
        assert (row.state, row.due_at) == ("refused", None)
        # A real event with the same id is still accepted.
        assert send(path, event(), signed(event())).status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            '{"id":"evt_1","data":' + "[" * 100_000 + "]" * 100_000 + "}",
            '{"id":"evt_1","created":1e999}',
            '{"id":"evt_1","created":NaN}',
            '{"id":"evt_1","type":"\\ud800","created":1,"data":{"object":{}}}',
            "null",
            "7",
            "",
            "\x00",
        ],
        ids=["deep", "huge", "nan", "surrogate", "null", "number", "empty", "nul"],
    )
    def test_signed_text_that_is_no_event(self, path: str, body: str) -> None:
        assert send(path, body, signed(body)).status_code == 400
        assert StripeEvent.objects.get().state == "refused"

    def test_without_a_secret_no_event_is_accepted(
        self, path: str, settings: Any
    ) -> None:
        settings.STRIPE_WEBHOOK_SECRETS = []
        body = event()
        assert send(path, body, signed(body, "")).status_code == 503
        assert not StripeEvent.objects.exists()

    def test_any_type_of_body_and_no_limit(self, path: str, real_limits: None) -> None:
        body = event()
        for _ in range(120):
            answer = APIClient().generic(
                "POST",
                path,
                body,
                content_type="text/plain",
                headers={"Stripe-Signature": signed(body)},
            )
            assert answer.status_code == 200

"""1sub's purchase: a checkout is created, paid once, and opens the tool."""

import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import App, Consent, SecurityEvent, User
from accounts.partners import consents
from accounts.signin import sessions
from accounts.signin.browser_sessions import SessionStore
from focus.money import MICRO
from jobs import tool_purchases
from jobs.invariants import ALL
from jobs.models import ToolPurchase
from wallet import invariants, ledger
from wallet.models import Entry

pytestmark = pytest.mark.django_db
CREATE = "/api/checkout/create"
PROCESS = "/api/checkout/process"


@pytest.fixture(autouse=True)
def _adds_up(db):
    yield
    assert invariants.violations(among=ALL) == []


def signed_in(user: User) -> APIClient:
    made = sessions.begin(user=user, client="x", access_seconds=600, methods=["pwd"])
    return APIClient(headers={"Authorization": f"Bearer {made.access_token}"})


@pytest.fixture
def buyer(alice: User, give: Any) -> APIClient:
    give(alice, 100)
    return signed_in(alice)


@pytest.fixture
def checkout_id(buyer: APIClient, tool: App) -> str:
    answer = buyer.post(CREATE, {"tool_id": str(tool.pk)})
    assert answer.status_code == 200
    (checkout_id,) = answer.json().values()
    return str(checkout_id)


def left(user: User) -> float:
    return ledger.balance(account_id=user.pk).available_micro / MICRO


def test_a_checkout_is_paid_opened_and_verified(buyer, checkout_id, alice, tool):
    assert (left(alice), Consent.objects.exists()) == (100, False)
    answer = buyer.post(PROCESS, {"checkout_id": checkout_id})
    body = answer.json()
    token = body["tool_access_token"]
    assert (answer.status_code, body) == (
        200,
        {
            "success": True,
            "tool_url": f"https://your-tool.com?lang=en&token={token}",
            "tool_access_token": token,
            "new_balance": 75,
        },
    )
    assert left(alice) == 75
    assert consents.is_granted(user_id=alice.pk, app_id=tool.pk)
    seen = APIClient().post("/api/v1/verify-user", {"token": token}).json()
    assert (seen["user_id"], seen["tool_id"], seen["checkout_id"]) == (
        str(alice.pk),
        str(tool.pk),
        checkout_id,
    )
    entry = Entry.objects.get(kind="consume")
    assert (entry.shown_reason, entry.credit) == (
        "purchase of Your Tool",
        "revenue:tool",
    )
    assert SecurityEvent.objects.filter(kind="tool_bought", user=alice).count() == 1


def test_processing_again_returns_a_fresh_token_and_charges_nothing(
    buyer, checkout_id, alice
):
    first = buyer.post(PROCESS, {"checkout_id": checkout_id}).json()
    ToolPurchase.objects.update(expires_at=timezone.now())
    for _ in range(3):
        again = buyer.post(PROCESS, {"checkout_id": checkout_id}).json()
        assert again["tool_access_token"] != first["tool_access_token"]
        assert again["new_balance"] == 75
    assert left(alice) == 75


def test_creating_again_before_the_payment_returns_the_same_checkout(
    buyer, checkout_id, tool
):
    again = buyer.post(CREATE, {"tool_id": str(tool.pk)}).json()
    assert again == {"checkout_id": checkout_id}


def test_a_checkout_of_a_tool_that_is_owned_is_the_paid_one(
    buyer, checkout_id, tool, alice
):
    first = buyer.post(PROCESS, {"checkout_id": checkout_id}).json()
    App.objects.update(price_micro=99 * MICRO)
    again = buyer.post(CREATE, {"tool_id": str(tool.pk)}).json()
    assert again == {"checkout_id": checkout_id}
    opened = buyer.post(PROCESS, again).json()
    assert opened["tool_access_token"] != first["tool_access_token"]
    assert (opened["new_balance"], left(alice)) == (75, 75)
    # Staff revoked the purchase, so the person no longer owns the tool.
    tool_purchases.revoke(purchase_id=uuid.UUID(checkout_id), actor="staff")
    another = buyer.post(CREATE, {"tool_id": str(tool.pk)}).json()
    assert another != {"checkout_id": checkout_id}


def test_a_tool_that_is_sold_per_use_is_paid_at_each_checkout(
    buyer, checkout_id, tool, alice
):
    App.objects.update(sold_per_use=True)
    buyer.post(PROCESS, {"checkout_id": checkout_id})
    another = buyer.post(CREATE, {"tool_id": str(tool.pk)}).json()
    assert another != {"checkout_id": checkout_id}
    for _ in range(2):
        assert buyer.post(PROCESS, another).json()["new_balance"] == 50
    assert left(alice) == 50


def test_a_second_open_checkout_of_a_tool_charges_nothing_once_it_is_owned(
    buyer, checkout_id, tool, alice
):
    App.objects.update(price_micro=30 * MICRO)
    dearer = buyer.post(CREATE, {"tool_id": str(tool.pk)}).json()
    assert dearer != {"checkout_id": checkout_id}
    buyer.post(PROCESS, {"checkout_id": checkout_id})
    opened = buyer.post(PROCESS, dearer).json()
    assert (opened["success"], opened["new_balance"]) == (True, 75)
    token = {"token": opened["tool_access_token"]}
    seen = APIClient().post("/api/v1/verify-user", token).json()
    assert seen["checkout_id"] == checkout_id
    assert ToolPurchase.objects.filter(paid_at__isnull=False).count() == 1
    assert left(alice) == 75


def test_another_persons_checkout_is_404(checkout_id, bob, give, alice):
    give(bob, 100)
    for unknown in (checkout_id, str(uuid.uuid4())):
        answer = signed_in(bob).post(PROCESS, {"checkout_id": unknown})
        assert (answer.status_code, answer.json()) == (
            404,
            {"error": "Not found", "message": "There is no such checkout."},
        )
    assert (left(alice), left(bob)) == (100, 100)


def test_the_price_is_the_one_that_was_shown(buyer, checkout_id, tool, alice):
    App.objects.update(price_micro=99 * MICRO)
    dearer = buyer.post(CREATE, {"tool_id": str(tool.pk)}).json()
    assert dearer != {"checkout_id": checkout_id}
    assert buyer.post(PROCESS, {"checkout_id": checkout_id}).json()["new_balance"] == 75


def test_without_enough_credits_nothing_is_charged_or_allowed(alice, tool, give):
    give(alice, 3)
    client = signed_in(alice)
    made = client.post(CREATE, {"tool_id": str(tool.pk)}).json()
    answer = client.post(PROCESS, made)
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": "Insufficient credits",
            "message": "User does not have sufficient credits",
            "current_balance": 3,
            "required": 25,
            "shortfall": 22,
        },
    )
    assert not Consent.objects.exists()
    assert not SecurityEvent.objects.filter(kind="tool_bought").exists()
    give(alice, 22)
    assert client.post(PROCESS, made).json()["new_balance"] == 0


def test_an_expired_checkout_charges_nothing(buyer, checkout_id, alice):
    ToolPurchase.objects.update(expires_at=timezone.now())
    answer = buyer.post(PROCESS, {"checkout_id": checkout_id})
    assert (answer.status_code, answer.json()) == (
        409,
        {
            "error": "Checkout expired",
            "message": "This checkout has expired; start a new one.",
        },
    )
    assert (left(alice), Consent.objects.exists()) == (100, False)


def test_an_inactive_tool_cannot_be_bought_or_opened(buyer, checkout_id, tool, alice):
    App.objects.update(active=False)
    for path, body in (
        (CREATE, {"tool_id": str(tool.pk)}),
        (PROCESS, {"checkout_id": checkout_id}),
    ):
        answer = buyer.post(path, body)
        assert (answer.status_code, answer.json()["error"]) == (403, "Tool inactive")
    assert left(alice) == 100


def test_an_app_that_is_no_tool_cannot_be_bought(buyer, video):
    for tool_id in (str(video.pk), str(uuid.uuid4())):
        assert buyer.post(CREATE, {"tool_id": tool_id}).status_code == 404
    for wrong in ({}, {"tool_id": 7}, {"tool_id": "video"}):
        answer = buyer.post(CREATE, wrong)
        assert (answer.status_code, answer.json()["error"]) == (400, "Invalid request")


def test_a_free_tool_moves_nothing(buyer, tool, alice):
    App.objects.update(price_micro=0)
    made = buyer.post(CREATE, {"tool_id": str(tool.pk)}).json()
    answer = buyer.post(PROCESS, made)
    assert (answer.status_code, answer.json()["new_balance"]) == (200, 100)
    assert not Entry.objects.filter(kind="consume").exists()
    token = answer.json()["tool_access_token"]
    assert APIClient().post("/api/v1/verify-user", {"token": token}).json()["valid"]


def test_a_revoked_purchase_cannot_be_processed(buyer, checkout_id):
    buyer.post(PROCESS, {"checkout_id": checkout_id})
    tool_purchases.revoke(purchase_id=uuid.UUID(checkout_id), actor="test")
    assert buyer.post(PROCESS, {"checkout_id": checkout_id}).status_code == 404


def test_the_browsers_cookie_buys_from_our_pages_only(alice, give, tool):
    give(alice, 100)
    store = SessionStore()
    store.create()
    key = str(store.session_key)
    sessions.begin_in_browser(user=alice, browser_key=key, methods=["pwd"])
    client = APIClient()
    client.cookies[settings.SESSION_COOKIE_NAME] = key
    evil = {"Origin": "https://evil.example"}
    body = {"tool_id": str(tool.pk)}
    assert client.post(CREATE, body, headers=evil).status_code == 403
    ours = {"Origin": settings.PUBLIC_BASE_URL}
    made = client.post(CREATE, body, headers=ours).json()
    assert client.post(PROCESS, made, headers=evil).status_code == 403
    form = "application/x-www-form-urlencoded"
    answer = client.generic("POST", PROCESS, "a=b", content_type=form, headers=ours)
    assert answer.status_code in (403, 415)
    paid = client.post(PROCESS, made, headers=ours).json()
    query = parse_qs(urlsplit(paid["tool_url"]).query)
    assert query == {"lang": ["en"], "token": [paid["tool_access_token"]]}

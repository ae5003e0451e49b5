"""The Stripe emulator's hosted pages in a real browser."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.chromium import CHROMIUM, QUIET
from tests.devtools.test_stripe_walks import monthly, pack, subscribe
from tests.stripe import Emulator

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here"),
]


@pytest.fixture
def page(stripe_emulator: Emulator) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield browser.new_page()
        browser.close()


def back(emulator: Emulator) -> dict[str, str]:
    """Return an existing page as the address to return to."""
    shop = emulator.url + "/_emulator/"
    return {
        "success_url": shop + "?done={CHECKOUT_SESSION_ID}",
        "cancel_url": shop + "?cancelled",
    }


def test_a_card_is_declined_then_authenticated_then_paid(
    stripe_emulator: Emulator, page: Any
) -> None:
    sessions = stripe_emulator.client.v1.checkout.sessions
    made = sessions.create(pack(**back(stripe_emulator)))
    page.goto(made.url)
    assert "EMULATOR, no money moves" in page.inner_text(".banner")
    assert "$4.99" in page.inner_text("main.two")

    page.fill("#card", "4000 0000 0000 0002")
    page.click("text=Pay $4.99")
    assert page.inner_text(".error") == "Your card was declined."

    page.fill("#card", "4000 0025 0000 3155")
    page.click("text=Pay $4.99")
    page.click("text=Fail authentication")
    assert "unable to authenticate" in page.inner_text(".error")
    assert sessions.retrieve(made.id).status == "open"

    page.fill("#card", "4000 0025 0000 3155")
    page.click("text=Pay $4.99")
    page.click("text=Complete authentication")
    assert page.url.endswith(f"/_emulator/?done={made.id}")
    assert sessions.retrieve(made.id).payment_status == "paid"
    page.goto(made.url)
    assert "already complete" in page.inner_text("main")


def test_a_checkout_is_left_and_expires(stripe_emulator: Emulator, page: Any) -> None:
    sessions = stripe_emulator.client.v1.checkout.sessions
    made = sessions.create(pack(**back(stripe_emulator)))
    page.goto(made.url)
    page.click("text=Back to the shop")
    assert page.url.endswith("/_emulator/?cancelled")
    assert sessions.retrieve(made.id).status == "open"
    page.goto(made.url)
    page.click("text=Let it expire")
    assert "has expired" in page.inner_text("main")
    assert sessions.retrieve(made.id).status == "expired"


def test_a_plan_is_changed_cancelled_and_resumed(
    stripe_emulator: Emulator, page: Any
) -> None:
    client = stripe_emulator.client.v1
    pro = monthly(stripe_emulator, 900, "Pro")
    creator = monthly(stripe_emulator, 1900, "Creator")
    began = subscribe(stripe_emulator, pro.id)
    portal = client.billing_portal.sessions.create({"customer": str(began.customer)})
    page.goto(portal.url)
    page.click("text=Change plan")
    page.click("text=Cancel plan")
    now = client.subscriptions.retrieve(began.id)
    assert now["items"].data[0].price.id == creator.id
    assert now.cancel_at_period_end
    page.click("text=Don’t cancel")
    assert not client.subscriptions.retrieve(began.id).cancel_at_period_end


def test_the_control_page_does_what_its_buttons_say(
    stripe_emulator: Emulator, page: Any
) -> None:
    began = subscribe(stripe_emulator, monthly(stripe_emulator, 900, "Pro").id)
    page.goto(stripe_emulator.url + "/_emulator/")
    page.click("text=Fail a renewal")
    page.click("text=Refund $1 >> nth=0")
    client = stripe_emulator.client.v1
    assert client.subscriptions.retrieve(began.id).status == "past_due"
    assert [refund.amount for refund in client.refunds.list().data] == [100]
    assert "invoice.payment_failed" in page.inner_text("main")

"""Purchases in a real browser, from the sign-in to the new balance.

The server, the Stripe emulator and its deliveries are real processes; the test's own
process is the worker that handles the events.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher

from accounts.models import User
from payments import inbox, tasks
from payments.models import StripeEvent
from payments.plans import catalog as plan_catalog
from tests import processes
from tests.browser.chromium import CHROMIUM, QUIET
from tests.browser.conftest import serving
from tests.stripe import SECRET_KEY, WEBHOOK_SECRET, Emulator
from tests.till import credits_of

PASSWORD = "alice's password"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here"),
]


@pytest.fixture
def shop(
    tmp_path: Path, transactional_db: None, alice: User, stripe_emulator: Emulator
) -> Iterator[str]:
    alice.password = Argon2PasswordHasher().encode(PASSWORD, "salt for a test")
    alice.save()
    with serving(
        tmp_path,
        STRIPE_SECRET_KEY=SECRET_KEY,
        STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
        STRIPE_API_BASE=stripe_emulator.url,
    ) as address:
        stripe_emulator.deliver_to(f"{address}/api/credits/webhook/")
        yield address


@pytest.fixture
def page(shop: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        page = browser.new_context(base_url=shop).new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto("/signin?next=/credits")
        page.get_by_label("Email").fill("alice@example.com")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.wait_for_url("**/credits")
        yield page
        browser.close()
    assert complaints == []


def in_the_worker(call: Any) -> Any:
    """Run `call` in a thread: Django refuses queries in Playwright's event loop."""
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connections

    def run() -> Any:
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def arrived(type_: str) -> None:
    processes.until(
        lambda: in_the_worker(StripeEvent.objects.filter(type=type_).exists)
    )
    in_the_worker(inbox.handle_due)


def pay(page: Any) -> None:
    page.get_by_role("button", name=re.compile("^(Pay|Subscribe)")).click()


def test_a_pack_is_bought_and_the_balance_grows(
    shop: str, page: Any, alice: User, stripe_emulator: Emulator
) -> None:
    page.get_by_role("button", name="Buy 5 credits for $4.99").click()
    page.wait_for_url(re.compile(re.escape(":") + stripe_emulator.url.split(":")[-1]))
    pay(page)
    page.wait_for_url("**/payment/success?session_id=cs_test_*")
    # The payment has no confirmation yet.
    assert page.get_by_role("heading", name="Waiting for confirmation").count()
    arrived("checkout.session.completed")
    page.get_by_role("heading", name="5 credits added").wait_for()
    assert "Your balance is 5 credits" in page.content()
    assert in_the_worker(lambda: credits_of(alice)) == 5
    page.goto("/credits")
    assert page.locator("dl.stats .main dd").inner_text() == "5"


def test_a_plan_is_bought_and_its_first_month_arrives(
    shop: str, page: Any, alice: User
) -> None:
    page.get_by_role("button", name="Choose Nebula Knight").click()
    page.wait_for_url(re.compile("/c/pay/"))
    pay(page)
    page.wait_for_url("**/payment/success?session_id=cs_test_*")
    arrived("invoice.paid")
    page.get_by_role("heading", name="You are on Nebula Knight").wait_for()
    page.goto("/credits")
    assert page.locator("dl.stats .main dd").inner_text() == "10"
    page.get_by_role("button", name="Manage plan and invoices").click()
    page.wait_for_url(re.compile("/p/session/"))


def test_a_change_of_plan_keeps_the_choice_and_is_confirmed_once(
    shop: str, page: Any, alice: User
) -> None:
    page.get_by_role("button", name="Choose Nebula Knight").click()
    page.wait_for_url(re.compile("/c/pay/"))
    pay(page)
    page.wait_for_url("**/payment/success?session_id=cs_test_*")
    arrived("invoice.paid")
    page.goto("/credits")
    page.get_by_role("button", name="Choose Galaxy Guardian").click()
    page.wait_for_url(re.compile("/p/session/.*/flow"))
    said = page.locator("main").inner_text()
    assert "Now: Nebula Knight" in said
    assert "New: Galaxy Guardian" in said
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url("**/credits?plan=creator")
    note = page.get_by_text("Stripe is confirming your change to Galaxy Guardian.")
    note.wait_for()

    def changed() -> bool:
        inbox.handle_due()
        on = plan_catalog.plan_of(account_id=alice.pk) == "creator"
        return on and credits_of(alice) == 25

    processes.until(lambda: in_the_worker(changed))
    page.get_by_text("You are on Galaxy Guardian.").wait_for()
    assert page.locator("dl.stats .main dd").inner_text() == "25"


def test_automatic_top_up_from_the_setting_to_the_charge(
    shop: str, page: Any, alice: User
) -> None:
    page.get_by_label("When I have fewer credits than").fill("8")
    page.get_by_label("At most this many US dollars").fill("20")
    page.get_by_label("Save my card for automatic top-up").check()
    page.get_by_role("button", name="Buy the pack now and switch on").click()
    page.wait_for_url(re.compile("/c/pay/"))
    pay(page)
    page.wait_for_url("**/payment/success?session_id=cs_test_*")
    arrived("checkout.session.completed")
    in_the_worker(tasks.top_up)
    assert in_the_worker(lambda: credits_of(alice)) == 10
    page.goto("/credits")
    section = page.get_by_role("region", name="Automatic top-up")
    assert "Charges your visa ending in 4242. $4.99 of $20.00" in section.inner_text()
    section.get_by_role("button", name="Switch off and remove the card").click()
    page.get_by_text("Automatic top-up is off.").wait_for()
    assert "ending in" not in section.inner_text()


def test_leaving_stripes_page_charges_nothing(
    shop: str, page: Any, alice: User
) -> None:
    page.get_by_role("button", name="Buy 5 credits for $4.99").click()
    page.wait_for_url(re.compile("/c/pay/"))
    page.get_by_text(re.compile("Cancel|Back|Return", re.I)).first.click()
    page.wait_for_url("**/payment/cancelled")
    assert page.get_by_role("heading", name="No payment made").count()
    assert in_the_worker(lambda: credits_of(alice)) == 0

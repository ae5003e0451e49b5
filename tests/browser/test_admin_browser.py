"""Staff adjust credits in a real browser, from the sign-in to a double click."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher

from accounts.models import SecurityEvent, User
from tests.browser.chromium import CHROMIUM, QUIET
from tests.doors.hosted_rows import every_state_of_hosted_work
from tests.doors.staffroom import in_role
from wallet.models import Entry, Wallet

PASSWORD = "support's password"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here"),
]


@pytest.fixture
def support(transactional_db: None) -> User:
    person = in_role("support")
    # Tests hash passwords fast, but the server process accepts only real hashes.
    person.password = Argon2PasswordHasher().encode(PASSWORD, "salt for a test")
    person.save()
    return person


@pytest.fixture
def wallet(transactional_db: None, alice: User, give: Callable[..., Any]) -> Wallet:
    give(alice, 10)
    return Wallet.objects.get(account=alice)


def _visit(
    web: str, support: User, *, guarded: bool, acts: Callable[[Any], None]
) -> None:
    """Sign in and run `acts`. Errors on the browser's console fail the test."""
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        page = browser.new_context().new_page()
        if not guarded:
            page.route("**/once.js", lambda route: route.fulfill(body=""))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{web}/admin/")
        page.fill("input[name=email]", str(support.email))
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.wait_for_url(f"{web}/admin/")
        acts(page)
        browser.close()
    assert complaints == []


def _previews(page: Any, web: str, amount: str) -> None:
    page.goto(f"{web}/admin/wallet/wallet/?q=alice")
    page.click("#result_list tbody a")
    page.click("text=Adjust credits")
    page.fill("input[name=amount]", amount)
    page.select_option("select[name=reason]", "goodwill")
    page.fill("textarea[name=note]", "render came out green")
    page.click("text=Preview")


@pytest.mark.parametrize("guarded", [True, False])
def test_a_double_click_books_once(
    web: str, support: User, wallet: Wallet, guarded: bool
) -> None:
    """The second click finds a disabled button or, without our script, a used form."""

    def acts(page: Any) -> None:
        _previews(page, web, "2.5")
        assert re.sub(r"\s+", "", page.inner_text(".f-turn")).startswith("10→12.5")
        page.dblclick("text=Give these credits")
        page.wait_for_selector("text=Gave 2.5 credits to alice@example.com")
        assert page.inner_text(".f-tile.lead dd").startswith("12.5")

    _visit(web, support, guarded=guarded, acts=acts)
    assert [entry.amount_micro for entry in _adjusted(wallet)] == [2_500_000]
    assert SecurityEvent.objects.filter(kind="credits_adjusted").count() == 1


def test_the_pages_of_the_ledger_and_hosted_work_open_without_a_complaint(
    web: str, support: User, wallet: Wallet, alice: User, tmp_path: Path
) -> None:
    """The content security policy refuses no script, style or picture of a page."""
    entry = Entry.objects.get(wallet=wallet)
    photos = every_state_of_hosted_work(alice, folder=tmp_path)
    places = [
        "",
        "wallet/entry/",
        f"wallet/entry/{entry.pk}/change/",
        "wallet/wallet/",
        f"wallet/wallet/{wallet.pk}/change/",
        f"wallet/wallet/{wallet.pk}/explain/",
        f"wallet/wallet/{wallet.pk}/history/",
        "wallet/grant/",
        "wallet/reservation/",
        "wallet/draw/",
        "jobs/job/",
        "jobs/run/",
        *(f"jobs/run/{photo.run_id}/change/" for photo in photos),
        "jobs/restoration/",
        f"jobs/restoration/{photos[0].pk}/change/",
        "jobs/storedfile/",
        f"jobs/storedfile/{photos[0].full_id}/change/",
        "jobs/price/",
    ]

    def acts(page: Any) -> None:
        for place in places:
            assert page.goto(f"{web}/admin/{place}").status == 200
            # Without the theme's scripts the page stays hidden.
            page.wait_for_selector("#main", state="visible")

    _visit(web, support, guarded=True, acts=acts)


def _adjusted(wallet: Wallet) -> list[Entry]:
    return list(Entry.objects.filter(wallet=wallet, key__startswith="adjust:"))

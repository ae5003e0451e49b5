"""A real browser links a Steam account under our Content-Security-Policy."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher

from accounts.models import Link, User, UserKey
from tests.browser.chromium import CHROMIUM, visit
from tests.browser.conftest import serving
from tests.doors.browsing import PASSWORD
from tests.linking.conftest import Stand

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here"),
]


def _sign_in(page: Any, web: str) -> None:
    page.goto(f"{web}/signin?next=/security")
    page.fill("[name=email]", "alice@example.com")
    page.fill("[name=password]", PASSWORD)
    page.press("[name=password]", "Enter")
    page.wait_for_url(f"{web}/security")


def test_connecting_steam_and_making_a_key(
    tmp_path: Path, steam_process: Stand, alice: User
) -> None:
    # Tests use a fast hasher. The server is another process and accepts only real
    # hashes.
    alice.password = Argon2PasswordHasher().encode(PASSWORD, "salt for a test")
    alice.save()
    steam_process.knobs(reset=True)
    there = f"{steam_process.url}/openid"
    with serving(tmp_path, STEAM_OPENID_BASE=there) as web:

        def acts(page: Any) -> None:
            _sign_in(page, web)
            # The browser checks form-action for each redirect, to Steam and back.
            page.click("[aria-label='Connect Steam']")
            page.wait_for_url(f"{web}/security?linked=steam#links")
            page.wait_for_selector("text=Your Steam account 76561197960287930 is")
            page.click("summary:has-text('Create key')")
            page.fill("#key_name", "server")
            page.click("button:has-text('Create key')")
            page.wait_for_selector("text=shown only this once")
            page.click("text=I have saved it")
            page.wait_for_selector("text=sk_live_…")
            page.click("[aria-label='Disconnect Steam']")
            page.wait_for_selector("text=is no longer linked to your account")

        visit(acts)
    assert not Link.objects.exists()
    assert UserKey.objects.get().name == "server"

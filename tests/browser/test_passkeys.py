"""Passkeys in a real browser: added on /security, then used for a sign-in."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher

from accounts.models import Passkey, Session, User
from tests.browser.chromium import CHROMIUM, QUIET

PASSWORD = "alice's password"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here"),
]


@pytest.fixture
def person(transactional_db: None, alice: User) -> User:
    # Tests hash passwords fast, but the server process accepts only real hashes.
    alice.password = Argon2PasswordHasher().encode(PASSWORD, "salt for a test")
    alice.save()
    return alice


def _visit(acts: Callable[[Any], None], *, script: str = "") -> None:
    """Run `acts` in a new browser. Errors on its console fail the test."""
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        page = browser.new_context().new_page()
        if script:
            page.add_init_script(script)
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        acts(page)
        browser.close()
    assert complaints == []


def _authenticator(page: Any, *, verifies: bool = True) -> tuple[Any, str]:
    """Add a virtual authenticator; return its DevTools session and its id."""
    line = page.context.new_cdp_session(page)
    line.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": verifies,
        "isUserVerified": verifies,
        "automaticPresenceSimulation": True,
    }
    made = line.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return line, made["authenticatorId"]


def _by_password(page: Any, web: str) -> None:
    page.goto(f"{web}/signin")
    page.fill("#email", "alice@example.com")
    page.fill("#password", PASSWORD)
    page.press("#password", "Enter")
    page.wait_for_url(f"{web}/")


def _add(page: Any, name: str) -> None:
    page.fill("#passkey_name", name)
    page.click("text=Add passkey")
    page.wait_for_selector(f"section[aria-labelledby=passkeys] li:has-text('{name}')")


def test_added_on_the_account_page_signed_in_with_and_removed(
    web: str, person: User
) -> None:
    def acts(page: Any) -> None:
        line, authenticator = _authenticator(page)
        _by_password(page, web)
        page.goto(f"{web}/security")
        _add(page, "My laptop")
        stored = line.send(
            "WebAuthn.getCredentials", {"authenticatorId": authenticator}
        )["credentials"]
        assert [(one["rpId"], one["isResidentCredential"]) for one in stored] == [
            ("localhost", True)
        ]
        # The browser refuses the same device because of excludeCredentials.
        page.click("text=Add passkey")
        page.wait_for_selector("text=already has a passkey for your account")
        page.click("nav >> text=Sign out")
        page.wait_for_url(f"{web}/")
        page.goto(f"{web}/signin?next=/device")
        page.click("text=Sign in with a passkey")
        page.wait_for_url(f"{web}/device")
        page.goto(f"{web}/")
        assert "alice@example.com" in page.inner_text("h1")
        page.goto(f"{web}/security")
        page.click("[aria-label='Remove My laptop']")
        page.wait_for_selector("text=You removed the passkey “My laptop”")
        # The removal ended the passkey's sessions, this browser's too.
        page.wait_for_url(f"{web}/signin?next=%2Fsecurity#passkeys")

    _visit(acts)
    assert not Passkey.objects.exists()
    opened = Session.objects.filter(methods__contains=["mfa"]).get()
    assert opened.revoked_at is not None


def test_a_browser_without_the_passkey_shows_a_message(web: str, person: User) -> None:
    def acts(page: Any) -> None:
        _authenticator(page)
        page.goto(f"{web}/signin")
        page.click("text=Sign in with a passkey")
        page.wait_for_selector("text=The passkey prompt was cancelled")
        assert page.is_enabled("text=Sign in with a passkey")

    _visit(acts)


def test_a_browser_without_passkey_support_sees_no_passkey_forms(
    web: str, person: User
) -> None:
    def acts(page: Any) -> None:
        page.goto(f"{web}/signin")
        assert page.is_hidden("text=Sign in with a passkey")
        _by_password(page, web)
        page.goto(f"{web}/security")
        assert page.is_hidden("text=Add passkey")
        assert page.is_visible("text=No passkeys yet.")

    _visit(acts, script="delete window.PublicKeyCredential")

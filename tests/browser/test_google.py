"""Google in a real browser: /signin, reviv's redirect mode, and a reset by mail."""

import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core import mail
from django.db import connections

from accounts import mails
from accounts.models import App, Identity, Session, User
from accounts.recovery import mailbox
from tests.browser.chromium import CHROMIUM, visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here"),
]


def _apart(act: Callable[[], Any]) -> Any:
    """Run `act` in a thread: Django refuses queries in Playwright's event loop."""

    def run() -> Any:
        try:
            return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def _look(page: Any, name: str) -> None:
    """Save a screenshot for the person who runs the tests."""
    folder = os.environ.get("FOCUS_PICTURES")
    if folder:
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def test_signing_in_linking_and_unlinking(web_with_google: str, google: str) -> None:
    web = web_with_google

    def acts(page: Any) -> None:
        page.goto(f"{web}/signin?next=/security")
        _look(page, "signin")
        page.click("text=Continue with Google")
        page.wait_for_url(f"{google}/authorize?*")
        page.click("text=Allow")
        page.wait_for_url(f"{web}/security")
        assert page.is_visible("text=Google · ada@gmail.com")
        assert page.is_visible("text=verified")
        _look(page, "security")
        page.click("[aria-label^='Unlink google']")
        page.wait_for_selector("text=Google is the only way into your account.")
        page.click("text=Link Google")
        page.wait_for_url(f"{google}/authorize?*")
        page.fill("[name=email]", "second@example.org")
        page.click("text=Allow")
        page.wait_for_selector("text=Google · second@example.org")
        page.click("[aria-label='Unlink google · second@example.org']")
        page.wait_for_selector("text=Google can no longer sign in to your account.")

    visit(acts)
    assert Identity.objects.get().email == "ada@gmail.com"


def test_on_the_way_to_an_app(web_with_google: str, google: str) -> None:
    web = web_with_google
    app = "http://127.0.0.1:9"
    App.objects.create(slug="video", name="Video", origins=[app])

    def acts(page: Any) -> None:
        page.route(f"{app}/**", lambda route: route.fulfill(body="the app"))
        page.goto(f"{web}/signin?redirect_to={app}/cb")
        page.click("text=Continue with Google")
        page.click("text=Allow")
        page.wait_for_url(re.compile(rf"{app}/cb\?token=eyJ"))

    visit(acts)


def test_cancelling_at_google(web_with_google: str, google: str) -> None:
    web = web_with_google

    def acts(page: Any) -> None:
        page.goto(f"{web}/signin?next=/device")
        page.click("text=Continue with Google")
        page.click("text=Deny")
        page.wait_for_selector("text=Sign-in with Google was cancelled")
        _look(page, "denied")
        page.get_by_role("link", name="Try again").click()
        page.wait_for_url(f"{web}/signin?next=%2Fdevice")

    # Chromium logs an error for a page with status 400.
    visit(acts, but="400 (Bad Request)")
    assert not Session.objects.exists()


REVIV = """async ({ path, body }) => {
  const answer = await fetch(path, {
    method: "POST", credentials: "include",
    headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
}"""


def test_revivs_recommended_strategy(web_with_google: str, google: str) -> None:
    """Initiate, sign in at Google, return with a ticket, exchange it, refresh."""
    web = web_with_google

    def acts(page: Any) -> None:
        tickets: list[str] = []

        def noting(request: Any) -> None:
            if "/auth/callback?ticket=" in request.url:
                tickets.append(request.url.partition("ticket=")[2])

        page.on("request", noting)

        def call(path: str, **body: Any) -> Any:
            return page.evaluate(REVIV, {"path": path, "body": body})

        page.goto(f"{web}/")
        payload = {"provider": "google", "return_to": "/auth/callback"}
        begun = call("/api/auth/oauth/initiate/", **payload)
        page.goto(begun["body"]["auth_url"])
        page.click("text=Allow")
        page.wait_for_selector("text=You are signed in")
        _look(page, "arrived")
        # The address bar no longer contains the ticket.
        assert page.url == f"{web}/auth/callback"
        entered = call("/api/auth/oauth/exchange/", ticket=tickets[0])
        assert entered["status"] == 200, entered
        assert entered["body"]["user"]["email"] == "ada@gmail.com"
        again = call("/api/auth/token/refresh/")
        assert set(again["body"]) == {"access"}

    visit(acts)


def test_a_sign_in_started_in_another_browser_needs_a_confirmation(
    web_with_google: str, google: str
) -> None:
    web = web_with_google

    def acts(page: Any) -> None:
        body = {"provider": "google", "return_to": "/auth/callback"}
        begun = page.request.post(
            f"{web}/api/auth/oauth/initiate/",
            data=json.dumps(body),
            headers={"Content-Type": "application/json"},
        )
        page.context.clear_cookies()
        page.goto(begun.json()["auth_url"])
        page.click("text=Allow")
        page.wait_for_selector("text=Continue as ada@gmail.com?")
        _look(page, "continue")
        assert not _apart(User.objects.exists)
        page.click("text=Continue >> nth=-1")
        page.wait_for_selector("text=You are signed in")

    visit(acts)


def test_a_forgotten_password_and_a_new_one(
    web_with_google: str, google: str, alice: User
) -> None:
    web = web_with_google

    def acts(page: Any) -> None:
        page.goto(f"{web}/signin")
        page.click("text=Forgot your password?")
        _look(page, "forgot")
        page.fill("#email", "alice@example.com")
        page.click("text=Send link")
        page.wait_for_selector("text=Check your email")
        _look(page, "asked")
        _apart(mailbox.mail_due)
        _apart(mails.send_due)
        path = re.search(r"/mailbox\?code=\S+", str(mail.outbox[-1].body))
        assert path
        page.goto(f"{web}{path[0]}")
        _look(page, "mailbox")
        page.fill("#password", "a new password")
        page.click("text=Set password")
        page.wait_for_url(f"{web}/security")
        assert page.is_visible("text=Your password is set, and you are signed in.")

    visit(acts)

"""The pages of password reset and email verification."""

import re
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from accounts import mails
from accounts.credentials.principals import TokenEnded
from accounts.models import MailboxProof, Session, User
from accounts.recovery import mailbox
from tests import webhooks
from tests.doors.browsing import PASSWORD, Browser

NEW = "a new password"

pytestmark = pytest.mark.django_db


def path_in_mail() -> str:
    mailbox.mail_due()
    mails.send_due()
    body = str(mail.outbox[-1].body)
    found = re.search(r"http://localhost:8000(/mailbox\?code=\S+)", body)
    assert found
    return found[1]


def code_of(path: str) -> str:
    return path.partition("code=")[2]


def forgotten(browser: Browser, email: str = "alice@example.com") -> Any:
    return browser.fill("/forgot", {"email": email})


class TestForgotten:
    def test_a_mailed_link_sets_a_new_password(self, alice: User) -> None:
        User.objects.update(email_verified_at=timezone.now())
        thief, browser = Browser(), Browser()
        thief.sign_in()
        answer = forgotten(browser)
        assert "we sent it a link" in answer.content.decode()
        path = path_in_mail()
        page = browser.get(path).content.decode()
        assert "Set a new password" in page
        assert "This removes all other access to the account" not in page
        form = {"code": code_of(path), "password": NEW, "intent": "set"}
        answer = browser.fill(path, form)
        assert (answer.status_code, answer["Location"]) == (302, "/security")
        assert "you are signed in" in browser.get("/security").content.decode()
        assert thief.get("/api/sessionToken").status_code == 401
        assert Browser().sign_in().status_code == 400
        assert Browser().sign_in(password=NEW).status_code == 302

    def test_the_response_is_the_same_for_every_address(self, alice: User) -> None:
        pages = set()
        for email in ("alice@example.com", "unknown@example.com", "nonsense", ""):
            answer = forgotten(Browser(), email)
            assert answer.status_code == 200
            pages.add(re.sub(r'value="\w+"', "", answer.content.decode()))
        assert len(pages) == 1

    def test_claiming_an_unverified_account_shows_a_warning(self, alice: User) -> None:
        browser = Browser()
        forgotten(browser)
        path = path_in_mail()
        page = browser.get(path).content.decode()
        assert "This removes all other access to the account" in page
        form = {"code": code_of(path), "password": NEW, "intent": "set"}
        browser.fill(path, form)
        assert "verified</span>" in browser.get("/security").content.decode()

    def test_claiming_an_unverified_account_deletes_its_webhooks(
        self, alice: User, bob: User
    ) -> None:
        """An attacker who opened the account must receive no more of its events."""
        before = User.objects.get(pk=alice.pk)
        planted, others = (
            webhooks.register_endpoint(alice),
            webhooks.register_endpoint(bob),
        )
        [waiting] = webhooks.send_test_events(planted)
        browser = Browser()
        forgotten(browser)
        path = path_in_mail()
        form = {"code": code_of(path), "password": NEW, "intent": "set"}
        assert browser.fill(path, form).status_code == 302
        planted.refresh_from_db()
        assert planted.deleted_at is not None
        assert bytes(planted.secret) == b""
        assert webhooks.refreshed(waiting).state == "canceled"
        # A request authenticated before the claim adds no endpoint after it.
        with pytest.raises(TokenEnded):
            webhooks.register_endpoint(before)
        others.refresh_from_db()
        assert others.deleted_at is None

    def test_a_verified_account_keeps_its_webhooks(self, alice: User) -> None:
        User.objects.update(email_verified_at=timezone.now())
        kept = webhooks.register_endpoint(alice)
        browser = Browser()
        forgotten(browser)
        path = path_in_mail()
        form = {"code": code_of(path), "password": NEW, "intent": "set"}
        assert browser.fill(path, form).status_code == 302
        kept.refresh_from_db()
        assert kept.deleted_at is None

    def test_a_weak_password_is_refused_and_the_link_stays_valid(
        self, alice: User
    ) -> None:
        browser = Browser()
        forgotten(browser)
        path = path_in_mail()
        form = {"code": code_of(path), "password": "short", "intent": "set"}
        answer = browser.fill(path, form)
        assert answer.status_code == 400
        assert "8 to 256 characters" in answer.content.decode()
        assert browser.fill(path, {**form, "password": NEW}).status_code == 302

    def test_an_invalid_link_is_explained(self, alice: User) -> None:
        browser = Browser()
        for path in ("/mailbox", "/mailbox?code=x", f"/mailbox?code={'A' * 43}"):
            answer = browser.get(path)
            assert answer.status_code == 400
            assert "This link does not work" in answer.content.decode()

    @pytest.mark.usefixtures("real_limits")
    def test_requests_are_limited_to_ten_a_minute(self, alice: User) -> None:
        browser = Browser()
        for _ in range(10):
            assert forgotten(browser).status_code == 200
        answer = forgotten(browser)
        assert answer.status_code == 429
        assert int(answer["Retry-After"]) >= 1
        assert MailboxProof.objects.exclude(due_at=None).count() == 3

    @pytest.mark.usefixtures("real_limits")
    def test_a_rate_limited_request_does_not_call_the_link_invalid(
        self, alice: User
    ) -> None:
        browser = Browser()
        forgotten(browser)
        path = path_in_mail()
        for _ in range(9):
            assert browser.get(path).status_code == 200
        answer = browser.get(path)
        assert answer.status_code == 429
        assert int(answer["Retry-After"]) >= 1
        page = answer.content.decode()
        assert "Too many requests" in page
        assert "This link does not work" not in page
        assert f'href="{path}"' in page

    def test_requesting_a_link_needs_the_csrf_token(self, alice: User) -> None:
        answer = Browser().post("/forgot", {"email": "alice@example.com"})
        assert answer.status_code == 403
        assert not MailboxProof.objects.exists()


class TestVerifying:
    @pytest.fixture
    def alices(self, alice: User) -> Browser:
        browser = Browser()
        browser.sign_in()
        browser.fill("/security", {}, "/email/verify")
        return browser

    def test_the_link_verifies_in_the_browser_of_the_session(
        self, alices: Browser
    ) -> None:
        path = path_in_mail()
        assert "Verify your email</h1>" in alices.get(path).content.decode()
        assert not User.objects.exclude(email_verified_at=None).exists()
        answer = alices.fill(path, {"code": code_of(path), "intent": "verify"})
        assert answer["Location"] == "/security#email"
        assert "verified</span>" in alices.get("/security").content.decode()
        assert Session.objects.filter(revoked_at=None).count() == 1

    def test_the_link_verifies_nothing_in_another_browser(
        self, alices: Browser, bob: User
    ) -> None:
        """An attacker requested the link, and the owner of the mailbox opens it."""
        path = path_in_mail()
        owner, other = Browser(), Browser()
        other.sign_in(email="bob@example.com", password="bob's password")
        for browser in (owner, other):
            page = browser.get(path).content.decode()
            assert "Did you create this account?" in page
            assert "Verify this address" not in page
            form = {"code": code_of(path), "intent": "verify"}
            assert browser.fill(path, form).status_code == 400
        assert not User.objects.exclude(email_verified_at=None).exists()
        # A claim of the account ends the attacker's access.
        form = {"code": code_of(path), "password": NEW, "intent": "set"}
        assert owner.fill(path, form).status_code == 302
        assert alices.get("/api/sessionToken").status_code == 401
        assert Browser().sign_in().status_code == 400
        assert Browser().sign_in(password=NEW).status_code == 302

    def test_the_sign_in_returns_to_the_link(self, alices: Browser) -> None:
        path = path_in_mail()
        browser = Browser()
        page = browser.get(path).content.decode()
        [sign_in] = re.findall(r'href="(/signin\?next=[^"]+)"', page)
        answer = browser.fill(
            sign_in,
            {
                "email": "alice@example.com",
                "password": PASSWORD,
                "intent": "enter",
                "next": path,
            },
        )
        assert answer["Location"] == path
        assert f'value="{path}"' in Browser().get(sign_in).content.decode()
        assert "Verify this address" in browser.get(path).content.decode()

    def test_a_verified_address_needs_no_second_link(self, alices: Browser) -> None:
        path = path_in_mail()
        alices.fill(path, {"code": code_of(path), "intent": "verify"})
        page = alices.get("/security").content.decode()
        assert "Send verification email" not in page
        assert alices.get(path).status_code == 400

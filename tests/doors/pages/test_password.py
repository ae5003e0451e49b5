"""/security/password: a change needs the current password or a recent sign-in."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import mails
from accounts.credentials import tokens
from accounts.models import PersonalAccessToken, SecurityEvent, Session, User
from accounts.recovery import mailbox
from accounts.signin import sessions
from tests.doors.browsing import PASSWORD, Browser

PAGE = "/security/password"
NEW = "another long password"

pytestmark = pytest.mark.django_db


@pytest.fixture
def alices(alice: User) -> Browser:
    browser = Browser()
    browser.sign_in()
    return browser


def change(browser: Browser, *, current: str = PASSWORD, new: str = NEW) -> Any:
    return browser.fill(PAGE, {"current": current, "new": new})


def invalid_fields(answer: Any) -> list[str]:
    """Return the names of the fields that the page marks as invalid."""
    html = answer.content.decode()
    fields = re.findall(r"<input[^>]*>", html)
    marked = [it for it in fields if 'aria-invalid="true"' in it]
    return [re.findall(r'name="(\w+)"', it)[0] for it in marked]


def test_the_security_page_links_to_the_form(alices: Browser) -> None:
    assert f'href="{PAGE}"' in alices.get("/security").content.decode()
    page = alices.get(PAGE).content.decode()
    assert "Change your password" in page
    assert 'autocomplete="current-password"' in page


def test_a_change_ends_other_sessions_and_keeps_this_one(
    alices: Browser, alice: User
) -> None:
    elsewhere = Browser()
    elsewhere.sign_in()
    app = sessions.begin(user=alice, client="x", access_seconds=60, methods=["pwd"])
    token = tokens.issue(user=alice, name="script", scopes=["account:read"])
    before = alices.cookies["focus_session"].value
    answer = change(alices)
    assert (answer.status_code, answer["Location"]) == (302, "/security#password")
    assert alices.cookies["focus_session"].value != before
    assert "Your password is changed." in alices.get("/security").content.decode()
    assert elsewhere.get("/security")["Location"] == "/signin?next=%2Fsecurity"
    bearer = {"Authorization": f"Bearer {app.access_token}"}
    assert APIClient(headers=bearer).get("/api/sessionToken").status_code == 401
    assert PersonalAccessToken.objects.get(pk=token.token.pk).revoked_at is None
    assert Session.objects.filter(revoked_at=None).count() == 1
    assert Browser().sign_in().status_code == 400
    assert Browser().sign_in(password=NEW).status_code == 302


def test_a_change_is_audited_and_mailed(alices: Browser, alice: User) -> None:
    change(alices)
    assert SecurityEvent.objects.filter(kind="password_changed", user=alice).exists()
    assert "Password changed" in alices.get("/security").content.decode()
    mails.send_due()
    assert mail.outbox[-1].subject == "Your password was changed"
    assert mail.outbox[-1].to == [alice.email]


@pytest.mark.parametrize(
    ("current", "new", "field", "says"),
    [
        ("wrong password", NEW, "current", "The current password is wrong."),
        ("", NEW, "current", "The current password is wrong."),
        (PASSWORD, "short", "new", "8 to 256 characters"),
        (PASSWORD, "alice@example.com", "new", "must not be the email address"),
        (PASSWORD, PASSWORD, "new", "Choose a password that you do not use now."),
    ],
)
def test_a_refusal_marks_its_own_field_and_changes_nothing(
    alices: Browser, current: str, new: str, field: str, says: str
) -> None:
    answer = change(alices, current=current, new=new)
    assert answer.status_code == 400
    assert says in answer.content.decode()
    assert invalid_fields(answer) == [field]
    assert Browser().sign_in().status_code == 302


def test_a_wrong_current_password_is_audited(alices: Browser, alice: User) -> None:
    change(alices, current="wrong password")
    failed = SecurityEvent.objects.filter(kind="password_change_failed", user=alice)
    assert failed.count() == 1


@pytest.mark.usefixtures("real_limits")
def test_guesses_at_the_current_password_are_limited(alices: Browser) -> None:
    answers = [change(alices, current=f"guess {n}") for n in range(11)]
    assert [answer.status_code for answer in answers].count(429) >= 1
    assert int(answers[-1]["Retry-After"]) >= 1
    assert change(alices).status_code == 429


def test_a_change_spends_mailed_reset_links(alices: Browser, alice: User) -> None:
    User.objects.update(email_verified_at=timezone.now())
    mailbox.request_reset(email=str(alice.email))
    mailbox.mail_due()
    mails.send_due()
    code = re.findall(r"code=(\S+)", str(mail.outbox[-1].body))[0]
    mailbox.request_reset(email=str(alice.email))
    change(alices)
    assert Browser().get(f"/mailbox?code={code}").status_code == 400
    sent = len(mail.outbox)
    mailbox.mail_due()
    mails.send_due()
    assert [it.subject for it in mail.outbox[sent:]] == ["Your password was changed"]


class TestWithoutAPassword:
    @pytest.fixture
    def alices(self, alice: User) -> Browser:
        browser = Browser()
        browser.sign_in()
        alice.set_unusable_password()
        alice.save()
        # Django's session contains a hash of the password.
        client_session = browser.session
        client_session["_auth_user_hash"] = alice.get_session_auth_hash()
        client_session.save()
        return browser

    def test_a_recent_sign_in_sets_the_first_password(
        self, alices: Browser, alice: User
    ) -> None:
        assert (
            "Your account has no password." in alices.get("/security").content.decode()
        )
        page = alices.get(PAGE).content.decode()
        assert "Set a password" in page
        assert 'name="current"' not in page
        assert alices.fill(PAGE, {"new": NEW}).status_code == 302
        assert "Your password is set." in alices.get("/security").content.decode()
        assert SecurityEvent.objects.filter(kind="password_set", user=alice).exists()
        assert Browser().sign_in(password=NEW).status_code == 302
        # Later changes need this password.
        assert 'name="current"' in alices.get(PAGE).content.decode()

    def test_an_old_sign_in_must_be_repeated(self, alices: Browser) -> None:
        Session.objects.update(created_at=timezone.now() - timedelta(minutes=11))
        again = "/signin?again=1&next=%2Fsecurity%2Fpassword"
        assert alices.get(PAGE)["Location"] == again
        answer = alices.fill("/security", {"new": NEW}, PAGE)
        assert answer["Location"].startswith("/signin?again=1")
        assert Browser().sign_in(password=NEW).status_code == 400

    def test_a_sign_in_without_user_verification_must_be_repeated(
        self, alices: Browser
    ) -> None:
        Session.objects.update(methods=["pop"])
        answer = alices.get(PAGE)
        assert answer.status_code == 403
        assert "Sign out and sign in again" in answer.content.decode()
        assert 'name="new"' not in answer.content.decode()
        answer = alices.fill(PAGE, {"new": NEW})
        assert answer.status_code == 403
        assert Browser().sign_in(password=NEW).status_code == 400
        form = {"next": f"/signin?next={PAGE}"}
        assert alices.fill(PAGE, form, "/signout")["Location"] == form["next"]

    def test_an_account_without_an_email_cannot_set_a_password(
        self, alices: Browser, alice: User
    ) -> None:
        User.objects.update(email=None)
        page = alices.get("/security").content.decode()
        assert "A password needs an email address" in page
        assert alices.get(PAGE)["Location"] == "/security#password"


def test_the_page_needs_a_browser_session(alice: User) -> None:
    opened = sessions.begin(user=alice, client="x", access_seconds=60, methods=["pwd"])
    token = tokens.issue(user=alice, name="x", scopes=["account:read"])
    for secret in ("", opened.access_token, token.secret):
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        answer = Client(headers=headers).post(PAGE, {"current": PASSWORD, "new": NEW})
        assert answer["Location"].startswith("/signin?")
    assert Browser().sign_in().status_code == 302


def test_changing_needs_the_csrf_token(alices: Browser) -> None:
    answer = alices.post(PAGE, {"current": PASSWORD, "new": NEW})
    assert answer.status_code == 403
    assert Browser().sign_in().status_code == 302

"""Sign-in and sign-out, and sign-in for an app with its redirect and token."""

import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jwt as pyjwt
import pytest
import time_machine
from django.contrib.sessions.models import Session as StoredSession
from django.test import Client
from pytest_django import Settings

from accounts.credentials.principals import TokenEnded
from accounts.models import App, Session, User
from accounts.pages.signin import entering
from accounts.signin import browser_sessions, closing, sessions
from accounts.signin.browser_sessions import SessionStore
from focus.logs import Scrub, scrub
from tests.doors.browsing import PASSWORD, Browser

TARGET = "https://video.example.com/cb?a=1"


@pytest.fixture
def browser(db: None) -> Browser:
    return Browser()


@pytest.fixture
def alices(browser: Browser, alice: User) -> Browser:
    assert browser.sign_in().status_code == 302
    return browser


def test_a_sign_in_refused_late_opens_no_session(alice: User, rf: Any) -> None:
    """All sessions of the account end while the server checks the password."""
    request = rf.post("/signin")
    request.session = SessionStore()
    User.objects.update(epoch=alice.epoch + 1)
    with pytest.raises(TokenEnded):
        entering.open_session(request, alice, ["pwd"])
    assert request.session.is_empty()
    assert not StoredSession.objects.exists()


@pytest.mark.parametrize("ending", [{"active": False}, {"origins": []}], ids=str)
def test_an_app_disabled_during_the_sign_in_gets_no_token(
    browser: Browser,
    alice: User,
    video: App,
    monkeypatch: Any,
    ending: dict[str, Any],
) -> None:
    """A token for it would be bound to no app, so it would open the whole account."""
    opened = entering.open_session

    def end_the_app_meanwhile(*args: Any) -> Session:
        App.objects.filter(pk=video.pk).update(**ending)
        return opened(*args)

    monkeypatch.setattr(entering, "open_session", end_the_app_meanwhile)
    answer = browser.sign_in(redirect_to=TARGET)
    assert (answer.status_code, answer["Location"]) == (302, "/")


@pytest.mark.parametrize(
    ("intent", "email", "password", "wrong"),
    [
        ("create", "new@example.com", "password", ["password"]),
        ("create", "new@example.com", "short", ["password"]),
        ("create", "new@example.com", "new@example.com", ["password"]),
        ("create", "nonsense", "a long password", ["email"]),
        ("create", "alice@example.com", "a long password", ["email"]),
        ("enter", "alice@example.com", "wrong password", ["email", "password"]),
    ],
)
def test_a_refusal_marks_the_field_that_is_wrong(
    alice: User, intent: str, email: str, password: str, wrong: list[str]
) -> None:
    form = {"email": email, "password": password, "intent": intent}
    answer = Browser().fill("/signin", form)
    assert answer.status_code == 400
    fields = re.findall(r"<input id=[^>]*>", answer.content.decode())
    marked = [it for it in fields if 'aria-invalid="true"' in it]
    assert [re.findall(r'name="(\w+)"', it)[0] for it in marked] == wrong
    described = [it for it in fields if re.search(r'describedby="[^"]*problem', it)]
    assert described == marked


class TestSignIn:
    def test_signing_in_redirects_to_the_account(
        self, browser: Browser, alice: User
    ) -> None:
        answer = browser.sign_in()
        assert (answer.status_code, answer["Location"]) == (302, "/")
        cookie = answer.cookies["focus_session"]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert cookie["domain"] == ""
        page = browser.get("/").content.decode()
        assert "alice@example.com" in page
        session = Session.objects.get()
        assert (session.user, session.kind, session.ip) == (
            alice,
            "browser",
            "127.0.0.1",
        )
        assert browser.get("/api/sessionToken").status_code == 200

    def test_signing_in_changes_the_session_key_and_ends_the_old_session(
        self, alices: Browser, alice: User
    ) -> None:
        before = alices.cookies["focus_session"].value
        form = alices.get("/device").content.decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert token
        answer = alices.post(
            "/signin",
            {
                "csrfmiddlewaretoken": token[1],
                "email": "alice@example.com",
                "password": PASSWORD,
            },
        )
        assert answer.status_code == 302
        assert alices.cookies["focus_session"].value != before
        thief = Client()
        thief.cookies["focus_session"] = before
        assert thief.get("/api/sessionToken").status_code == 401
        live = Session.objects.filter(revoked_at=None)
        kept = browser_sessions.digest(alices.cookies["focus_session"].value)
        assert live.get().browser_key == kept

    def test_a_session_key_from_before_the_sign_in_is_replaced(
        self, alice: User
    ) -> None:
        planted = Client()
        planted.force_login(alice)  # a Django session without a row of ours
        before = planted.cookies["focus_session"].value
        form = {"email": "alice@example.com", "password": PASSWORD}
        assert planted.post("/signin", form).status_code == 302
        assert planted.cookies["focus_session"].value != before

    @pytest.mark.parametrize(
        "form",
        [
            {"password": "wrong"},
            {"email": "unknown@example.com"},
            {"email": "", "password": ""},
        ],
    )
    def test_a_refused_sign_in_shows_the_reason(
        self, browser: Browser, alice: User, form: dict[str, str]
    ) -> None:
        answer = browser.sign_in(**form)
        page = answer.content.decode()
        assert answer.status_code == 400
        assert "The email or the password is wrong." in page
        assert 'role="alert"' in page
        assert PASSWORD not in page
        assert not Session.objects.exists()

    def test_creating_an_account_signs_in(self, browser: Browser) -> None:
        form = {"email": "new@example.com", "password": "password123"}
        answer = browser.fill("/signin?create", {**form, "intent": "create"})
        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert User.objects.get().email == "new@example.com"
        again = Browser().fill("/signin?create", {**form, "intent": "create"})
        assert again.status_code == 400
        page = again.content.decode()
        assert "already exists" in page
        assert "Create your account" in page
        assert 'value="new@example.com"' in page

    def test_a_form_without_the_csrf_token_is_refused(self, alice: User) -> None:
        form = {"email": "alice@example.com", "password": PASSWORD}
        answer = Client(enforce_csrf_checks=True).post("/signin", form)
        assert answer.status_code == 403
        assert not Session.objects.exists()

    def test_signing_out_ends_the_session_and_its_tokens(self, alices: Browser) -> None:
        token = alices.get("/api/sessionToken").json()["token"]
        key = alices.cookies["focus_session"].value
        # A GET does not sign out.
        assert alices.get("/signout")["Location"] == "/"
        assert alices.get("/api/sessionToken").status_code == 200
        answer = alices.fill("/", {}, action="/signout")
        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert alices.get("/api/sessionToken").status_code == 401
        thief = Client()
        thief.cookies["focus_session"] = key
        assert thief.get("/api/sessionToken").status_code == 401
        bearer = {"Authorization": f"Bearer {token}"}
        assert Client().get("/api/tokens", headers=bearer).status_code == 401

    def test_a_closed_account_has_no_session(
        self, alices: Browser, alice: User
    ) -> None:
        closing.close(user=alice, actor="staff")
        assert "One account." in alices.get("/").content.decode()
        assert Browser().sign_in().status_code == 400

    @pytest.mark.parametrize(
        ("wanted", "goes"),
        [
            ("/device?user_code=BCDF-GHJK", "/device?user_code=BCDF-GHJK"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("", "/"),
        ],
    )
    def test_next_is_a_page_of_ours(
        self, browser: Browser, alice: User, wanted: str, goes: str
    ) -> None:
        assert browser.sign_in(next=wanted)["Location"] == goes
        answer = browser.get("/signin", {"next": wanted})
        assert (answer.status_code, answer["Location"]) == (302, goes)


class TestForAnApp:
    """Guide 1A: redirect to shared sign-in, then return to your app."""

    def test_it_returns_with_a_token_of_60_seconds(
        self, browser: Browser, alice: User, video: App
    ) -> None:
        page = browser.get("/signin", {"redirect_to": TARGET})
        assert page.status_code == 200
        assert "video.example.com" in page.content.decode()
        answer = browser.sign_in(redirect_to=TARGET)
        assert answer.status_code == 302
        base, _, token = answer["Location"].rpartition("&token=")
        assert base == TARGET
        claims = pyjwt.decode(token, options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 60
        assert claims["sub"] == str(alice.pk)
        assert answer["Cache-Control"] == "no-store"
        assert answer["Referrer-Policy"] == "no-referrer"
        bearer = {"Authorization": f"Bearer {token}"}
        assert Client().get("/api/wallet", headers=bearer).status_code == 200
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=61)):
            assert Client().get("/api/wallet", headers=bearer).status_code == 401

    def test_a_signed_in_person_is_redirected_immediately(
        self, alices: Browser, video: App
    ) -> None:
        answer = alices.get("/signin", {"redirect_to": TARGET})
        assert answer.status_code == 302
        assert answer["Location"].startswith(f"{TARGET}&token=ey")

    def test_an_app_on_our_site_may_ask_for_no_token(
        self, alices: Browser, video: App
    ) -> None:
        App.objects.update(redirect_token=False, origins=["http://localhost:5173"])
        answer = alices.get("/signin", {"redirect_to": "http://localhost:5173/x"})
        assert answer["Location"] == "http://localhost:5173/x"
        # An app on another site gets no cookie, so it needs the token.
        App.objects.update(origins=["https://video.example.com"])
        assert "token=" in alices.get("/signin", {"redirect_to": TARGET})["Location"]

    def test_a_token_already_in_the_target_is_replaced(
        self, alices: Browser, video: App
    ) -> None:
        target = "https://video.example.com/?token=theirs&ticket=x&b=2#part"
        where = urlsplit(alices.get("/signin", {"redirect_to": target})["Location"])
        query = parse_qs(where.query)
        assert set(query) == {"b", "token"}
        assert query["token"] != ["theirs"]
        assert where.fragment == "part"

    @pytest.mark.parametrize(
        "target",
        [
            "https://evil.example/",
            "https://video.example.com.evil.example/",
            "https://video.example.com@evil.example/",
            "//video.example.com/",
            "/device",
            "javascript:alert(1)",
            "http://video.example.com/",
            "",
        ],
    )
    @pytest.mark.parametrize("signed_in", [False, True])
    def test_unregistered_targets_are_refused(
        self, browser: Browser, alice: User, video: App, target: str, signed_in: bool
    ) -> None:
        if signed_in:
            browser.sign_in()
        before = Session.objects.count()
        for answer in (
            browser.get("/signin", {"redirect_to": target}),
            browser.fill(
                "/device" if signed_in else "/signin",
                {
                    "email": "alice@example.com",
                    "password": PASSWORD,
                    "redirect_to": target,
                },
                action="/signin",
            ),
        ):
            assert answer.status_code == 400
            assert "Location" not in answer
            page = answer.content.decode()
            assert "Unknown app" in page
            assert "evil.example" not in page
            assert answer["Content-Type"].startswith("text/html")
        assert Session.objects.count() == before

    def test_the_target_is_checked_again_before_the_redirect(
        self, browser: Browser, alice: User, video: App
    ) -> None:
        browser.get("/signin", {"redirect_to": TARGET})
        App.objects.update(active=False)
        assert browser.sign_in(redirect_to=TARGET).status_code == 400

    def test_the_policy_allows_the_form_to_redirect_to_the_app_only(
        self, browser: Browser, video: App
    ) -> None:
        # Browsers check form-action on redirects after a form too.
        page = browser.get("/signin", {"redirect_to": TARGET})
        policy = page["Content-Security-Policy"]
        assert "form-action 'self' https://video.example.com;" in policy
        assert "frame-ancestors 'none'" in policy
        policy = browser.get("/signin")["Content-Security-Policy"]
        assert "form-action 'self';" in policy

    def test_no_token_reaches_the_log(
        self,
        alices: Browser,
        video: App,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        answer = alices.get("/signin", {"redirect_to": TARGET})
        where = answer["Location"]
        token = where.rpartition("token=")[2]
        caplog.handler.addFilter(Scrub())
        with caplog.at_level(logging.INFO):
            logging.getLogger("access").info('"GET %s HTTP/1.1" 302', where)
            logging.getLogger("access").error("Location %r", answer.headers)
        assert token not in caplog.text
        assert "token=***" in caplog.text

    def test_no_quoted_token_reaches_the_log(self, alices: Browser, video: App) -> None:
        # Guide 1A sends `window.location.href` back, which may contain the last token.
        where = alices.get("/signin", {"redirect_to": TARGET})["Location"]
        token = where.rpartition("token=")[2]
        assert token not in scrub(f"GET /signin?redirect_to={quote(where, safe='')}")


def test_cookies_are_host_only_and_secure_where_the_server_is(
    settings: Settings,
) -> None:
    assert settings.SESSION_COOKIE_SAMESITE == "Lax"
    assert settings.SESSION_COOKIE_DOMAIN is None
    assert settings.CSRF_COOKIE_DOMAIN is None
    assert settings.SESSION_COOKIE_HTTPONLY


def test_a_session_outlives_the_browser_by_30_days_at_most(alices: Browser) -> None:
    cookie = alices.cookies["focus_session"]
    assert cookie["max-age"] == int(sessions.ABSOLUTE.total_seconds())

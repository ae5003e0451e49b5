"""Google on our own pages: sign-in, sign-in for an app, linking and unlinking."""

import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import App, Identity, Mail, Session, User
from accounts.providers import identities
from accounts.signin import closing
from tests import googling
from tests.doors.browsing import Browser

CALLBACK = "/signin/google"
TARGET = "https://video.example.com/cb?a=1"

pytestmark = pytest.mark.django_db


def send(browser: Browser, query: str = "") -> str:
    """Press "Continue with Google" and return the redirect's address."""
    html = browser.get(f"/signin?{query}").content.decode()
    [form] = re.findall(
        r"<form[^>]*>(?:(?!</form>).)*value=\"google\"", html, re.DOTALL
    )
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
    answer = browser.post("/signin", fields)
    assert answer.status_code == 302
    url: str = answer["Location"]
    return url


def come_back(browser: Browser, url: str, **person: Any) -> Any:
    return browser.get(CALLBACK, googling.answer(url, **person))


class TestSignIn:
    def test_sign_in_with_google_opens_a_browser_session(self, google: str) -> None:
        browser = Browser()
        url = send(browser)
        assert googling.query_of(url)["redirect_uri"].endswith("/signin/google")
        answer = come_back(browser, url)
        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert "ada@gmail.com" in browser.get("/").content.decode()
        session = Session.objects.get()
        assert (session.kind, session.methods) == ("browser", ["fed"])
        assert browser.get("/api/sessionToken").status_code == 200

    def test_sign_in_with_google_keeps_next_and_redirect_to(
        self, google: str, video: App
    ) -> None:
        browser = Browser()
        answer = come_back(browser, send(browser, "next=/device"))
        assert answer["Location"] == "/device"
        browser = Browser()
        url = send(browser, f"redirect_to={TARGET}")
        answer = come_back(browser, url)
        assert answer["Location"].startswith(f"{TARGET}&token=")
        assert answer["Referrer-Policy"] == "no-referrer"

    def test_an_app_removed_during_the_sign_in_gets_no_redirect(
        self, google: str, video: App
    ) -> None:
        browser = Browser()
        url = send(browser, f"redirect_to={TARGET}")
        App.objects.update(active=False)
        assert come_back(browser, url)["Location"] == "/"

    def test_the_button_needs_a_configured_google(self, settings: Any) -> None:
        settings.GOOGLE_CLIENT_ID = ""
        assert "Google" not in Browser().get("/signin").content.decode()

    def test_the_policy_allows_the_form_to_redirect_to_google(
        self, google: str
    ) -> None:
        policy = Browser().get("/signin")["Content-Security-Policy"]
        assert f"form-action 'self' {google};" in policy

    def test_a_link_cannot_start_the_sign_in(self, google: str) -> None:
        form = {"intent": "google"}
        assert Client(enforce_csrf_checks=True).post("/signin", form).status_code == 403


class TestRefusals:
    def test_a_cancelled_sign_in_shows_a_page_with_a_link_back(
        self, google: str, video: App
    ) -> None:
        browser = Browser()
        answer = come_back(browser, send(browser, f"redirect_to={TARGET}"), allow=False)
        page = answer.content.decode()
        assert answer.status_code == 400
        assert "Sign-in with Google was cancelled." in page
        assert "/signin?redirect_to=https%3A%2F%2Fvideo.example.com" in page
        assert not Session.objects.exists()

    def test_an_unknown_state_is_refused(self, google: str) -> None:
        for query in ({}, {"state": "x"}, {"state": "A" * 43, "code": "x"}):
            answer = Browser().get(CALLBACK, query)
            assert answer.status_code == 400
            assert "Start again" in answer.content.decode()

    def test_a_state_of_another_flow_is_refused(self, google: str) -> None:
        said = Client().post(
            "/api/auth/oauth/initiate/",
            {"provider": "google"},
            content_type="application/json",
        )
        query = googling.answer(said.json()["auth_url"])
        assert Browser().get(CALLBACK, query).status_code == 400

    def test_an_unverified_token_opens_no_session(self, google: str) -> None:
        for mode in ("wrong_nonce", "alg_none", "token_500"):
            browser = Browser()
            answer = come_back(browser, send(browser), mode=mode)
            assert answer.status_code == 400
        assert not User.objects.exists()

    def test_another_browser_must_confirm_the_sign_in(self, google: str) -> None:
        query = googling.answer(send(Browser()))
        victim = Browser()
        page = victim.get(CALLBACK, query).content.decode()
        assert "Continue as <em>ada@gmail.com</em>?" in page
        assert not Session.objects.exists()
        form = dict(re.findall(r'name="(\w+)" value="([^"]+)"', page))
        assert victim.post("/signin/continue", form)["Location"] == "/"
        assert "ada@gmail.com" in victim.get("/").content.decode()

    def test_a_closed_account_stays_closed(self, google: str) -> None:
        browser = Browser()
        come_back(browser, send(browser))
        closing.close(user=User.objects.get(), actor="staff")
        again = Browser()
        answer = come_back(again, send(again))
        assert answer.status_code == 400
        assert "This account is closed." in answer.content.decode()

    def test_a_verified_email_of_another_account_is_not_linked(
        self, google: str, alice: User
    ) -> None:
        User.objects.update(email_verified_at=alice.created_at)
        browser = Browser()
        answer = come_back(browser, send(browser), email="alice@example.com")
        assert "An account has this email" in answer.content.decode()
        assert not Identity.objects.exists()


class TestLinking:
    def _link(self, browser: Browser, **person: Any) -> Any:
        answer = browser.fill("/security", {}, "/identities/google/link")
        return come_back(browser, answer["Location"], **person)

    def test_google_is_linked_used_and_unlinked(self, google: str, alice: User) -> None:
        browser = Browser()
        browser.sign_in()
        answer = self._link(browser)
        assert answer["Location"] == "/security#identities"
        row = Identity.objects.get()
        assert row.user == alice
        page = browser.get("/security").content.decode()
        assert "Google · ada@gmail.com" in page
        assert Mail.objects.get().to == "alice@example.com"
        other = Browser()
        come_back(other, send(other))
        assert "alice@example.com" in other.get("/").content.decode()
        browser.fill("/security", {}, f"/identities/{row.pk}/unlink")
        assert not Identity.objects.exists()
        assert "can no longer sign in" in browser.get("/security").content.decode()

    def test_a_sign_in_without_user_verification_cannot_link(
        self, google: str, alice: User
    ) -> None:
        browser = Browser()
        browser.sign_in()
        Session.objects.update(methods=["pop"])
        answer = browser.fill("/security", {}, "/identities/google/link")
        assert answer.status_code == 400
        assert "a passkey that asks for your PIN" in answer.content.decode()
        Session.objects.update(methods=["pop", "mfa"])
        assert self._link(browser)["Location"] == "/security#identities"

    def test_one_google_account_signs_in_one_of_ours(
        self, google: str, alice: User
    ) -> None:
        first = Browser()
        come_back(first, send(first))
        browser = Browser()
        browser.sign_in()
        answer = self._link(browser)
        assert answer.status_code == 400
        assert "signs in another account" in answer.content.decode()
        assert Identity.objects.get().user != alice

    def test_a_link_belongs_to_the_browser_and_person_that_began_it(
        self, google: str, alice: User, bob: User
    ) -> None:
        attacker, victim = Browser(), Browser()
        attacker.sign_in()
        victim.sign_in(email="bob@example.com", password="bob's password")
        begun = attacker.fill("/security", {}, "/identities/google/link")
        query = googling.answer(begun["Location"])
        assert victim.get(CALLBACK, query).status_code == 400
        assert not Identity.objects.exists()

    def test_the_last_sign_in_method_cannot_be_unlinked(
        self, google: str, alice: User
    ) -> None:
        browser = Browser()
        come_back(browser, send(browser))
        row = Identity.objects.get()
        browser.fill("/security", {}, f"/identities/{row.pk}/unlink")
        page = browser.get("/security").content.decode()
        assert "Google is the only way into your account." in page
        assert Identity.objects.get() == row

    def test_a_link_of_another_account_cannot_be_unlinked(
        self, google: str, alice: User
    ) -> None:
        first = Browser()
        come_back(first, send(first))
        row = Identity.objects.get()
        browser = Browser()
        browser.sign_in()
        browser.fill("/security", {}, f"/identities/{row.pk}/unlink")
        assert [it.pk for it in identities.linked_identities(user=row.user)] == [row.pk]


def test_the_front_ends_page_confirms_the_sign_in(client: Client) -> None:
    answer = client.get("/auth/callback?ticket=x")
    assert "You are signed in" in answer.content.decode()
    assert answer["Referrer-Policy"] == "no-referrer"
    answer = client.get("/auth/callback?error=<script>")
    page = answer.content.decode()
    assert "Sign-in failed" in page
    assert "<script>" not in page.replace("<script src", "")

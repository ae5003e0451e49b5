"""Passkeys on our own pages: sign-in by form, adding by session, removal."""

import json
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.test import APIClient

from accounts import nonces
from accounts.models import App, Passkey, Session, User
from tests.ceremonies import ADD, SIGN_IN, add, begin, signed_in
from tests.doors.browsing import Browser
from tests.softauth import Authenticator

TARGET = "https://video.example.com/cb?a=1"
JSON = "application/json"


@pytest.fixture
def browser(db: None) -> Browser:
    return Browser()


@pytest.fixture
def alices(browser: Browser, alice: User) -> Browser:
    assert browser.sign_in().status_code == 302
    return browser


@pytest.fixture
def key(alice: User) -> Authenticator:
    made = Authenticator()
    assert add(signed_in(alice), made, name="<b>Laptop").status_code == 200
    return made


def filled(key: Authenticator, **said: Any) -> dict[str, str]:
    """Return the form as our script fills it in."""
    options = begin(APIClient(), SIGN_IN)
    return {
        "intent": "passkey",
        "authentication_id": options["authentication_id"],
        "credential": json.dumps(key.nested(key.get(options, **said))),
    }


def test_signing_in_by_passkey_opens_the_browser_s_session(
    browser: Browser, alice: User, key: Authenticator
) -> None:
    answer = browser.fill("/signin?next=/device", filled(key))
    assert (answer.status_code, answer["Location"]) == (302, "/")
    session = Session.objects.get(kind="browser")
    assert (session.user, session.methods) == (alice, ["pop", "user", "mfa"])
    assert session.passkey == Passkey.objects.get()
    assert browser.get("/api/sessionToken").status_code == 200


def test_signing_in_by_passkey_redirects_to_the_app(
    browser: Browser, video: App, key: Authenticator
) -> None:
    form = {**filled(key), "redirect_to": TARGET}
    answer = browser.fill("/signin", form)
    assert answer.status_code == 302
    assert answer["Location"].startswith("https://video.example.com/cb?a=1&token=")
    wrong = {**filled(key), "redirect_to": "https://evil.example/"}
    answer = Browser().fill("/signin", wrong)
    assert answer.status_code == 400
    assert not answer.has_header("Location")


@pytest.mark.parametrize(
    "wrong",
    [
        {"credential": "{"},
        {"credential": ""},
        {"credential": "[" * 100_000},
        {"authentication_id": ""},
        {"authentication_id": "A" * 43},
    ],
    ids=lambda wrong: str(wrong)[:30],
)
def test_a_form_without_a_valid_credential_is_refused(
    browser: Browser, key: Authenticator, wrong: dict[str, str]
) -> None:
    answer = browser.fill("/signin", {**filled(key), **wrong})
    assert answer.status_code == 400
    assert 'role="alert" >' in answer.content.decode()
    assert not Session.objects.filter(kind="browser").exists()


def test_signing_in_by_passkey_needs_the_csrf_token(
    browser: Browser, key: Authenticator
) -> None:
    assert browser.post("/signin", filled(key)).status_code == 403
    answer = browser.fill("/signin", filled(key, origin="https://evil.example"))
    assert answer.status_code == 400


def test_without_redis_the_page_asks_to_retry_later(
    browser: Browser, key: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = filled(key)
    gone = redis.Redis(unix_socket_path="/nowhere.sock", retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(nonces, "_store", lambda: gone)
    answer = browser.fill("/signin", form)
    assert answer.status_code == 503
    assert answer["Retry-After"] == "1"


def test_a_browser_session_adds_a_passkey(alices: Browser, alice: User) -> None:
    made = Authenticator()
    ours: dict[str, Any] = {
        "content_type": JSON,
        "headers": {"Origin": "http://localhost:8000"},
    }
    options = alices.post(f"{ADD}/begin/", "{}", **ours).json()
    sent = {
        "registration_id": options["registration_id"],
        "name": "Phone",
        "credential": made.nested(made.create(options)),
    }
    theirs: dict[str, Any] = {
        "content_type": JSON,
        "headers": {"Origin": "https://evil.example"},
    }
    answer = alices.post(f"{ADD}/complete/", json.dumps(sent), **theirs)
    assert answer.status_code == 403
    answer = alices.post(f"{ADD}/complete/", json.dumps(sent), **ours)
    assert answer.json()["device_name"] == "Phone"
    assert Passkey.objects.get().user == alice


def test_the_page_lists_and_removes_own_passkeys_only(
    alices: Browser, bob: User, key: Authenticator
) -> None:
    theirs = Authenticator()
    add(signed_in(bob), theirs, name="bob's phone")
    page = alices.get("/security").content.decode()
    assert "&lt;b&gt;Laptop" in page
    assert "bob" not in page
    assert "may have been copied" not in page
    for row in Passkey.objects.order_by("created_at"):
        answer = alices.fill("/security", {}, action=f"/passkeys/{row.pk}/remove")
        assert answer["Location"] == "/security#passkeys"
    assert Passkey.objects.get().user == bob
    page = alices.get("/security").content.decode()
    assert "No passkeys yet." in page
    assert "Passkey not found" in page

"""/signin for a person signed in by Clerk: redirect to the app, or one click."""

from typing import Any

import pytest

from accounts.models import App, Session, User
from tests.clerk import GONE, ISSUER, SIGNER, public_pem, session_token
from tests.doors.browsing import Browser

PAGE = "https://video.example.com"
TARGET = f"{PAGE}/cb?a=1"
CONTINUE = 'value="clerk"'


@pytest.fixture(autouse=True)
def _by_pem(settings: Any, video: App) -> None:
    settings.CLERK_ISSUER, settings.CLERK_JWT_KEY = ISSUER, public_pem(SIGNER)


def browser(**changes: Any) -> tuple[Browser, str]:
    token = session_token(SIGNER, **{"azp": PAGE} | changes)
    made = Browser()
    made.cookies["__session"] = token
    return made, token


def test_an_app_gets_clerks_token() -> None:
    guest, token = browser()
    for headers in ({}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}):
        answer = guest.get("/signin", {"redirect_to": TARGET}, headers=headers)
        assert answer.status_code == 302
        assert answer["Location"] == f"{TARGET}&token={token}"
        assert answer["Cache-Control"] == "no-store"
        assert answer["Referrer-Policy"] == "no-referrer"
    assert not Session.objects.exists()
    assert User.objects.get().clerk_id == "user_2ann"


def test_an_app_that_wants_no_token_gets_none(video: App, settings: Any) -> None:
    settings.PUBLIC_BASE_URL = "https://account.example.com"
    video.redirect_token = False
    video.save()
    guest, _ = browser()
    answer = guest.get("/signin", {"redirect_to": TARGET})
    assert answer["Location"] == TARGET


def test_unregistered_targets_get_no_token() -> None:
    guest, token = browser()
    answer = guest.get("/signin", {"redirect_to": "https://evil.example/cb"})
    assert answer.status_code == 400
    assert token not in answer.content.decode()


def test_one_click_signs_in_here_and_the_device_page_opens(settings: Any) -> None:
    guest, _ = browser(azp=settings.PUBLIC_BASE_URL)
    assert CONTINUE in guest.get("/signin?next=/device").content.decode()
    answer = guest.fill("/signin", {"intent": "clerk", "next": "/device"})
    assert (answer.status_code, answer["Location"]) == (302, "/device")
    session = Session.objects.get()
    assert (session.user.clerk_id, session.methods) == ("user_2ann", ["clerk"])
    assert guest.get("/device").status_code == 200


def test_a_token_that_is_bound_to_an_app_opens_no_session_here() -> None:
    """The app's server has this token too and could send it as the cookie."""
    guest, _ = browser()
    assert CONTINUE not in guest.get("/signin?next=/device").content.decode()
    answer = guest.fill("/signin", {"intent": "clerk", "next": "/device"})
    assert answer.status_code == 400
    assert "does not open your whole account" in answer.content.decode()
    assert not Session.objects.exists()
    assert guest.get("/device").status_code == 302


def test_a_get_opens_no_session() -> None:
    guest, _ = browser(azp=GONE)
    guest.get("/signin")
    assert not Session.objects.exists()
    # A POST without the CSRF token is refused.
    assert guest.post("/signin", {"intent": "clerk"}).status_code == 403
    assert not Session.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"act": {"sub": "user_admin"}},
        {"exp": 9, "nbf": 0, "iat": 0},
        {"azp": "https://evil.example"},
        {"iss": "https://evil.example"},
    ],
    ids=str,
)
def test_an_invalid_clerk_sign_in_shows_the_form(
    wrong: dict[str, Any],
) -> None:
    guest, _ = browser(**wrong)
    page = guest.get("/signin")
    assert page.status_code == 200
    assert CONTINUE not in page.content.decode()
    answer = guest.fill("/signin", {"intent": "clerk"})
    assert answer.status_code == 400
    assert "Your sign-in has expired." in answer.content.decode()
    assert not Session.objects.exists()


def test_a_token_without_azp_is_accepted_from_our_origin_only() -> None:
    guest, _ = browser(azp=GONE)
    assert CONTINUE in guest.get("/signin").content.decode()
    elsewhere = guest.get("/signin", headers={"Sec-Fetch-Site": "cross-site"})
    assert CONTINUE not in elsewhere.content.decode()


def test_while_clerk_is_unavailable_the_form_is_shown(settings: Any) -> None:
    settings.CLERK_JWT_KEY, settings.CLERK_JWKS_URL = "", "http://127.0.0.1:9/jwks"
    guest, _ = browser()
    page = guest.get("/signin", {"redirect_to": TARGET})
    assert page.status_code == 200
    assert 'name="password"' in page.content.decode()


def test_a_closed_account_gets_no_session_by_clerk() -> None:
    User.objects.create(clerk_id="user_2ann", is_active=False)
    guest, _ = browser()
    assert guest.get("/signin", {"redirect_to": TARGET}).status_code == 200
    assert guest.fill("/signin", {"intent": "clerk"}).status_code == 400

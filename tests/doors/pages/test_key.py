"""Tokens and keys on /security: creation, display once, refusals, revocation."""

import re
from typing import Any

import pytest
from django.test import Client

from accounts.credentials import tokens, user_keys
from accounts.models import PersonalAccessToken, SecurityEvent, Session, User, UserKey
from tests.doors.browsing import Browser

PAGE = "/security"
TOKEN = {"name": "ci", "scopes": ["jobs:read", "account:read"], "days": "30"}
KEY = {"name": "server", "days": ""}

pytestmark = pytest.mark.django_db


@pytest.fixture
def member(alice: User) -> Browser:
    browser = Browser()
    assert browser.sign_in().status_code == 302
    return browser


def text(browser: Client, page: str = PAGE) -> str:
    return " ".join(browser.get(page).content.decode().split())


def shown(answer: Any, spelling: str) -> str:
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    page = answer.content.decode()
    assert "shown only this once" in page
    (secret,) = re.findall(rf"\b{spelling}[0-9A-Za-z]{{38}}\b", page)
    return str(secret)


def test_a_token_is_created_shown_once_and_accepted(
    member: Browser, alice: User
) -> None:
    secret = shown(member.fill(PAGE, TOKEN, "/tokens"), "focus_pat_")
    token = tokens.find(secret=secret)
    assert (token.user, token.name) == (alice, "ci")
    assert token.scopes == ["account:read", "jobs:read"]
    assert (token.expires_at - token.created_at).days == 30
    page = text(member)
    assert secret not in page
    assert f"focus_pat_…{secret[-4:]}" in page
    made = Client().get("/api/wallet", headers={"Authorization": f"Bearer {secret}"})
    assert made.status_code == 403  # The token is valid but lacks wallet:read.


@pytest.mark.parametrize("days", ["", "90"])
def test_a_key_is_created_shown_once_accepted_and_revoked(
    member: Browser, alice: User, days: str
) -> None:
    secret = shown(member.fill(PAGE, {**KEY, "days": days}, "/keys"), "sk_live_")
    server = Client(headers={"X-Api-Key": secret})
    assert server.get("/v1/auth/me").json()["email"] == alice.email
    key = UserKey.objects.get()
    lives = key.expires_at and (key.expires_at - key.created_at).days
    assert lives == (int(days) if days else None)
    page = text(member)
    assert secret not in page
    assert f"sk_live_…{secret[-4:]}" in page
    answer = member.fill(PAGE, {}, f"/keys/{key.pk}/revoke")
    assert answer["Location"] == "/security#keys"
    page = text(member)
    assert "You revoked the key “server”." in page
    assert "API key revoked" in page
    assert server.get("/v1/auth/me").status_code == 401


@pytest.mark.parametrize(
    ("action", "form", "says"),
    [
        ("/tokens", {**TOKEN, "name": " "}, "Name:"),
        ("/tokens", {**TOKEN, "name": "x" * 121}, "Name:"),
        ("/tokens", {**TOKEN, "name": "a\x00b"}, "This request is not valid"),
        ("/tokens", {**TOKEN, "scopes": []}, "Choose at least one permission"),
        ("/tokens", {**TOKEN, "scopes": ["everything"]}, "Permissions:"),
        ("/tokens", {**TOKEN, "days": "0"}, "Expires:"),
        ("/tokens", {**TOKEN, "days": "367"}, "Expires:"),
        ("/tokens", {**TOKEN, "days": "9" * 5000}, "Expires:"),
        ("/tokens", {**TOKEN, "days": ""}, "Expires:"),
        ("/tokens", {}, "Name:"),
        ("/keys", {**KEY, "name": ""}, "Name:"),
        ("/keys", {**KEY, "name": "\x00"}, "This request is not valid"),
        ("/keys", {**KEY, "days": "-1"}, "Expires:"),
        ("/keys", {**KEY, "days": "3651"}, "Expires:"),
        ("/keys", {**KEY, "days": "soon"}, "Expires:"),
    ],
)
def test_an_invalid_form_is_explained(
    member: Browser, action: str, form: dict[str, Any], says: str
) -> None:
    answer = member.fill(PAGE, form, action)
    assert answer.status_code == 400
    assert says in " ".join(answer.content.decode().split())
    assert not PersonalAccessToken.objects.exists()
    assert not UserKey.objects.exists()


def test_a_refused_form_keeps_its_values(member: Browser) -> None:
    """A permission that the person unticked must stay unticked."""
    form = {"name": " ", "scopes": ["jobs:read", "oauth:read"], "days": "7"}
    page = member.fill(PAGE, form, "/tokens").content.decode()
    boxes = re.findall(r'name="scopes" value="([\w:]+)"( checked)?', page)
    assert {scope for scope, ticked in boxes if ticked} == {"jobs:read", "oauth:read"}
    assert '<option value="7" selected>' in page
    assert page.count("<details open>") == 1
    page = member.fill(PAGE, form | {"scopes": []}, "/tokens").content.decode()
    assert not re.findall(r'name="scopes" value="[\w:]+" checked', page)
    key = {"name": "my <server>", "days": "0"}
    page = member.fill(PAGE, key, "/keys").content.decode()
    assert 'value="my &lt;server&gt;"' in page


@pytest.mark.parametrize(("action", "form"), [("/tokens", TOKEN), ("/keys", KEY)])
def test_a_sign_in_without_user_verification_creates_no_token_or_key(
    member: Browser, action: str, form: dict[str, Any]
) -> None:
    """As in the API: a found security key without a PIN must give no lasting access."""
    Session.objects.update(methods=["pop"])
    refused = member.fill(PAGE, form, action).content.decode()
    assert "before you add a passkey, token or key" in refused
    Session.objects.update(methods=["pop", "mfa"])
    assert member.fill(PAGE, form, action).status_code == 200
    assert PersonalAccessToken.objects.count() + UserKey.objects.count() == 1


@pytest.mark.parametrize(("action", "form"), [("/tokens", TOKEN), ("/keys", KEY)])
def test_creating_needs_the_csrf_token_and_a_session(
    member: Browser, action: str, form: dict[str, Any]
) -> None:
    assert member.post(action, form).status_code == 403
    assert member.get(action).status_code == 405
    assert Client().post(action, form)["Location"].startswith("/signin")
    assert not PersonalAccessToken.objects.exists()
    assert not UserKey.objects.exists()


def test_keys_of_another_account_are_hidden_and_cannot_be_revoked(
    member: Browser, bob: User
) -> None:
    key = user_keys.issue(user=bob, name="bobs server").key
    assert "bobs server" not in text(member)
    member.fill(PAGE, {}, f"/keys/{key.pk}/revoke")
    assert "Key not found" in text(member)
    key.refresh_from_db()
    assert key.revoked_at is None
    assert not SecurityEvent.objects.filter(kind="user_key_revoked").exists()


def test_a_name_is_escaped(member: Browser) -> None:
    name = "<img src=x onerror=alert(1)>"
    made = member.fill(PAGE, {**KEY, "name": name}, "/keys").content.decode()
    assert name not in made
    assert name not in text(member)
    assert "&lt;img" in text(member)


def test_creating_is_rate_limited(
    real_limits: None, member: Browser, settings: Any
) -> None:
    told = [member.fill(PAGE, KEY, "/keys") for _ in range(25)]
    answers = [answer.status_code for answer in told]
    assert set(answers) == {200, 429}
    assert "Rate limit exceeded" in told[-1].content.decode()
    assert UserKey.objects.count() == answers.count(200)

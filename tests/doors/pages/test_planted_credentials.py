"""Account pre-hijacking: an attacker opens an account with a victim's email."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.credentials import scopes, tokens, user_keys
from accounts.models import App, User
from accounts.signin import sessions
from tests import ceremonies
from tests.contracts.reviv.test_oauth import EXCHANGE, came_back, ticket_of
from tests.contracts.reviv.test_refresh import ME, REFRESH
from tests.doors.browsing import Browser
from tests.doors.pages.test_google import come_back, send
from tests.softauth import Authenticator

EMAIL, PASSWORD = "ada@gmail.com", "the squatter's password"

pytestmark = pytest.mark.django_db


def seen_as(client: Any, path: str = "/api/wallet") -> str | None:
    """Return the email of the account that a credential opens, or None."""
    answer = client.get(path)
    if answer.status_code != 200:
        return None
    email: str = answer.json()["account"]["email"]
    return email


def bearer(secret: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {secret}"})


@pytest.mark.parametrize("by", ["password", "passkey"])
@pytest.mark.parametrize("door", ["reviv", "signin"])
def test_nothing_planted_reaches_the_owners_account(
    google: str, video: App, by: str, door: str
) -> None:
    authenticator = Authenticator()
    if by == "password":
        squatter = User.objects.create_user(EMAIL, PASSWORD)
    else:
        assert ceremonies.open_account(EMAIL, authenticator).status_code == 200
        squatter = User.objects.get()
    opened = sessions.begin(
        user=squatter, client="reviv", access_seconds=900, methods=["pwd"]
    )
    pat = tokens.issue(user=squatter, name="x", scopes=scopes.DEFAULT)
    key = user_keys.issue(user=squatter, name="x")
    assert seen_as(bearer(pat.secret)) == EMAIL

    if door == "reviv":
        answer = came_back(APIClient())
        said = APIClient().post(EXCHANGE, {"ticket": ticket_of(answer)}).json()
        victim: Any = bearer(said["access"])
        assert victim.get(ME).json()["email"] == EMAIL
    else:
        browser = Browser()
        come_back(browser, send(browser))
        victim = browser
    assert seen_as(victim) == EMAIL
    owner = User.objects.with_email(EMAIL).get()
    assert owner != squatter

    # The attacker's sessions have ended.
    assert seen_as(bearer(opened.access_token)) is None
    again = APIClient().post(REFRESH, {"refresh": opened.refresh_token})
    assert again.status_code == 400
    assert Browser().sign_in(email=EMAIL, password=PASSWORD).status_code == 400
    # His tokens and keys open only his account, which has lost the email.
    assert _is_his(bearer(pat.secret), squatter)
    answer = APIClient(headers={"X-Api-Key": key.secret}).get("/v1/auth/me")
    assert EMAIL not in answer.content.decode()
    if by == "passkey":
        answer = ceremonies.sign_in(authenticator)
        assert answer.json()["user"]["id"] == str(squatter.pk)
        assert answer.json()["user"]["email"] is None
    # The owner's account has none of them.
    assert not owner.has_usable_password()
    assert not tokens.live(user=owner).exists()
    assert not user_keys.live(user=owner).exists()
    assert not owner.passkey_set.exists()
    assert sessions.live(user=owner).count() == 1


def _is_his(client: APIClient, squatter: User) -> bool:
    account = client.get("/api/wallet").json()["account"]
    return account["email"] is None and account["clerk_id"] == squatter.public_clerk_id

"""Link a Steam account: the whole flow, and its refusals."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from rest_framework.test import APIClient

from accounts import nonces
from accounts.models import Link, Mail, SecurityEvent, Sync, User
from tests.linking.conftest import (
    HERE,
    Stand,
    bearer,
    begin,
    browser,
    come_back,
    query_of,
)

GABEN = "76561197960287930"
ROBIN = "76561197960265731"

pytestmark = pytest.mark.django_db


def test_a_browser_links_an_account(steam: Stand, alice: User) -> None:
    client = browser(alice)
    answer = client.get(f"{HERE}/oauth/steam")
    assert answer.status_code == 302
    assert answer["Cache-Control"] == "no-store"
    (cookie,) = [c for name, c in client.cookies.items() if "link" in name]
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["max-age"]) == ("Lax", 600)
    asked = query_of(answer["Location"])
    assert asked["openid.realm"] == "http://localhost:8000/"
    assert asked["openid.return_to"].startswith(
        "http://localhost:8000/api/v2/accounts/oauth/steam/callback?state="
    )
    # A browser sends Sec-Fetch-Site: cross-site after Steam's redirect.
    answer = come_back(
        client,
        steam.visit(answer["Location"]),
        headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    )
    assert (answer.status_code, answer["Location"]) == (
        302,
        "/security?linked=steam#links",
    )
    link = Link.objects.get()
    assert (link.user, link.provider, link.subject) == (alice, "steam", GABEN)
    assert (link.sealed_tokens, link.expires_at, link.is_active) == (None, None, True)
    sync = Sync.objects.get()
    assert client.get(f"{HERE}/links").json() == {
        "links": [
            {
                "provider": "steam",
                "platform_username": GABEN,
                "platform_user_id": GABEN,
                "created_at": _spelled(link.created_at),
                "expires_at": None,
                "is_active": True,
                "last_synced_at": None,
                "profile": {},
                "sync": {
                    "requested_at": _spelled(sync.requested_at),
                    "started_at": None,
                    "finished_at": None,
                    "error": "",
                },
            }
        ]
    }
    assert SecurityEvent.objects.filter(kind="account_linked", user=alice).count() == 1
    assert Mail.objects.filter(subject="A Steam account is linked to yours").exists()


def _spelled(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def test_a_bearer_links_an_account(steam: Stand, alice: User) -> None:
    """The guide's client keeps cookies, or sends its bearer token again."""
    for keeps_cookies in (True, False):
        client = bearer(alice)
        back = steam.visit(begin(client, "steam"))
        if not keeps_cookies:
            client.cookies.clear()
        answer = come_back(client, back)
        assert (answer.status_code, answer["Location"]) == (
            302,
            "/security?linked=steam#links",
        )
        assert Link.objects.get().user == alice
        answer = client.delete(f"{HERE}/links/steam")
        assert answer.json() == {"success": True, "provider": "steam"}


def test_mode_json_returns_the_url(steam: Stand, alice: User) -> None:
    client = bearer(alice)
    answer = client.get(f"{HERE}/oauth/steam?mode=json")
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    url = answer.json()["url"]
    assert url.startswith(f"{steam.url}/openid/login?openid.ns=")
    # A script sent the bearer token; the browser returns only with the cookie.
    del client.defaults["HTTP_AUTHORIZATION"]
    assert come_back(client, steam.visit(url)).status_code == 302
    assert Link.objects.get().user == alice


def test_the_callback_redirects_to_return_to(
    steam: Stand, alice: User, video: Any
) -> None:
    client = browser(alice)
    wanted = "https://video.example.com/done?a=1"
    back = steam.visit(begin(client, "steam", return_to=wanted))
    assert come_back(client, back)["Location"] == f"{wanted}&linked=steam"
    # A refusal redirects there, too.
    assert (
        come_back(client, back)["Location"]
        == "/security?link_error=invalid_state#links"
    )
    for evil in ("https://evil.example", "//evil.example", "/\\evil.example"):
        answer = client.get(f"{HERE}/oauth/steam", {"return_to": evil})
        assert answer.status_code == 400
        assert set(answer.json()["error"]["data"]) == {"return_to"}


def test_a_state_works_once(steam: Stand, alice: User) -> None:
    client = bearer(alice)
    back = steam.visit(begin(client, "steam"))
    assert come_back(client, back).status_code == 302
    answer = come_back(client, back)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "INVALID_STATE"


@pytest.mark.parametrize("state", ["", "x", "x" * 43, "\x00", "é"])
def test_an_unknown_state_is_refused(steam: Stand, alice: User, state: str) -> None:
    answer = bearer(alice).get(f"{HERE}/oauth/steam/callback", {"state": state})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("INVALID_STATE", "VALIDATION_ERROR")


def test_a_state_of_another_purpose_links_nothing(steam: Stand, alice: User) -> None:
    other = nonces.keep(purpose="passkey", facts={}, seconds=60)
    answer = bearer(alice).get(f"{HERE}/oauth/steam/callback", {"state": other})
    assert answer.json()["error"]["code"] == "INVALID_STATE"


def test_a_state_of_x_does_not_work_for_steam(
    steam: Stand, x: Stand, alice: User
) -> None:
    client = bearer(alice)
    state = query_of(begin(client, "x"))["state"]
    back = steam.visit(begin(client, "steam"))
    forged = urlencode({**query_of(back), "state": state})
    answer = come_back(client, urlsplit(back)._replace(query=forged).geturl())
    assert answer.json()["error"]["code"] == "INVALID_STATE"
    assert not Link.objects.exists()


def test_another_user_cannot_finish_an_attempt(
    steam: Stand, alice: User, bob: User
) -> None:
    """Otherwise alice could link bob's Steam account to hers, or hers to his."""
    for began in (bearer(alice), browser(alice)):
        for came in (bearer(bob), browser(bob)):
            back = steam.visit(begin(began, "steam"))
            for cookies in (False, True):
                if cookies:
                    back = steam.visit(begin(began, "steam"))
                    for name, cookie in began.cookies.items():
                        if name.startswith("focus_link_"):
                            came.cookies[name] = cookie.value
                answer = come_back(came, back, headers={"Accept": "*/*"})
                assert answer.status_code == 400
                assert answer.json()["error"]["code"] == "INVALID_STATE"
    assert not Link.objects.exists()


def test_another_browser_of_the_same_user_starts_again(
    steam: Stand, alice: User
) -> None:
    back = steam.visit(begin(browser(alice), "steam"))
    answer = come_back(browser(alice), back)
    assert answer["Location"] == "/security?link_error=invalid_state#links"
    assert not Link.objects.exists()


def test_an_anonymous_callback_signs_in_first_and_keeps_the_state(
    steam: Stand, alice: User
) -> None:
    client = bearer(alice)
    back = steam.visit(begin(client, "steam"))
    answer = come_back(browser(None), back)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/signin?next=%2Fapi%2Fv2%2Faccounts%2Foauth")
    answer = come_back(APIClient(), back)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "AUTHENTICATION_REQUIRED"
    # After signing in, the user that started it can continue.
    answer = come_back(browser(alice), back)
    assert answer["Location"] == "/security?linked=steam#links"


def test_a_closed_account_gets_no_link(steam: Stand, alice: User) -> None:
    client = bearer(alice)
    back = steam.visit(begin(client, "steam"))
    User.objects.filter(pk=alice.pk).update(is_active=False)
    del client.defaults["HTTP_AUTHORIZATION"]
    assert come_back(client, back).json()["error"]["code"] == "INVALID_STATE"
    assert not Link.objects.exists()


def test_declining_at_steam_is_reported(steam: Stand, alice: User) -> None:
    steam.knobs(cancel=True)
    client = browser(alice)
    answer = come_back(client, steam.visit(begin(client, "steam")))
    assert answer["Location"] == "/security?link_error=access_denied#links"


def test_an_outage_of_steam_is_503(steam: Stand, alice: User) -> None:
    client = bearer(alice)
    back = steam.visit(begin(client, "steam"))
    steam.knobs(down=True)
    answer = come_back(client, back)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert not Link.objects.exists()


def test_an_account_linked_to_another_user_stays_linked_there(
    steam: Stand, alice: User, bob: User
) -> None:
    mine, theirs = bearer(alice), bearer(bob)
    come_back(mine, steam.visit(begin(mine, "steam")))
    answer = come_back(theirs, steam.visit(begin(theirs, "steam")))
    assert answer.status_code == 409
    assert answer.json() == {
        "success": False,
        "error": {
            "code": "LINK_TAKEN",
            "message": "That account is already linked to another account here.",
            "data": {},
        },
    }
    assert Link.objects.get().user == alice
    # After unlinking, another user can link it.
    assert mine.delete(f"{HERE}/links/steam").status_code == 200
    assert come_back(theirs, steam.visit(begin(theirs, "steam"))).status_code == 302
    assert Link.objects.get().user == bob


def test_a_second_steam_account_of_one_user_is_refused(
    steam: Stand, alice: User
) -> None:
    client = bearer(alice)
    come_back(client, steam.visit(begin(client, "steam")))
    steam.knobs(steam_id=ROBIN)
    answer = come_back(client, steam.visit(begin(client, "steam")))
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "ALREADY_LINKED"
    steam.knobs(steam_id=GABEN)
    assert come_back(client, steam.visit(begin(client, "steam"))).status_code == 302
    assert Link.objects.get().subject == GABEN

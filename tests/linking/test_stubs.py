"""The stubs behave as Steam and X do, which the other tests here rely on."""

import base64
import hashlib
from urllib.parse import urlencode

import pytest
import requests

from tests.linking.conftest import Stand, query_of
from tests.linking.steam import ANYBODY, NAMESPACE
from tests.linking.x import CLIENT

RETURN_TO = "https://focus.example/callback?state=s"
VERIFIER = "v" * 43
CALLBACK = "https://focus.example/callback"
BASIC = ("the%20x%20client", "the%20x%20secret")


def _openid(stand: Stand, **changes: str) -> requests.Response:
    asked = {
        "openid.ns": NAMESPACE,
        "openid.mode": "checkid_setup",
        "openid.claimed_id": ANYBODY,
        "openid.identity": ANYBODY,
        "openid.return_to": RETURN_TO,
        "openid.realm": "https://focus.example/",
        **{f"openid.{name}": value for name, value in changes.items()},
    }
    url = f"{stand.url}/openid/login?{urlencode(asked)}"
    return requests.get(url, allow_redirects=False, timeout=30)


def _verdict(stand: Stand, said: dict[str, str]) -> str:
    form = {**said, "openid.mode": "check_authentication"}
    return requests.post(f"{stand.url}/openid/login", data=form, timeout=30).text


YES = f"ns:{NAMESPACE}\nis_valid:true\n"
NO = f"ns:{NAMESPACE}\nis_valid:false\n"


def test_steam_answers_with_all_its_fields(steam: Stand) -> None:
    back = _openid(steam).headers["Location"]
    assert back.startswith(f"{RETURN_TO}&openid.ns=")
    said = query_of(back)
    assert set(said) == {
        "state",
        *(
            f"openid.{name}"
            for name in (
                "ns",
                "mode",
                "op_endpoint",
                "claimed_id",
                "identity",
                "return_to",
                "response_nonce",
                "assoc_handle",
                "signed",
                "sig",
            )
        ),
    }
    assert said["openid.return_to"] == RETURN_TO
    assert said["openid.claimed_id"] == said["openid.identity"]
    assert said["openid.claimed_id"].startswith(f"{steam.url}/openid/id/7656")


def test_steam_confirms_an_answer_once(steam: Stand) -> None:
    said = query_of(_openid(steam).headers["Location"])
    assert _verdict(steam, said) == YES
    assert _verdict(steam, said) == NO


@pytest.mark.parametrize("name", ["claimed_id", "return_to", "response_nonce", "sig"])
def test_steam_does_not_confirm_a_changed_answer(steam: Stand, name: str) -> None:
    said = query_of(_openid(steam).headers["Location"])
    assert _verdict(steam, {**said, f"openid.{name}": "forged"}) == NO


@pytest.mark.parametrize(
    "changes",
    [{"realm": "https://other.example/"}, {"mode": "x"}, {"ns": "x"}, {"identity": ""}],
)
def test_steam_refuses_an_invalid_request(
    steam: Stand, changes: dict[str, str]
) -> None:
    assert _openid(steam, **changes).status_code == 400


def _code(x: Stand) -> str:
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    asked = {
        "response_type": "code",
        "client_id": CLIENT[0],
        "redirect_uri": CALLBACK,
        "scope": "tweet.read users.read offline.access",
        "state": "s",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    said = query_of(x.visit(f"{x.url}/i/oauth2/authorize?{urlencode(asked)}"))
    assert said["state"] == "s"
    return said["code"]


def _grant(x: Stand, form: dict[str, str], **more: tuple[str, str]) -> tuple[int, dict]:
    answer = requests.post(
        f"{x.url}/2/oauth2/token", data=form, auth=more.get("auth", BASIC), timeout=30
    )
    return answer.status_code, answer.json()


def _first(code: str, /, **changes: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
        **changes,
    }


REFUSED = {
    "error": "invalid_request",
    "error_description": "Value passed for the token was invalid.",
}


def test_x_accepts_a_code_once_and_each_refresh_token_once(x: Stand) -> None:
    form = _first(_code(x))
    status, said = _grant(x, form)
    assert status == 200
    assert set(said) == {
        "token_type",
        "expires_in",
        "access_token",
        "scope",
        "refresh_token",
    }
    assert _grant(x, form) == (400, REFUSED)
    form = {"grant_type": "refresh_token", "refresh_token": said["refresh_token"]}
    status, renewed = _grant(x, form)
    assert status == 200
    assert renewed["access_token"] != said["access_token"]
    assert _grant(x, form) == (400, REFUSED)


@pytest.mark.parametrize(
    "changes", [{"code_verifier": "w" * 43}, {"redirect_uri": "x"}, {"code": "x"}]
)
def test_x_refuses_a_code_with_wrong_parameters(
    x: Stand, changes: dict[str, str]
) -> None:
    assert _grant(x, _first(_code(x), **changes)) == (400, REFUSED)


def test_x_checks_the_client_secret(x: Stand) -> None:
    status, said = _grant(x, _first(_code(x)), auth=("another", "client"))
    assert (status, said["error"]) == (401, "unauthorized_client")


def test_x_rejects_a_revoked_token(x: Stand) -> None:
    _, said = _grant(x, _first(_code(x)))
    headers = {"Authorization": f"Bearer {said['access_token']}"}
    me = f"{x.url}/2/users/me"
    assert requests.get(me, headers=headers, timeout=30).json()["data"]["id"]
    form = {"token": said["access_token"]}
    requests.post(f"{x.url}/2/oauth2/revoke", data=form, auth=BASIC, timeout=30)
    assert requests.get(me, headers=headers, timeout=30).status_code == 401

"""Forged answers: one line changed at a time, while Steam still confirms them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlencode, urlsplit

import pytest
from rest_framework.test import APIClient

from accounts.links import linking
from accounts.links import steam as rules
from accounts.models import Link, User
from tests.linking.conftest import Stand, bearer, begin, come_back, query_of

GABEN = "76561197960287930"
ROBIN = "76561197960265731"

pytestmark = pytest.mark.django_db


def _forge(url: str, stand: Stand, **changes: str | None) -> str:
    """Change some lines of the answer and let Steam sign the result."""
    said = query_of(url)
    for name, value in changes.items():
        key = f"openid.{name}"
        if value is None:
            said.pop(key, None)
        else:
            said[key] = value
    lines = {name: value for name, value in said.items() if name.startswith("openid.")}
    said["openid.sig"] = stand.sign(lines)
    parts = urlsplit(url)
    return parts._replace(query=urlencode(said)).geturl()


def _at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") + "x"


def _says(base: str, **changes: str | None) -> dict[str, str | None]:
    return changes


SIGNED = "signed,op_endpoint,claimed_id,identity,return_to,response_nonce,assoc_handle"
# Steam confirms each of these, so only our own checks can refuse them.
FORGED: dict[str, Callable[[str], dict[str, str | None]]] = {
    "ns": lambda base: {"ns": "http://openid.net/signon/1.1"},
    "no ns": lambda base: {"ns": None},
    "mode": lambda base: {"mode": "setup_needed"},
    "no mode": lambda base: {"mode": None},
    "op_endpoint": lambda base: {"op_endpoint": "https://evil.example/openid/login"},
    "op_endpoint, nearly": lambda base: {"op_endpoint": f"{base}/login/"},
    "no op_endpoint": lambda base: {"op_endpoint": None},
    "claimed_id of another": lambda base: {"claimed_id": f"{base}/id/{ROBIN}"},
    "identity of another": lambda base: {"identity": f"{base}/id/{ROBIN}"},
    "no identity": lambda base: {"identity": None},
    "no claimed_id": lambda base: {"claimed_id": None},
    "return_to of another site": lambda base: {"return_to": "https://evil.example/"},
    "return_to without our state": lambda base: {
        "return_to": linking.callback("steam")
    },
    "return_to with another state": lambda base: {
        "return_to": f"{linking.callback('steam')}?state={'x' * 43}"
    },
    "no return_to": lambda base: {"return_to": None},
    "nonce of long ago": lambda base: {
        "response_nonce": _at(datetime.now(UTC) - timedelta(minutes=6))
    },
    "nonce of tomorrow": lambda base: {
        "response_nonce": _at(datetime.now(UTC) + timedelta(days=1))
    },
    "nonce of no time": lambda base: {"response_nonce": "2026-13-41T25:61:61Zx"},
    "nonce of nothing": lambda base: {"response_nonce": ""},
    "no nonce": lambda base: {"response_nonce": None},
    "no signed": lambda base: {"signed": None},
    "too long": lambda base: {"extra": "x" * 2049},
}
for _name in SIGNED.split(",")[1:]:
    _others = ",".join(one for one in SIGNED.split(",") if one != _name)
    FORGED[f"{_name} not signed"] = partial(_says, signed=_others)
IDS = [
    "https://evil.example/id/{id}",
    "{base}/id/{id}/",
    "{base}/id/{id}\n",
    "{base}/id/{id}?x",
    "{base}/id/{id}0",
    "{base}/id/{id}/../1",
    "{base}/id/1{id}",
    "{base}/id/765611979602879३०",
    "{base}/id/86561197960287930",
    "{base}/profiles/{id}",
    "{base}/id/",
    "https://evil.example/?{base}/id/{id}",
    "{base}@evil.example/id/{id}",
    "{dotless}/id/{id}",
]


def _refused(client: APIClient, url: str, steam: Stand, *, asked: int = 0) -> None:
    before = steam.seen("POST /openid/login")
    answer = come_back(client, url)
    assert answer.status_code == 400, answer.content
    assert answer.json()["success"] is False
    assert answer.json()["error"]["code"] == "LINK_NOT_PROVEN"
    assert not Link.objects.exists()
    # We refused before the request to Steam, which would have confirmed it.
    assert steam.seen("POST /openid/login") == before + asked


@pytest.mark.parametrize("what", FORGED)
def test_each_forged_line_is_refused(steam: Stand, alice: User, what: str) -> None:
    client = bearer(alice)
    back = steam.visit(begin(client, "steam"))
    base = f"{steam.url}/openid"
    _refused(client, _forge(back, steam, **FORGED[what](base)), steam)


@pytest.mark.parametrize("claimed", IDS)
def test_only_a_whole_account_url_is_accepted(
    steam: Stand, alice: User, claimed: str
) -> None:
    client = bearer(alice)
    back = steam.visit(begin(client, "steam"))
    base = f"{steam.url}/openid"
    one = claimed.format(base=base, id=GABEN, dotless=base.replace(".", "x"))
    _refused(client, _forge(back, steam, claimed_id=one, identity=one), steam)


def test_the_same_answer_without_a_change_is_accepted(
    steam: Stand, alice: User
) -> None:
    """`_forge` without changes passes, so the tests above fail for the right reason."""
    client = bearer(alice)
    back = steam.visit(begin(client, "steam"))
    assert come_back(client, _forge(back, steam)).status_code == 302
    assert steam.seen("valid") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"openid.sig": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        {"openid.assoc_handle": "another"},
        {"openid.sig": ""},
    ],
)
def test_an_answer_that_steam_does_not_confirm_is_refused(
    steam: Stand, alice: User, change: dict[str, str]
) -> None:
    client = bearer(alice)
    back = steam.visit(begin(client, "steam"))
    query = urlencode({**query_of(back), **change})
    forged = urlsplit(back)._replace(query=query).geturl()
    _refused(client, forged, steam, asked=1)
    assert (steam.seen("valid"), steam.seen("invalid")) == (0, 1)


@pytest.mark.parametrize(
    "verdict",
    [
        "is_valid:false\nis_valid:truely\n",
        "ns:x is_valid:true",
        '{"is_valid":true}',
        "<html>is_valid:true</html>",
        "is_valid: true\n",
    ],
)
def test_an_unclear_verdict_is_refused(steam: Stand, alice: User, verdict: str) -> None:
    client = bearer(alice)
    back = steam.visit(begin(client, "steam"))
    steam.knobs(verdict=verdict)
    _refused(client, back, steam, asked=1)


def test_a_repeated_line_is_refused(steam: Stand, alice: User) -> None:
    for name in ("openid.claimed_id", "openid.mode", "openid.sig"):
        client = bearer(alice)
        back = steam.visit(begin(client, "steam"))
        twice = urlencode({name: f"{steam.url}/openid/id/{ROBIN}"})
        _refused(client, f"{back}&{twice}", steam)


def test_a_nonce_works_once(steam: Stand, alice: User) -> None:
    """Even if Steam forgets the nonce: another state, the same signed nonce."""
    steam.knobs(forgetful=True)
    client = bearer(alice)
    first = steam.visit(begin(client, "steam"))
    nonce = query_of(first)["openid.response_nonce"]
    assert come_back(client, first).status_code == 302
    linking.unlink(user=alice, provider="steam")
    second = steam.visit(begin(client, "steam"))
    _refused(client, _forge(second, steam, response_nonce=nonce), steam)


def test_the_nonce_is_remembered_longer_than_it_is_fresh() -> None:
    window = rules.FRESH + rules.AHEAD
    assert timedelta(seconds=rules.REMEMBERED_SECONDS) > window

"""Clerk's session tokens: which are valid, and which account they identify."""

import time
from typing import Any

import pytest

from accounts.audit import NO_VISITOR
from accounts.credentials.principals import InvalidToken, TokenEnded, TokenExpired
from accounts.models import App, SecurityEvent, User
from accounts.providers import clerk
from tests.clerk import GONE, ISSUER, SIGNER, public_pem, session_token
from tests.counting import statements

PAGE = "https://video.example.com"


@pytest.fixture(autouse=True)
def _by_pem(settings: Any) -> None:
    settings.CLERK_ISSUER = ISSUER
    settings.CLERK_JWT_KEY = public_pem(SIGNER)
    # With a configured PEM, nothing is fetched.
    settings.CLERK_JWKS_URL = "http://127.0.0.1:9/"


def token(**changes: Any) -> str:
    return session_token(SIGNER, **{"azp": PAGE} | changes)


@pytest.fixture
def ann(video: App) -> User:
    return User.objects.create(clerk_id="user_2ann")


def test_a_token_names_user_session_and_origin():
    visit = clerk.read(token())
    assert visit.clerk_id == "user_2ann"
    assert visit.session_id == "sess_1"
    assert visit.party == PAGE
    assert visit.impersonator == ""
    assert 50 < visit.expires_at.timestamp() - time.time() <= 60
    assert "eyJ" not in repr(visit)


def test_a_pem_may_be_on_one_line(settings: Any):
    settings.CLERK_JWT_KEY = settings.CLERK_JWT_KEY.replace("\n", "\\n")
    assert clerk.read(token())


def test_without_an_issuer_every_token_is_invalid(settings: Any):
    settings.CLERK_JWT_KEY = settings.CLERK_JWKS_URL = ""
    with pytest.raises(InvalidToken):
        clerk.read(token())
    settings.CLERK_JWT_KEY = public_pem(SIGNER)
    settings.CLERK_ISSUER = ""
    with pytest.raises(InvalidToken):
        clerk.read(token(iss=""))


@pytest.mark.parametrize("claim", ["iss", "sub", "sid", "exp", "iat", "nbf"])
def test_a_token_without_a_required_claim_is_invalid(claim: str):
    with pytest.raises(InvalidToken):
        clerk.read(token(**{claim: GONE}))
    if claim != "iss":  # PyJWT refuses to sign such an issuer.
        with pytest.raises(InvalidToken):
            clerk.read(token(**{claim: None}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://clerk.evil.example"},
        {"iss": f"{ISSUER}/"},
        {"sub": "org_1"},
        {"sub": "user_"},
        {"sub": "user_1\n"},
        {"sub": "user_" + "a" * 60},
        {"sub": "8d3a"},
        {"sub": 5},
        {"sub": ["user_2ann"]},
        {"sid": ""},
        {"sid": 7},
        {"sts": "pending"},
        {"sts": "nonsense"},
        {"azp": 5},
        {"azp": [PAGE]},
        {"nbf": 9_999_999_999, "exp": 9_999_999_999},
        {"iat": 9_999_999_999, "exp": 9_999_999_999},
    ],
    ids=str,
)
def test_a_signed_token_with_unfit_claims_is_no_wrong_guess(wrong: Any):
    with pytest.raises(InvalidToken) as refusal:
        clerk.read(token(**wrong))
    assert not refusal.value.wrong_guess


def test_an_expired_token_is_refused():
    with pytest.raises(TokenExpired):
        clerk.read(token(exp=int(time.time()) - 30))


def test_a_token_without_sts_or_with_an_audience_is_valid():
    assert clerk.read(token(sts=GONE))
    assert clerk.read(token(aud="convex"))


def test_the_algorithm_tells_our_tokens_from_clerks():
    assert clerk.is_clerk_token(token())
    for other in (
        session_token("k" * 40, algorithm="HS256"),
        "a.b.c",
        "",
        "[" * 9000 + ".e30.e30",
    ):
        assert not clerk.is_clerk_token(other)


@pytest.mark.parametrize(
    ("act", "who"),
    [
        ({"sub": "user_admin"}, "user_admin"),
        ({}, "unknown"),
        ("user_admin", "unknown"),
        (True, "unknown"),
        (None, ""),
    ],
)
def test_the_act_claim_names_the_impersonator(act: Any, who: str):
    assert clerk.read(token(act=act)).impersonator == who


def test_a_known_user_is_found_by_one_query(ann: User, settings: Any):
    for party in (PAGE, settings.PUBLIC_BASE_URL, GONE):
        visit = clerk.read(token(azp=party))
        with statements() as asked:
            assert clerk.find(visit=visit).user == ann
        assert len(asked) == 1


def test_an_unknown_user_costs_one_query_too(ann: User):
    with statements() as asked:
        assert clerk.find(visit=clerk.read(token(sub="user_new"))).user is None
    assert len(asked) == 1


@pytest.mark.parametrize(
    "party",
    [
        "https://evil.example",
        "https://video.example.com.evil.example",
        "https://video.example.com:444",
        "https://video.example.com/",
        "http://video.example.com",
        "video.example.com",
        "https://VIDEO.example.com",
        "null",
        "*",
        "",
    ],
)
def test_a_token_for_an_unregistered_page_is_refused(ann: User, party: str):
    with pytest.raises(TokenEnded):
        clerk.find(visit=clerk.read(token(azp=party)))
    with pytest.raises(TokenEnded):
        clerk.find(visit=clerk.read(token(azp=party, sub="user_new")))


def test_a_switched_off_apps_token_is_refused(ann: User, video: App):
    video.active = False
    video.save()
    with pytest.raises(TokenEnded):
        clerk.find(visit=clerk.read(token()))


def test_a_closed_account_refuses_clerks_tokens(ann: User):
    ann.is_active = False
    ann.save()
    with pytest.raises(TokenEnded):
        clerk.find(visit=clerk.read(token()))


def test_impersonation_is_recorded_once_a_session(ann: User):
    for session in ("sess_1", "sess_1", "sess_2"):
        visit = clerk.read(token(sid=session, act={"sub": "user_admin"}))
        clerk.note_impersonation(visit=visit, user=ann, visitor=NO_VISITOR)
    events = SecurityEvent.objects.filter(kind="impersonated", user=ann)
    assert [event.actor for event in events] == ["clerk:user_admin"] * 2

"""Clerk's session tokens: which are believed, and of whom they speak."""

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
    # Nothing is fetched where the key is known.
    settings.CLERK_JWKS_URL = "http://127.0.0.1:9/"


def token(**changes: Any) -> str:
    return session_token(SIGNER, **{"azp": PAGE} | changes)


@pytest.fixture
def ann(video: App) -> User:
    return User.objects.create(clerk_id="user_2ann")


def test_a_token_says_who_and_from_where():
    visit = clerk.read(token())
    assert visit.clerk_id == "user_2ann"
    assert visit.session_id == "sess_1"
    assert visit.party == PAGE
    assert visit.impersonator == ""
    assert 50 < visit.expires_at.timestamp() - time.time() <= 60
    assert "eyJ" not in repr(visit)


def test_a_pem_may_be_written_in_one_line(settings: Any):
    settings.CLERK_JWT_KEY = settings.CLERK_JWT_KEY.replace("\n", "\\n")
    assert clerk.read(token())


def test_unset_every_token_is_invalid(settings: Any):
    settings.CLERK_JWT_KEY = settings.CLERK_JWKS_URL = ""
    with pytest.raises(InvalidToken):
        clerk.read(token())
    settings.CLERK_JWT_KEY = public_pem(SIGNER)
    settings.CLERK_ISSUER = ""
    with pytest.raises(InvalidToken):
        clerk.read(token(iss=""))


@pytest.mark.parametrize("claim", ["iss", "sub", "sid", "exp", "iat", "nbf"])
def test_a_token_without_its_claims_is_none(claim: str):
    with pytest.raises(InvalidToken):
        clerk.read(token(**{claim: GONE}))
    if claim != "iss":  # PyJWT signs no such issuer.
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
def test_a_genuine_token_that_does_not_fit_is_refused_and_is_no_guess(wrong: Any):
    with pytest.raises(InvalidToken) as refusal:
        clerk.read(token(**wrong))
    assert not refusal.value.wrong_guess


def test_a_token_past_its_time_has_expired():
    with pytest.raises(TokenExpired):
        clerk.read(token(exp=int(time.time()) - 30))


def test_an_older_token_without_sts_and_one_with_an_audience_are_right():
    assert clerk.read(token(sts=GONE))
    assert clerk.read(token(aud="convex"))


def test_ours_is_told_from_clerks_by_its_looks():
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
def test_who_acts_in_the_persons_place(act: Any, who: str):
    assert clerk.read(token(act=act)).impersonator == who


def test_somebody_known_is_found_by_one_query(ann: User, settings: Any):
    for party in (PAGE, settings.PUBLIC_BASE_URL, GONE):
        visit = clerk.read(token(azp=party))
        with statements() as asked:
            assert clerk.find(visit=visit).user == ann
        assert len(asked) == 1


def test_nobody_is_found_by_one_query_too(ann: User):
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
def test_a_token_made_for_a_page_that_is_nobodys_is_refused(ann: User, party: str):
    with pytest.raises(TokenEnded):
        clerk.find(visit=clerk.read(token(azp=party)))
    with pytest.raises(TokenEnded):
        clerk.find(visit=clerk.read(token(azp=party, sub="user_new")))


def test_an_app_that_is_closed_speaks_for_nobody(ann: User, video: App):
    video.active = False
    video.save()
    with pytest.raises(TokenEnded):
        clerk.find(visit=clerk.read(token()))


def test_a_closed_account_is_closed_to_clerk_too(ann: User):
    ann.is_active = False
    ann.save()
    with pytest.raises(TokenEnded):
        clerk.find(visit=clerk.read(token()))


def test_impersonation_is_written_down_once_a_session(ann: User):
    for session in ("sess_1", "sess_1", "sess_2"):
        visit = clerk.read(token(sid=session, act={"sub": "user_admin"}))
        clerk.note_impersonation(visit=visit, user=ann, visitor=NO_VISITOR)
    events = SecurityEvent.objects.filter(kind="impersonated", user=ann)
    assert [event.actor for event in events] == ["clerk:user_admin"] * 2

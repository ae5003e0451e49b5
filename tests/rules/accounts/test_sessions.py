"""Sessions: acknowledged rotation, theft, expiry and revocation."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from accounts.credentials import jwt
from accounts.credentials.principals import InvalidToken, TokenExpired
from accounts.models import SecurityEvent, Session, User
from accounts.signin import closing, sessions
from accounts.signin.browser_sessions import SessionStore
from tests.counting import statements

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_repeating_a_refresh_returns_the_same_successor(alice: User) -> None:
    first = sign_in(alice)
    second = refresh(first)
    again = refresh(first)
    assert jti(again) == jti(second)
    # Each answer has both tokens, of the same session.
    assert again.session.pk == first.session.pk
    assert jwt.read(jwt.ACCESS, again.access_token)["sub"] == str(alice.pk)


def test_a_client_can_keep_its_first_refresh_token(alice: User) -> None:
    # The guide allows this: its refresh answers carry no new refresh token.
    with time_machine.travel(START, tick=False) as clock:
        first = sign_in(alice)
        for day in range(1, 30):
            clock.move_to(START + timedelta(days=day))
            assert refresh(first)
        assert Session.objects.get().revoked_at is None


def test_a_retired_refresh_token_ends_the_session(alice: User) -> None:
    with time_machine.travel(START, tick=False) as clock:
        first = sign_in(alice)
        second = refresh(first)
        third = refresh(second)
        clock.shift(sessions.GRACE)
        with pytest.raises(InvalidToken):
            refresh(first)
        for victim in (third, second, first):
            with pytest.raises(InvalidToken):
                refresh(victim)
        with pytest.raises(InvalidToken):
            sessions.find(session_id=first.session.pk)
    event = SecurityEvent.objects.get(kind="refresh_reused")
    assert event.user == alice
    assert event.facts == {"session_id": str(first.session.pk), "client": "test"}


def test_a_token_retired_less_than_ten_seconds_ago_is_a_retry(alice: User) -> None:
    with time_machine.travel(START, tick=False) as clock:
        first = sign_in(alice)
        second = refresh(first)
        third = refresh(second)
        clock.shift(9.9)
        assert jti(refresh(first)) == jti(third)
        assert jti(refresh(second)) == jti(third)
        assert refresh(third)


def test_only_the_token_before_the_last_has_a_grace_period(alice: User) -> None:
    with time_machine.travel(START, tick=False):
        first = sign_in(alice)
        second = refresh(first)
        third = refresh(second)
        refresh(third)
        with pytest.raises(InvalidToken):
            refresh(first)


def test_theft_of_an_unused_token_ends_the_session(alice: User) -> None:
    with time_machine.travel(START, tick=False) as clock:
        stolen = sign_in(alice)
        thief = refresh(stolen)
        refresh(thief)
        clock.shift(60)
        # The owner sends the retired token, which ends the session for both.
        with pytest.raises(InvalidToken):
            refresh(stolen)
        with pytest.raises(InvalidToken):
            refresh(thief)


def test_a_session_ends_after_7_idle_days_and_use_extends_it(alice: User) -> None:
    with time_machine.travel(START, tick=False) as clock:
        tokens = sign_in(alice)
        clock.shift(timedelta(days=7, seconds=-1))
        tokens = refresh(tokens)
        clock.shift(timedelta(days=7, seconds=-1))
        tokens = refresh(tokens)
        clock.shift(timedelta(days=7))
        with pytest.raises(TokenExpired):
            refresh(tokens)


def test_a_session_ends_after_30_days_despite_use(alice: User) -> None:
    with time_machine.travel(START, tick=False) as clock:
        tokens = sign_in(alice)
        for _ in range(5):
            clock.shift(timedelta(days=5, hours=23))
            tokens = refresh(tokens)
        clock.move_to(START + timedelta(days=30, seconds=-20))
        # The last access token does not outlive the session.
        assert refresh(tokens).expires_at == START + timedelta(days=30)
        clock.move_to(START + timedelta(days=30))
        with pytest.raises(TokenExpired):
            refresh(tokens)


def test_only_a_refresh_token_refreshes(alice: User) -> None:
    tokens = sign_in(alice)
    for wrong in (tokens.access_token, "", "a.b.c", tokens.refresh_token[:-2] + "xx"):
        with pytest.raises(InvalidToken):
            sessions.refresh(refresh_token=wrong, access_seconds=60)
    assert refresh(tokens)


def test_a_closed_account_gets_no_new_tokens(alice: User) -> None:
    tokens = sign_in(alice)
    closing.close(user=alice, actor="staff")
    with pytest.raises(InvalidToken):
        refresh(tokens)
    closing.reopen(user=alice, actor="staff")
    with pytest.raises(InvalidToken):
        refresh(tokens)
    kinds = SecurityEvent.objects.order_by("id").values_list("kind", flat=True)
    assert list(kinds) == [
        "signed_in",
        "sessions_revoked",
        "account_closed",
        "account_reopened",
    ]


def test_revoking_one_leaves_the_others(alice: User, bob: User) -> None:
    gone, stays, other = sign_in(alice), sign_in(alice), sign_in(bob)
    sessions.revoke(session=gone.session)
    sessions.revoke(session=gone.session)
    with pytest.raises(InvalidToken):
        refresh(gone)
    assert refresh(stays)
    assert sessions.revoke_all(user=alice) == 1
    with pytest.raises(InvalidToken):
        refresh(stays)
    assert refresh(other)


def test_finding_a_session_costs_one_query(alice: User) -> None:
    tokens = sign_in(alice)
    with statements() as queries:
        assert sessions.find(session_id=tokens.session.pk).user.email == alice.email
    assert len(queries) == 1
    with pytest.raises(InvalidToken):
        sessions.find(session_id=uuid.uuid4())


def test_a_browser_session_ends_with_djangos_and_use_extends_it(alice: User) -> None:
    with time_machine.travel(START, tick=False) as clock:
        session, key = in_browser(alice)
        clock.shift(59)
        with statements() as queries:
            assert sessions.find_in_browser(browser_key=key)
        assert len(queries) == 1
        clock.shift(timedelta(days=6))
        assert sessions.find_in_browser(browser_key=key)
        session.refresh_from_db()
        assert session.last_used_at == START + timedelta(days=6, seconds=59)
        clock.shift(timedelta(days=6))
        assert sessions.find_in_browser(browser_key=key)
        SessionStore(key).delete()
        assert sessions.find_in_browser(browser_key=key) is None


def test_revoking_a_browser_session_ends_djangos_session(alice: User) -> None:
    session, key = in_browser(alice)
    assert SessionStore().exists(key)
    sessions.revoke(session=session)
    assert not SessionStore().exists(key)
    assert sessions.find_in_browser(browser_key=key) is None


def test_an_access_token_has_subject_methods_and_time_of_sign_in(alice: User) -> None:
    with time_machine.travel(START, tick=False) as clock:
        tokens = sign_in(alice)
        clock.shift(60)
        claims = jwt.read(jwt.ACCESS, refresh(tokens).access_token)
    jti_of_it = claims.pop("jti")
    assert uuid.UUID(jti_of_it)
    since = int(START.timestamp())
    assert claims == {
        "iss": "http://localhost:8000",
        "aud": "focus-api",
        "sub": str(alice.pk),
        "sid": str(tokens.session.pk),
        "iat": since + 60,
        "exp": since + 120,
        "amr": ["pwd"],
        "auth_time": since,
    }


def sign_in(user: User) -> sessions.SessionTokens:
    return sessions.begin(user=user, client="test", access_seconds=60, methods=["pwd"])


def refresh(tokens: sessions.SessionTokens) -> sessions.SessionTokens:
    return sessions.refresh(refresh_token=tokens.refresh_token, access_seconds=60)


def jti(tokens: sessions.SessionTokens) -> str:
    return str(jwt.read(jwt.REFRESH, tokens.refresh_token)["jti"])


def in_browser(user: User) -> tuple[Session, str]:
    store = SessionStore()
    store.set_expiry(int(sessions.ABSOLUTE.total_seconds()))
    store.create()
    key = str(store.session_key)
    session = sessions.begin_in_browser(user=user, browser_key=key, methods=["pwd"])
    return session, key

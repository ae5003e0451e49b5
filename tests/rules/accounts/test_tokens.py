"""Personal access tokens and app keys: issued, found, rotated, revoked."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from accounts.credentials import app_keys, stored_secrets, tokens
from accounts.credentials.principals import (
    AppInactive,
    InvalidToken,
    KeyInactive,
    TokenExpired,
)
from accounts.models import App, PersonalAccessToken, SecurityEvent, User
from accounts.signin import closing
from focus.errors import NotFound
from tests.counting import statements

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_a_token_lives_90_days_to_the_second(alice: User) -> None:
    with time_machine.travel(START, tick=False) as clock:
        issued = tokens.issue(user=alice, name="laptop", scopes=["wallet:read"])
        assert issued.token.expires_at == START + timedelta(days=90)
        clock.move_to(START + timedelta(days=90, seconds=-1))
        assert tokens.find(secret=issued.secret).user == alice
        clock.move_to(START + timedelta(days=90))
        with pytest.raises(TokenExpired):
            tokens.find(secret=issued.secret)


@pytest.mark.parametrize("days", [1, 366])
def test_a_chosen_lifetime_is_honoured(alice: User, days: int) -> None:
    token = tokens.issue(user=alice, name="x", scopes=[], days=days).token
    assert token.expires_at - token.created_at == timedelta(days=days)


@pytest.mark.parametrize("days", [0, -1, 367])
def test_a_lifetime_that_is_not_offered_is_refused(alice: User, days: int) -> None:
    with pytest.raises(stored_secrets.InvalidLifetime):
        tokens.issue(user=alice, name="x", scopes=[], days=days)
    assert not PersonalAccessToken.objects.exists()


def test_a_revoked_token_has_the_same_error_as_an_unknown_one(alice: User) -> None:
    issued = tokens.issue(user=alice, name="laptop", scopes=[])
    tokens.revoke(user=alice, token_id=issued.token.pk)
    with pytest.raises(InvalidToken):
        tokens.find(secret=issued.secret)
    # A second call changes nothing and writes no event.
    tokens.revoke(user=alice, token_id=issued.token.pk)
    assert SecurityEvent.objects.filter(kind="token_revoked").count() == 1


def test_a_user_cannot_revoke_the_token_of_another_user(alice: User, bob: User) -> None:
    issued = tokens.issue(user=alice, name="laptop", scopes=[])
    with pytest.raises(NotFound):
        tokens.revoke(user=bob, token_id=issued.token.pk)
    assert tokens.find(secret=issued.secret)


def test_the_token_of_a_closed_account_is_invalid(alice: User) -> None:
    issued = tokens.issue(user=alice, name="laptop", scopes=[])
    closing.close(user=alice, actor="staff")
    with pytest.raises(InvalidToken):
        tokens.find(secret=issued.secret)
    closing.reopen(user=alice, actor="staff")
    assert tokens.find(secret=issued.secret)


def test_live_tokens_are_neither_revoked_nor_expired(alice: User, bob: User) -> None:
    with time_machine.travel(START, tick=False):
        tokens.issue(user=alice, name="old", scopes=[], days=1)
        revoked = tokens.issue(user=alice, name="revoked", scopes=[])
        tokens.issue(user=bob, name="bob's", scopes=[])
        kept = tokens.issue(user=alice, name="kept", scopes=[])
        tokens.revoke(user=alice, token_id=revoked.token.pk)
    with time_machine.travel(START + timedelta(days=2), tick=False):
        assert list(tokens.live(user=alice)) == [kept.token]


def test_the_use_of_a_token_is_recorded_once_a_minute(alice: User) -> None:
    issued = tokens.issue(user=alice, name="laptop", scopes=[])
    with time_machine.travel(START, tick=False) as clock:
        for seconds, expected in [(0, 0), (59, 0), (60, 60), (119, 60), (120, 120)]:
            clock.move_to(START + timedelta(seconds=seconds))
            with statements() as queries:
                tokens.find(secret=issued.secret)
            issued.token.refresh_from_db()
            assert issued.token.last_used_at == START + timedelta(seconds=expected)
            assert len(queries) == (2 if seconds == expected else 1)


def test_a_key_finds_its_app_with_one_query(video: App) -> None:
    issued = app_keys.issue(app=video, name="server")
    app_keys.find(secret=issued.secret)
    with statements() as queries:
        assert app_keys.find(secret=issued.secret).app.slug == "video"
    assert len(queries) == 1


def test_an_inactive_key_and_an_inactive_app_have_their_own_errors(video: App) -> None:
    issued = app_keys.issue(app=video, name="server")
    app_keys.set_active(key_id=issued.key.pk, active=False)
    with pytest.raises(KeyInactive):
        app_keys.find(secret=issued.secret)
    video.active = False
    video.save()
    with pytest.raises(AppInactive):
        app_keys.find(secret=issued.secret)
    # The error of a revoked key does not reveal the state of its app.
    app_keys.revoke(key_id=issued.key.pk)
    with pytest.raises(InvalidToken):
        app_keys.find(secret=issued.secret)


def test_a_rotated_key_works_until_its_overlap_ends(video: App) -> None:
    with time_machine.travel(START, tick=False) as clock:
        old = app_keys.issue(app=video, name="server")
        new = app_keys.rotate(key_id=old.key.pk, overlap_seconds=900)
        assert new.key.name == "server"
        clock.move_to(START + timedelta(seconds=899))
        assert app_keys.find(secret=old.secret) == old.key
        assert app_keys.find(secret=new.secret) == new.key
        clock.move_to(START + timedelta(seconds=900))
        with pytest.raises(TokenExpired):
            app_keys.find(secret=old.secret)
        assert app_keys.find(secret=new.secret) == new.key


def test_a_rotated_key_ends_at_its_own_expiry_if_that_is_sooner(video: App) -> None:
    with time_machine.travel(START, tick=False):
        soon = START + timedelta(seconds=30)
        old = app_keys.issue(app=video, name="server", expires_at=soon)
        new = app_keys.rotate(key_id=old.key.pk, overlap_seconds=3600)
        old.key.refresh_from_db()
        assert (old.key.expires_at, new.key.expires_at) == (soon, soon)


def test_a_key_that_no_longer_works_cannot_be_rotated(video: App) -> None:
    revoked = app_keys.issue(app=video, name="revoked")
    app_keys.revoke(key_id=revoked.key.pk)
    replaced = app_keys.issue(app=video, name="replaced")
    app_keys.rotate(key_id=replaced.key.pk, overlap_seconds=3600)
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = app_keys.issue(app=video, name="expired", expires_at=past)
    for issued in (revoked, replaced, expired):
        with pytest.raises(stored_secrets.KeyNotUsable):
            app_keys.rotate(key_id=issued.key.pk, overlap_seconds=0)
    with pytest.raises(stored_secrets.InvalidLifetime):
        app_keys.rotate(key_id=replaced.key.pk, overlap_seconds=5)
    with pytest.raises(NotFound):
        app_keys.rotate(key_id=uuid.uuid4(), overlap_seconds=0)


def test_rotating_locks_the_account_before_its_token(alice: User) -> None:
    """Account recovery locks in this order too; the other order would deadlock."""
    token = tokens.issue(user=alice, name="x", scopes=[]).token
    with statements() as seen:
        tokens.rotate(user=alice, token_id=token.pk)
    locks = [it for it in seen if "FOR NO KEY UPDATE" in it]
    assert 'FROM "accounts_user"' in locks[0]
    assert 'FROM "accounts_personalaccesstoken"' in locks[1]

"""A week before a token or key ends its person is told, once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from accounts import tasks
from accounts.credentials import app_keys, expiry, tokens, user_keys
from accounts.models import App, Mail, User
from accounts.signin import closing
from tests.rules.accounts.test_races import at_once

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WEEK = timedelta(days=7)
END = START + timedelta(days=30)


@pytest.fixture(params=["token", "user key", "app key"])
def make(request: Any, alice: User, video: App) -> Callable[[int], Any]:
    """A row of each kind that lives so many days; alice is who is told."""
    video.owner = alice
    video.save()

    def made(days: int = 30) -> Any:
        if request.param == "token":
            return tokens.issue(user=alice, name="evil", scopes=[], days=days).token
        if request.param == "user key":
            return user_keys.issue(user=alice, name="evil", days=days).key
        ends = START + timedelta(days=days)
        return app_keys.issue(app=video, name="evil", expires_at=ends).key

    return made


def letters() -> list[Mail]:
    return list(Mail.objects.filter(subject__contains="expires soon"))


@pytest.mark.django_db
def test_a_week_before_the_end_its_person_is_told_once(
    make: Callable[..., Any],
) -> None:
    with time_machine.travel(START, tick=False) as clock:
        row = make()
        clock.move_to(END - WEEK - timedelta(seconds=1))
        assert expiry.warn_due() == 0
        clock.move_to(END - WEEK)
        tasks.warn_of_expiry()
        tasks.warn_of_expiry()
        clock.move_to(END - timedelta(days=1))
        assert expiry.warn_due() == 0
    (letter,) = letters()
    assert letter.to == "alice@example.com"
    assert f"{row} " in letter.body
    assert "expires on 2026-03-31 12:00 UTC" in letter.body
    assert "http://localhost:8000/" in letter.body
    assert "evil" not in letter.body
    row.refresh_from_db()
    assert row.expiry_mailed_at == END - WEEK


@pytest.mark.django_db
def test_a_short_life_is_no_news(make: Callable[..., Any]) -> None:
    with time_machine.travel(START, tick=False) as clock:
        make(7)
        clock.move_to(START + timedelta(days=6))
        assert expiry.warn_due() == 0


@pytest.mark.django_db
def test_a_beat_that_was_down_tells_late_but_not_too_late(
    make: Callable[..., Any],
) -> None:
    with time_machine.travel(START, tick=False) as clock:
        make()
        clock.move_to(END)
        assert expiry.warn_due() == 0
        clock.move_to(END - timedelta(seconds=1))
        assert expiry.warn_due() == 1


@pytest.mark.django_db
def test_nobody_is_told_of_what_is_over_or_whose_account_is(
    make: Callable[..., Any], alice: User
) -> None:
    with time_machine.travel(START, tick=False) as clock:
        revoked = make()
        revoked.revoked_at = START
        revoked.save()
        make()
        closing.close(user=alice, actor="staff")
        clock.move_to(END - WEEK)
        assert expiry.warn_due() == 0
    assert letters() == []


@pytest.mark.django_db
def test_what_has_no_end_or_no_owner_is_left_alone(alice: User, video: App) -> None:
    with time_machine.travel(START, tick=False) as clock:
        user_keys.issue(user=alice, name="x")
        app_keys.issue(app=video, name="x")
        app_keys.issue(app=video, name="x", expires_at=END)
        clock.move_to(END - WEEK)
        assert expiry.warn_due() == 0


@pytest.mark.django_db
def test_of_a_rotated_one_only_the_successor_is_told_of(
    alice: User, video: App
) -> None:
    video.owner = alice
    video.save()
    with time_machine.travel(START, tick=False) as clock:
        token = tokens.issue(user=alice, name="x", scopes=[], days=30).token
        key = app_keys.issue(app=video, name="x", expires_at=END).key
        clock.move_to(END - WEEK - timedelta(days=1))
        day = 24 * 3600
        tokens.rotate(user=alice, token_id=token.pk, overlap_seconds=day)
        clock.shift(timedelta(hours=23))
        assert expiry.warn_due() == 0
        new = app_keys.rotate(key_id=key.pk, overlap_seconds=day).key
        assert new.expires_at == END
        clock.move_to(END - WEEK)
        # Made eight days before its end.
        assert expiry.warn_due() == 1


@pytest.mark.django_db
def test_a_limit_is_kept_and_the_rest_is_told_next_time(alice: User) -> None:
    with time_machine.travel(START, tick=False) as clock:
        for _ in range(5):
            tokens.issue(user=alice, name="x", scopes=[], days=30)
        clock.move_to(END - WEEK)
        assert [expiry.warn_due(limit=3) for _ in range(3)] == [3, 2, 0]


@pytest.mark.django_db(transaction=True)
def test_four_workers_tell_each_once(alice: User) -> None:
    for number in range(12):
        row = tokens.issue(user=alice, name=f"{number}", scopes=[], days=30).token
        # In two days, and made a month ago.
        row.created_at -= timedelta(days=28)
        row.expires_at -= timedelta(days=28)
        row.save()
    told = at_once(4, expiry.warn_due)
    assert sum(told) == 12, told
    assert len(letters()) == 12

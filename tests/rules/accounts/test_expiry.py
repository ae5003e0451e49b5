"""Reminders: one mail to the owner a week before a token or key expires."""

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
    """Creates a secret of each kind, which lives for so many days. Alice gets mail."""
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
def test_the_owner_gets_one_mail_a_week_before_expiry(
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
def test_a_short_lived_secret_gets_no_mail(make: Callable[..., Any]) -> None:
    with time_machine.travel(START, tick=False) as clock:
        make(7)
        clock.move_to(START + timedelta(days=6))
        assert expiry.warn_due() == 0


@pytest.mark.django_db
def test_a_late_task_mails_before_expiry_and_not_after(
    make: Callable[..., Any],
) -> None:
    with time_machine.travel(START, tick=False) as clock:
        make()
        clock.move_to(END)
        assert expiry.warn_due() == 0
        clock.move_to(END - timedelta(seconds=1))
        assert expiry.warn_due() == 1


@pytest.mark.django_db
def test_revoked_secrets_and_closed_accounts_get_no_mail(
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
def test_secrets_without_expiry_or_owner_get_no_mail(alice: User, video: App) -> None:
    with time_machine.travel(START, tick=False) as clock:
        user_keys.issue(user=alice, name="x")
        app_keys.issue(app=video, name="x")
        app_keys.issue(app=video, name="x", expires_at=END)
        clock.move_to(END - WEEK)
        assert expiry.warn_due() == 0


@pytest.mark.django_db
def test_only_the_successor_of_a_rotated_secret_gets_a_mail(
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
        # Created eight days before its expiry.
        assert expiry.warn_due() == 1


@pytest.mark.django_db
def test_a_run_stops_at_its_limit_and_the_next_one_goes_on(alice: User) -> None:
    with time_machine.travel(START, tick=False) as clock:
        for _ in range(5):
            tokens.issue(user=alice, name="x", scopes=[], days=30)
        clock.move_to(END - WEEK)
        assert [expiry.warn_due(limit=3) for _ in range(3)] == [3, 2, 0]


@pytest.mark.django_db(transaction=True)
def test_four_concurrent_workers_mail_each_owner_once(alice: User) -> None:
    for number in range(12):
        row = tokens.issue(user=alice, name=f"{number}", scopes=[], days=30).token
        # Expires in two days, created a month ago.
        row.created_at -= timedelta(days=28)
        row.expires_at -= timedelta(days=28)
        row.save()
    told = at_once(4, expiry.warn_due)
    assert sum(told) == 12, told
    assert len(letters()) == 12

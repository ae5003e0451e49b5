"""Races with real threads and real rows."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from accounts.audit import Visitor
from accounts.credentials import app_keys, exposure, stored_secrets, tokens, user_keys
from accounts.credentials.principals import InvalidToken
from accounts.models import (
    App,
    AppKey,
    Consent,
    DeviceGrant,
    Mail,
    PersonalAccessToken,
    SecurityEvent,
    Session,
    User,
)
from accounts.partners import consents
from accounts.signin import closing, devices, passwords, sessions

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(count: int, act: Callable[[], Any]) -> list[Any]:
    """Run `count` threads at the same time; return what each returned or raised."""
    gate, outcomes = threading.Barrier(count), []

    def run() -> None:
        try:
            # Connect before the barrier, so that all threads start together.
            connection.ensure_connection()
            gate.wait(60)
            outcomes.append(act())
        except Exception as refusal:
            outcomes.append(refusal)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == count
    return outcomes


def of(kind: type, outcomes: list[Any]) -> list[Any]:
    return [outcome for outcome in outcomes if isinstance(outcome, kind)]


def test_of_four_registrations_with_one_email_one_wins() -> None:
    for turn in range(10):
        # Capital letters make no difference.
        spellings = iter([f"Eve{turn}@x.org", f"eve{turn}@X.ORG"] * 2)
        outcomes = at_once(
            4,
            partial(_register, spellings),
        )
        assert len(of(User, outcomes)) == 1, outcomes
        assert len(of(passwords.EmailTaken, outcomes)) == 3, outcomes
        assert User.objects.with_email(f"eve{turn}@x.org").count() == 1
    assert SecurityEvent.objects.filter(kind="registered").count() == 10


def test_four_refreshes_of_one_token_get_one_successor(alice: User) -> None:
    forks = false_logouts = 0
    for _ in range(20):
        first = _sign_in(alice)
        outcomes = at_once(4, partial(_refresh, first.refresh_token))
        answers = of(sessions.SessionTokens, outcomes)
        false_logouts += len(answers) != 4
        tips = {answer.session.tip for answer in answers}
        forks += len(tips) != 1
        # The token family continues with that one.
        assert _refresh(answers[0].refresh_token)
    assert (forks, false_logouts) == (0, 0)


def test_parallel_reuses_end_the_token_family_once(alice: User) -> None:
    first = _sign_in(alice)
    second = _refresh(first.refresh_token)
    third = _refresh(second.refresh_token)
    Session.objects.update(prev_retired_at=timezone.now() - timedelta(hours=1))
    outcomes = at_once(4, lambda: _refresh(first.refresh_token))
    assert len(of(InvalidToken, outcomes)) == 4
    assert SecurityEvent.objects.filter(kind="refresh_reused").count() == 1
    with pytest.raises(InvalidToken):
        _refresh(third.refresh_token)


def test_of_four_polls_of_an_approved_code_one_gets_the_token(alice: User) -> None:
    for _ in range(10):
        started = devices.start(client_name="cli")
        devices.decide(user=alice, user_code=started.grant.user_code, approve=True)
        outcomes = at_once(4, partial(devices.poll, device_code=started.device_code))
        assert len(of(devices.Poll, outcomes)) == 1, outcomes
        assert len(of(devices.InvalidDeviceCode, outcomes)) == 3, outcomes
    assert PersonalAccessToken.objects.count() == 10
    assert DeviceGrant.objects.filter(status="redeemed").count() == 10


def test_of_an_approval_and_a_denial_one_counts(alice: User) -> None:
    for _ in range(10):
        started = devices.start()
        choices = iter([True, False])
        outcomes = at_once(
            2,
            partial(_decide, alice, started.grant.user_code, choices),
        )
        assert len(of(DeviceGrant, outcomes)) == 1, outcomes
        assert len(of(devices.InvalidUserCode, outcomes)) == 1, outcomes


def test_parallel_guesses_get_five_tries_together(alice: User) -> None:
    home = Visitor(ip="203.0.113.9")
    outcomes = at_once(
        12, lambda: devices.find(user=alice, user_code="BBBB-BBBB", visitor=home)
    )
    assert len(of(devices.InvalidUserCode, outcomes)) == 5
    assert len(of(devices.TooManyWrongCodes, outcomes)) == 7
    assert SecurityEvent.objects.filter(kind="device_code_wrong").count() == 5


def test_four_rotations_of_a_key_make_one_successor(video: App) -> None:
    issued = app_keys.issue(app=video, name="server")
    outcomes = at_once(
        4, lambda: app_keys.rotate(key_id=issued.key.pk, overlap_seconds=60)
    )
    assert len(of(app_keys.IssuedAppKey, outcomes)) == 1
    assert len(of(stored_secrets.KeyNotUsable, outcomes)) == 3
    assert AppKey.objects.count() == 2


def test_four_rotations_of_a_token_make_one_successor(alice: User) -> None:
    issued = tokens.issue(user=alice, name="ci", scopes=[])
    outcomes = at_once(4, lambda: tokens.rotate(user=alice, token_id=issued.token.pk))
    assert len(of(tokens.IssuedToken, outcomes)) == 1
    assert len(of(stored_secrets.KeyNotUsable, outcomes)) == 3
    assert PersonalAccessToken.objects.count() == 2


def test_parallel_reports_of_the_same_secrets_do_not_deadlock_and_mail_once(
    alice: User,
) -> None:
    found = [
        tokens.issue(user=alice, name="ci", scopes=[]).secret for _ in range(10)
    ] + [user_keys.issue(user=alice, name="server").secret for _ in range(10)]
    orders = iter([found, found[::-1], found[5:] + found[:5], found[::-2] + found])
    outcomes = at_once(4, lambda: exposure.report(secrets=next(orders)))
    assert outcomes == [None] * 4
    assert not tokens.live(user=alice).exists()
    assert not user_keys.live(user=alice).exists()
    assert Mail.objects.filter(subject__contains="exposed").count() == 20


def test_eight_first_uses_of_an_app_make_one_consent(alice: User, video: App) -> None:
    for _ in range(5):
        outcomes = at_once(8, lambda: consents.grant(user=alice, app_id=video.pk))
        assert outcomes.count(True) == 1
        assert outcomes.count(False) == 7
        assert Consent.objects.count() == 1
        consents.revoke(user=alice, app_id=video.pk)


def test_recording_the_use_of_a_key_never_waits_for_a_lock(video: App) -> None:
    issued = app_keys.issue(app=video, name="server")
    done = threading.Event()

    def use() -> None:
        app_keys.find(secret=issued.secret)
        connections.close_all()
        done.set()

    with transaction.atomic():
        AppKey.objects.select_for_update().get(pk=issued.key.pk)
        worker = threading.Thread(target=use)
        worker.start()
        assert done.wait(60), "authenticating waited for another transaction's lock"
    worker.join()
    issued.key.refresh_from_db()
    assert issued.key.last_used_at is None
    app_keys.find(secret=issued.secret)
    issued.key.refresh_from_db()
    assert issued.key.last_used_at is not None


def test_no_refresh_survives_the_closing_of_an_account(alice: User) -> None:
    for _ in range(10):
        first = _sign_in(alice)
        acts: Iterator[Callable[[], Any]] = iter(
            [
                partial(closing.close, user=alice, actor="staff"),
                partial(_refresh, first.refresh_token),
            ]
        )
        at_once(2, partial(_next, acts))
        with pytest.raises(InvalidToken):
            _refresh(first.refresh_token)
        assert not Session.objects.filter(revoked_at=None).exists()
        closing.reopen(user=alice, actor="staff")


def _next(acts: Iterator[Callable[[], Any]]) -> Any:
    return next(acts)()


def _register(spellings: Iterator[str]) -> User:
    return passwords.register(email=next(spellings), password="correct horse")


def _decide(user: User, user_code: str, choices: Iterator[bool]) -> DeviceGrant:
    return devices.decide(user=user, user_code=user_code, approve=next(choices))


def _sign_in(user: User) -> sessions.SessionTokens:
    return sessions.begin(user=user, client="test", access_seconds=60, methods=["pwd"])


def _refresh(token: str) -> sessions.SessionTokens:
    return sessions.refresh(refresh_token=token, access_seconds=60)

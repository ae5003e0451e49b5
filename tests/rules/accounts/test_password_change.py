"""Password changes that race another change, a sign-out or a request under way."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from accounts.credentials import tokens
from accounts.credentials.principals import TokenEnded
from accounts.models import Mail, PersonalAccessToken, SecurityEvent, Session, User
from accounts.recovery import password_change
from accounts.signin import passwords, sessions
from tests.rules.accounts.test_races import at_once, of

OLD, NEW = "alice's password", "another long password"

pytestmark = pytest.mark.django_db(transaction=True)


def opened(user: User) -> Session:
    begun = sessions.begin(user=user, client="x", access_seconds=60, methods=["pwd"])
    return Session.objects.select_related("user").get(pk=begun.session.pk)


def change(session: Session, new: str = NEW) -> User:
    return password_change.change(session=session, current=OLD, new=new)


def test_of_four_changes_at_once_one_wins(alice: User) -> None:
    waiting = iter([(opened(alice), f"{NEW} {n}") for n in range(4)])
    outcomes = at_once(4, lambda: change(*_next(waiting)))
    [winner] = of(User, outcomes)
    refused = [it for it in outcomes if it is not winner]
    kinds = (password_change.ChangedMeanwhile, TokenEnded)
    assert all(isinstance(it, kinds) for it in refused)
    fitting = [n for n in range(4) if winner.check_password(f"{NEW} {n}")]
    assert len(fitting) == 1
    assert Mail.objects.filter(subject="Your password was changed").count() == 1
    assert SecurityEvent.objects.filter(kind="password_changed").count() == 1
    assert not Session.objects.filter(revoked_at=None).exists()


def test_a_session_that_was_ended_meanwhile_changes_nothing(alice: User) -> None:
    session = opened(alice)
    sessions.revoke(session=session)
    with pytest.raises(TokenEnded):
        change(session)
    assert passwords.authenticate(email=str(alice.email), password=OLD)


def test_a_sign_out_during_a_change_leaves_no_session(alice: User) -> None:
    session = opened(alice)
    acts: list[Callable[[], Any]] = [
        lambda: change(session),
        lambda: sessions.revoke(session=session),
    ]
    waiting = iter(acts)
    at_once(2, lambda: _next(waiting)())
    assert not Session.objects.filter(revoked_at=None).exists()


def test_a_request_under_way_in_another_session_adds_no_token(alice: User) -> None:
    under_way = User.objects.get(pk=alice.pk)
    change(opened(alice))
    with pytest.raises(TokenEnded):
        tokens.issue(user=under_way, name="x", scopes=["account:read"])
    with pytest.raises(TokenEnded):
        opened(under_way)
    assert not PersonalAccessToken.objects.exists()


def _next(waiting: Iterator[Any]) -> Any:
    return next(waiting)

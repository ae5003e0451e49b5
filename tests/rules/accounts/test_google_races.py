"""Races of eight for one state, one ticket and one email."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import Identity, Mail, SecurityEvent, Session, User
from accounts.providers import arrivals
from accounts.providers import google as google_rules
from accounts.providers.google import Claims
from accounts.signin import passwords, sessions, tickets
from tests import googling
from tests.rules.accounts.test_races import at_once, of

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS, AT_ONCE = 20, 8
CALLBACK = "/api/auth/oauth/callback/google/"


def claims(subject: str, email: str) -> Claims:
    return Claims(subject=subject, email=email, proves_email=True)


def enter(who: Claims) -> Session:
    return arrivals.by_google(claims=who, begin=begin)


def begin(user: User) -> Session:
    return sessions.begin(
        user=user, client="reviv", access_seconds=60, methods=["fed"]
    ).session


def test_of_eight_exchanges_of_one_ticket_one_wins(alice: User) -> None:
    winners = []
    for _ in range(ROUNDS):
        ticket = tickets.issue(session=begin(alice), origin="https://x.example")
        outcomes = at_once(
            AT_ONCE,
            partial(tickets.redeem, ticket=ticket, origin=None, access_seconds=60),
        )
        winners.append(len(of(sessions.SessionTokens, outcomes)))
        assert len(of(tickets.InvalidTicket, outcomes)) == AT_ONCE - 1
    assert winners == [1] * ROUNDS


def test_of_eight_resumptions_of_one_state_one_wins(google: str) -> None:
    winners = []
    for _ in range(ROUNDS):
        begun = google_rules.begin(door="x", redirect_uri="https://x", context={})
        resume = partial(google_rules.resume, door="x", state=begun.state)
        outcomes = at_once(AT_ONCE, resume)
        winners.append(len(of(google_rules.Flow, outcomes)))
        assert len(of(google_rules.InvalidGoogleState, outcomes)) == AT_ONCE - 1
    assert winners == [1] * ROUNDS


def test_of_eight_callbacks_with_one_state_one_wins(google: str) -> None:
    """Over HTTP, with the provider's process."""
    winners = []
    for _ in range(ROUNDS):
        said = APIClient().post("/api/auth/oauth/initiate/", {"provider": "google"})
        query = googling.answer(said.json()["auth_url"])
        outcomes = at_once(AT_ONCE, partial(_come_back, query))
        statuses = sorted(answer.status_code for answer in outcomes)
        winners.append(statuses.count(200))
        assert statuses == [200] + [400] * (AT_ONCE - 1)
    assert winners == [1] * ROUNDS
    assert User.objects.count() == Identity.objects.count() == 1
    assert Session.objects.count() == ROUNDS


def test_eight_first_sign_ins_of_one_subject_share_one_account() -> None:
    for turn in range(ROUNDS):
        who = claims(str(turn), f"ada{turn}@gmail.com")
        outcomes = at_once(AT_ONCE, partial(enter, who))
        assert len({session.user_id for session in outcomes}) == 1, outcomes
    assert User.objects.count() == Identity.objects.count() == ROUNDS
    assert SecurityEvent.objects.filter(kind="registered").count() == ROUNDS


def test_of_eight_subjects_that_prove_one_email_one_account_owns_it() -> None:
    """Eight Google subjects with one mailbox, while another account has it unproven."""
    for turn in range(ROUNDS):
        email = f"ada{turn}@gmail.com"
        squatter = passwords.register(email=email, password="a long password")
        people = iter([claims(f"{turn}-{n}", email) for n in range(AT_ONCE)])
        outcomes = at_once(AT_ONCE, partial(_enter_next, people))
        [owner] = {session.user_id for session in of(Session, outcomes)}
        assert User.objects.with_email(email).get().pk == owner != squatter.pk
        squatter.refresh_from_db()
        assert squatter.email is None
    assert SecurityEvent.objects.filter(kind="email_evicted").count() == ROUNDS
    evictions = Mail.objects.filter(subject__contains="removed from an account")
    assert evictions.count() == ROUNDS


def test_of_a_registration_and_a_sign_in_at_once_one_account_has_the_email() -> None:
    for turn in range(ROUNDS):
        email = f"ada{turn}@gmail.com"
        acts: Iterator[Callable[[], Any]] = iter(
            [
                partial(passwords.register, email=email, password="a long password"),
                partial(enter, claims(str(turn), email)),
            ]
            * 2
        )
        outcomes = at_once(4, partial(_next_of, acts))
        arrived = {session.user_id for session in of(Session, outcomes)}
        # The account that proves the mailbox owns it in the end, in any order.
        assert arrived == {User.objects.with_email(email).get().pk}
        refused = of(passwords.EmailTaken, outcomes)
        assert len(of(User, outcomes)) + len(refused) == 2
        assert len(of(User, outcomes)) <= 1


def _come_back(query: dict[str, str]) -> Any:
    return APIClient().get(CALLBACK, query)


def _enter_next(people: Iterator[Claims]) -> Session:
    return enter(next(people))


def _next_of(acts: Iterator[Callable[[], Any]]) -> Any:
    return next(acts)()

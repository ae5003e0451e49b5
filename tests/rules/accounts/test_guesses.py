"""Addresses that guess one account's password together wait; its owner does not."""

import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.audit import Visitor
from accounts.models import User
from accounts.signin import guesses, passwords
from focus.limiting.limits import Limited

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_limits")]

RIGHT = "alice's password"
HOME = Visitor(ip="198.51.100.7")


def guess(email: str, n: int, password: str = "wrong") -> None:
    """Guess from an address of its own, as a botnet does."""
    passwords.authenticate(
        email=email, password=password, visitor=Visitor(ip=f"203.0.113.{n}")
    )


def guess_until_it_waits(email: str) -> int:
    most = guesses.WAITS[0][0]
    for n in range(most):
        with pytest.raises(passwords.InvalidCredentials):
            guess(email, n)
    with (
        CaptureQueriesContext(connection) as asked,
        pytest.raises(Limited) as refusal,
    ):
        guess(email, most, RIGHT)
    assert len(asked) == 0
    return refusal.value.retry_after_seconds or 0


@pytest.mark.parametrize("email", ["alice@example.com", "unknown@example.com"])
def test_an_unknown_email_waits_as_an_account_does(alice: User, email: str) -> None:
    assert 1 <= guess_until_it_waits(email) <= guesses.WAITS[0][1]
    with pytest.raises(Limited):
        guess(f" {email.upper()}", 99)


def test_an_address_with_a_recent_sign_in_does_not_wait(alice: User) -> None:
    known = passwords.authenticate(email=str(alice.email), password=RIGHT, visitor=HOME)
    assert known == alice
    guess_until_it_waits(str(alice.email))
    again = passwords.authenticate(email=str(alice.email), password=RIGHT, visitor=HOME)
    assert again == alice


def test_the_wait_ends_and_then_grows(alice: User, monkeypatch: Any) -> None:
    monkeypatch.setattr(guesses, "WAITS", ((2, 1), (3, 60)))
    guess_until_it_waits(str(alice.email))
    time.sleep(1.1)
    with pytest.raises(passwords.InvalidCredentials):
        guess(str(alice.email), 50)
    with pytest.raises(Limited) as refusal:
        guess(str(alice.email), 51, RIGHT)
    assert (refusal.value.retry_after_seconds or 0) > 50


def test_one_address_reaches_its_own_limit_before_the_accounts(alice: User) -> None:
    """As the guides print it: ten sign-ins a minute, and ten failures."""
    client = APIClient()
    wrong = {"email": alice.email, "password": "wrong"}
    said = [client.post("/api/auth/login", wrong).status_code for _ in range(11)]
    assert said == [401] * 10 + [429]

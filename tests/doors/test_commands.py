"""The management commands adjust_credits and explain_balance."""

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import App, SecurityEvent, User
from focus.money import MICRO
from tests.doors.staffroom import complete, start
from wallet import invariants, ledger
from wallet.models import Entry, Grant, Wallet

WHY = ("--reason", "a render came out green")


def _run(*words: str) -> str:
    """Run the command through its own command line parser."""
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def _balance(user: User) -> int:
    return ledger.balance(account_id=user.pk).credits_micro


@pytest.fixture(autouse=True)
def _adds_up(db: None) -> Any:
    yield
    assert list(invariants.violations()) == []


def test_credits_are_given(alice: User) -> None:
    said = _run("adjust_credits", "Alice@Example.com", "5.25", *WHY)
    entry = Entry.objects.get()
    assert said == (
        f"alice@example.com: 0 +5.25 = 5.25 credits (movement {entry.movement_id})\n"
    )
    assert entry.actor.startswith("shell:")
    assert entry.shown_reason == "a render came out green"
    event = SecurityEvent.objects.get(kind="credits_adjusted")
    assert event.user == alice
    assert event.facts["amount"] == "5.25"


@pytest.mark.parametrize(
    ("amount", "says"),
    [
        ("-2", "10 -2 = 8 credits"),
        ("-2.5", "10 -2.5 = 7.5 credits"),
        ("-.5", "10 -0.5 = 9.5 credits"),
        ("-0.000001", "10 -0.000001 = 9.999999 credits"),
    ],
)
def test_credits_are_taken_with_a_negative_amount(
    amount: str, says: str, alice: User, give: Callable[..., Any]
) -> None:
    give(alice, 10)
    assert says in _run("adjust_credits", "alice@example.com", amount, *WHY)


def test_a_repeated_key_books_once(alice: User) -> None:
    words = ("adjust_credits", "alice@example.com", "3", *WHY, "--key", "ticket-7")
    _run(*words)
    assert "This key was booked before. Nothing has moved now." in _run(*words)
    assert _balance(alice) == 3 * MICRO
    other = ("adjust_credits", "alice@example.com", "4", *WHY, "--key", "ticket-7")
    with pytest.raises(CommandError, match=r"This key has booked \+3 before"):
        _run(*other)
    assert _balance(alice) == 3 * MICRO


def test_a_key_of_another_account_is_refused(alice: User, bob: User) -> None:
    _run("adjust_credits", "alice@example.com", "3", *WHY, "--key", "ticket-7")
    with pytest.raises(CommandError, match="used for another account"):
        _run("adjust_credits", "bob@example.com", "3", *WHY, "--key", "ticket-7")
    assert _balance(bob) == 0


def test_an_amount_above_the_balance_is_refused_with_a_reason(
    alice: User, give: Callable[..., Any]
) -> None:
    give(alice, 1)
    says = "not enough credits for this. Nothing has moved. required 1.5, available 1"
    with pytest.raises(CommandError, match=says):
        _run("adjust_credits", "alice@example.com", "-1.5", *WHY)
    assert _balance(alice) == MICRO


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("unknown@example.com", "5", *WHY), "No account has the email unknown@"),
        (("alice@example.com", "0", *WHY), "AMOUNT must not be 0"),
        (("alice@example.com", "five", *WHY), "AMOUNT must be a number such as"),
        (
            ("alice@example.com", "0.0000001", *WHY),
            "AMOUNT must have at most 6 decimals",
        ),
        (("alice@example.com", "1000000001", *WHY), "AMOUNT must not exceed"),
        (("alice@example.com", "5", "--reason", " "), "--reason must not be empty"),
    ],
)
def test_invalid_arguments_are_refused_with_a_reason(
    words: tuple[str, ...], says: str, alice: User
) -> None:
    with pytest.raises(CommandError, match=says):
        _run("adjust_credits", *words)
    assert not Entry.objects.exists()


def test_a_balance_is_explained_line_by_line(
    alice: User,
    video: App,
    give: Callable[..., Any],
    time_passes: Callable[[int], None],
) -> None:
    give(alice, 20, source="starter", given_by=video)
    give(alice, 4, expires_at=_in(alice, 60))
    complete(start(alice, video, 5), 3)
    held = start(alice, video, 2)
    ledger.consume(
        account_id=alice.pk,
        app=video,
        amount_micro=500_000,
        actor="app:video",
        reason="",
        key="c",
    )
    _run("adjust_credits", "alice@example.com", "-1", *WHY)
    time_passes(100)
    said = _run("explain_balance", "alice@example.com")
    lines = [
        line.split("(")[0].split(" until")[0].strip() for line in said.splitlines()
    ]
    # The 4 expiring credits went first: 3 charged, then 1 of the 2 reserved.
    assert lines[2:-2] == [
        "+20  starter credits of video",
        "+4  given as a promotion",
        "-0.5  charged by video at once",
        "-3  charged by video for jobs",
        "-1  taken back by staff",
        f"-2  reserved by video for job {held.pk}",
        "----",
        "17.5  is the sum of these lines",
    ]
    assert said.endswith("The balance is 17.5: these lines explain all of it.\n")


def test_expired_credits_are_explained_before_and_after_the_booking(
    alice: User,
    video: App,
    give: Callable[..., Any],
    time_passes: Callable[[int], None],
) -> None:
    give(alice, 4, expires_at=_in(alice, 60))
    start(alice, video, 1)
    time_passes(7200)
    said = _run("explain_balance", "alice@example.com")
    assert "-4  expired by now, to be booked" in said
    assert "The balance is 0: these lines explain all of it." in said
    ledger.expire(account_id=alice.pk)
    said = _run("explain_balance", "alice@example.com")
    assert "-4  expired unused (once" in said
    assert "The balance is 0: these lines explain all of it." in said


def test_debt_is_explained(alice: User, video: App) -> None:
    video.overage_policy = "overflow"
    video.save()
    ledger.expire(account_id=alice.pk)
    ledger.set_overdraft_limit(
        account_id=alice.pk, limit_micro=9 * MICRO, actor="staff:test"
    )
    complete(start(alice, video, 0), 2)
    said = _run("explain_balance", "alice@example.com")
    assert "-2  charged by video beyond the balance, as debt" in said
    assert "The balance is -2: these lines explain all of it." in said
    assert "2 of it is debt" in said


def test_many_reservations_are_explained_in_one_line(
    alice: User, video: App, give: Callable[..., Any]
) -> None:
    give(alice, 100)
    for _ in range(23):
        start(alice, video, 1)
    said = _run("explain_balance", "alice@example.com")
    assert said.count("reserved by video for job") == 20
    assert "-3  reserved for 3 more jobs" in said
    assert "The balance is 77" in said


def test_an_account_without_credits_has_a_balance_too(alice: User) -> None:
    said = _run("explain_balance", "alice@example.com")
    assert "The balance is 0: these lines explain all of it." in said


def test_an_unknown_account_is_refused(db: None) -> None:
    with pytest.raises(CommandError, match="No account has the email"):
        _run("explain_balance", "unknown@example.com")


def test_a_balance_that_does_not_add_up_is_an_error(
    alice: User, give: Callable[..., Any]
) -> None:
    granted = give(alice, 5)
    Grant.objects.filter(pk=granted.grant_id).update(remaining_micro=2 * MICRO)
    out = io.StringIO()
    with pytest.raises(CommandError, match="does not add up"):
        call_command("explain_balance", "alice@example.com", stdout=out)
    assert "The balance is 2, which is -3 off these lines" in out.getvalue()
    Grant.objects.filter(pk=granted.grant_id).update(remaining_micro=5 * MICRO)


def _in(user: User, seconds: int) -> Any:
    """Return a time relative to the database's time of the wallet's last entry."""
    ledger.expire(account_id=user.pk)
    return Wallet.objects.get(account=user).booked_at + timedelta(seconds=seconds)

"""Prices of hosted work: what is reserved, what is free, and what a run costs."""

from typing import Any

import pytest

from accounts.models import Consent, User
from focus.money import MICRO
from jobs.hosted import prices
from jobs.invariants import ALL
from jobs.models import Job, Run
from wallet import invariants
from wallet.ledger import InsufficientCredits
from wallet.models import Entry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _adds_up(db: None) -> Any:
    yield
    assert invariants.violations(among=ALL) == []


def start(user: User, units: int, action: str = "export") -> Run:
    """Start a ClipForge run, as `runs.start` does."""
    opened = prices.start(
        account_id=user.pk,
        app_slug="clipforge",
        action=action,
        units=units,
        metadata={"description": "A clip"},
    )
    return Run.objects.create(
        account=user,
        kind=action,
        job=opened.job,
        due_at="2026-01-01T00:00:00Z",
        **opened.hold.columns,
    )


def test_a_price_of_0_needs_no_balance_and_books_nothing(alice: User) -> None:
    opened = prices.start(
        account_id=alice.pk, app_slug="reviv", action="restore", units=1, metadata={}
    )
    assert (opened.job.status, opened.job.reserved_micro) == ("started", 0)
    assert not Entry.objects.exists()
    assert Consent.objects.filter(user=alice, app__slug="reviv").count() == 1


def test_free_units_are_used_before_credits(alice: User, give: Any) -> None:
    give(alice, 100)
    first, second = start(alice, 90), start(alice, 25)
    assert (first.free_units, first.job.reserved_micro) == (90, 0)
    assert (second.free_units, second.job.reserved_micro) == (10, 15 * MICRO)


def test_without_credits_no_unit_beyond_the_free_ones_is_started(alice: User) -> None:
    start(alice, 100)
    with pytest.raises(InsufficientCredits) as refused:
        start(alice, 1)
    assert refused.value.facts == {"required": 1, "available": 0}
    assert Job.objects.count() == 1

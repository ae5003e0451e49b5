"""The rules of staff's adjustments, called without a door."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from accounts.models import App, User
from focus.money import MICRO
from tests.doors.staffroom import complete, in_role, start
from wallet import adjustments, invariants, ledger, statements
from wallet.adjustments import AboveLimit, NotAllowed, Reason
from wallet.models import Draw, Entry, Wallet


@pytest.fixture(autouse=True)
def _adds_up(db: None) -> Any:
    yield
    assert list(invariants.violations()) == []


def _adjust(owner: User, staff: User, amount_micro: int) -> adjustments.Adjusted:
    return adjustments.adjust(
        owner=owner,
        amount_micro=amount_micro,
        reason=Reason.CORRECTION,
        note="counted twice",
        form_id=uuid.uuid4(),
        staff=staff,
    )


@pytest.mark.parametrize(
    ("role", "micro", "refused"),
    [
        ("", 1, NotAllowed),
        ("viewer", 1, NotAllowed),
        ("support", 100 * MICRO, None),
        ("support", 100 * MICRO + 1, AboveLimit),
        ("support", -100 * MICRO - 1, AboveLimit),
        ("finance", 100 * MICRO + 1, None),
        ("superuser", 100 * MICRO + 1, None),
    ],
)
def test_the_rule_itself_checks_the_permission(
    role: str, micro: int, refused: type[Exception] | None, alice: User
) -> None:
    staff = in_role(role)
    if refused is None:
        assert _adjust(alice, staff, micro).after_micro == micro
        return
    with pytest.raises(refused):
        _adjust(alice, staff, micro)
    assert not Entry.objects.exists()


@pytest.mark.parametrize("role", ["", "viewer", "support"])
def test_only_finance_sets_overdraft_limits(role: str, alice: User) -> None:
    ledger.expire(account_id=alice.pk)
    with pytest.raises(NotAllowed):
        adjustments.set_overdraft_limit(
            wallet=Wallet.objects.get(),
            limit_micro=MICRO,
            note="just because",
            staff=in_role(role),
        )
    assert Wallet.objects.get().overdraft_limit_micro == 0


def test_a_closed_member_of_staff_adjusts_nothing(alice: User) -> None:
    staff = in_role("finance")
    staff.is_active = False
    with pytest.raises(NotAllowed):
        _adjust(alice, staff, MICRO)


def test_a_preview_matches_the_booked_adjustment(
    alice: User,
    video: App,
    give: Callable[..., Any],
    time_passes: Callable[[int], None],
) -> None:
    """The preview counts an overdue job's credits and leaves out expired ones."""
    clips = App.objects.create(slug="clips", name="Clips")
    ledger.expire(account_id=alice.pk)
    soon = Wallet.objects.get().booked_at + timedelta(seconds=60)
    later = soon + timedelta(days=3)
    give(alice, 5, source="purchase", category="paid")
    give(alice, 7)
    give(alice, 4, expires_at=soon)
    give(alice, 3, only_for=clips)
    give(alice, 6, expires_at=later)
    give(alice, 2, priority=10)
    complete(start(alice, video, 3), 1)
    start(alice, video, 8)
    time_passes(7200)
    held = ledger.reserve(
        account_id=alice.pk,
        app=video,
        job_id=uuid.uuid4(),
        amount_micro=MICRO,
        ttl_seconds=3600,
        actor="app:video",
    )
    assert held.movement_id

    amount = -12 * MICRO
    preview = adjustments.preview(account_id=alice.pk, amount_micro=amount)
    foreseen = [(share.grant.pk, share.amount_micro) for share in preview.shares]
    done = _adjust(alice, in_role("finance"), amount)
    drawn = Draw.objects.filter(movement_id=done.movement_id).order_by("pk")
    assert foreseen == list(drawn.values_list("grant_id", "amount_micro"))
    assert (preview.before.credits_micro, preview.after_micro) == (
        done.before_micro,
        done.after_micro,
    )


def test_what_grants_have_left_is_the_balance_before_and_after_the_sweep(
    alice: User,
    video: App,
    give: Callable[..., Any],
    time_passes: Callable[[int], None],
) -> None:
    ledger.expire(account_id=alice.pk)
    soon = Wallet.objects.get().booked_at + timedelta(seconds=60)
    give(alice, 4, expires_at=soon)
    give(alice, 10)
    start(alice, video, 6)
    for seconds in (0, 100, 7200):
        time_passes(seconds)
        _left_is_the_balance(alice)
    ledger.expire(account_id=alice.pk)
    _left_is_the_balance(alice)


def _left_is_the_balance(user: User) -> None:
    left = statements.grants_left(wallet=Wallet.objects.get(account=user))
    balance = ledger.balance(account_id=user.pk)
    living = [grant for grant in left if not grant.expired]
    assert sum(grant.left_micro for grant in living) == balance.available_micro
    assert sum(grant.reserved_micro for grant in left) == balance.reserved_micro


def test_the_curve_has_one_point_for_each_step(
    alice: User, give: Callable[..., Any], time_passes: Callable[[int], None]
) -> None:
    ledger.expire(account_id=alice.pk)
    wallet = Wallet.objects.get()
    for number in range(30):
        time_passes(3600)
        give(alice, number + 1)
    wallet.refresh_from_db()
    begin = wallet.created_at - timedelta(minutes=1)
    points = statements.curve(wallet=wallet, since=begin, steps=1000)
    assert [point.credits_micro // MICRO for point in points] == [
        number * (number + 1) // 2 for number in range(31)
    ]
    few = statements.curve(wallet=wallet, since=begin, steps=10)
    assert len(few) <= 12
    assert few[-1] == points[-1]
    late = statements.curve(wallet=wallet, since=points[20].at)
    assert late[0].credits_micro == points[19].credits_micro
    assert [point.credits_micro for point in late[1:]] == [
        point.credits_micro for point in points[20:]
    ]

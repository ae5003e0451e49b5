"""Staff's limits and approvals, by the rules, without a door."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from accounts.models import SecurityEvent, User
from accounts.signin import closing
from focus.errors import DomainError, NotFound
from focus.money import MICRO
from tests.doors.staffroom import in_role
from wallet import adjustments, approvals, invariants, ledger
from wallet.adjustments import AboveLimit, NeedsApproval, NotAllowed, Reason
from wallet.approvals import AlreadyDecided
from wallet.models import Adjustment, Entry, Wallet


@pytest.fixture(autouse=True)
def _adds_up(db: None) -> Any:
    yield
    assert list(invariants.violations()) == []


def payload(owner: User, staff: User, amount: int, **more: Any) -> dict[str, Any]:
    return {
        "owner": owner,
        "amount_micro": amount * MICRO,
        "reason": Reason.CORRECTION,
        "note": "counted twice",
        "form_id": uuid.uuid4(),
        "staff": staff,
        **more,
    }


def adjust(owner: User, staff: User, amount: int) -> adjustments.Adjusted:
    return adjustments.adjust(**payload(owner, staff, amount))


def asked(owner: User, staff: User, amount: int = 5000) -> Adjustment:
    return approvals.request(**payload(owner, staff, amount))


def balance(owner: User) -> int:
    return ledger.balance(account_id=owner.pk).credits_micro // MICRO


class TestDailyLimit:
    def test_many_small_adjustments_in_both_directions_add_up(
        self, alice: User, bob: User
    ) -> None:
        support = in_role("support")
        adjust(alice, support, 60)
        adjust(alice, support, -30)
        with pytest.raises(AboveLimit) as refused:
            adjust(bob, support, 11)
        assert (refused.value.facts["limit"], refused.value.facts["left"]) == (100, 10)
        adjust(bob, support, 10)
        assert (balance(alice), balance(bob)) == (30, 10)

    def test_the_window_slides_over_24_hours(self, alice: User) -> None:
        support = in_role("support")
        with time_machine.travel("2026-06-01T23:59:00Z", tick=False) as clock:
            adjust(alice, support, 100)
            clock.shift(timedelta(minutes=2))
            with pytest.raises(AboveLimit):
                adjust(alice, support, 1)
            clock.shift(timedelta(hours=24))
            adjust(alice, support, 100)
        assert balance(alice) == 200

    @pytest.mark.parametrize("role", ["finance", "superuser"])
    def test_a_large_amount_in_parts_needs_approval_as_well(
        self, role: str, alice: User
    ) -> None:
        person = in_role(role)
        adjust(alice, person, 999)
        with pytest.raises(NeedsApproval):
            adjust(alice, person, 2)
        adjust(alice, person, 1)
        assert balance(alice) == 1000

    def test_approved_adjustments_do_not_count(self, alice: User) -> None:
        asker, approver = in_role("finance"), in_role("superuser")
        approvals.approve(adjustment_id=asked(alice, asker).pk, staff=approver)
        for person in (asker, approver):
            adjust(alice, person, 1000)
        assert balance(alice) == 7000

    @pytest.mark.parametrize("role", ["support", "finance", "superuser"])
    def test_staff_may_not_adjust_their_own_wallet(self, role: str) -> None:
        person = in_role(role)
        with pytest.raises(NotAllowed):
            adjust(person, person, 1)
        with pytest.raises(NotAllowed):
            asked(person, person)
        assert not Entry.objects.exists()

    def test_an_overdraft_limit_does_not_bypass_the_limit(self, alice: User) -> None:
        ledger.expire(account_id=alice.pk)
        with pytest.raises(NotAllowed):
            adjustments.set_overdraft_limit(
                wallet=Wallet.objects.get(),
                limit_micro=1001 * MICRO,
                note="a good friend",
                staff=in_role("superuser"),
            )
        assert Wallet.objects.get().overdraft_limit_micro == 0

    @pytest.mark.django_db(transaction=True)
    def test_twelve_concurrent_adjustments_stay_within_the_limit(
        self, alice: User, bob: User
    ) -> None:
        support = in_role("support")
        won, refused = at_once(
            [partial(adjust, owner, support, 20) for owner in [alice, bob] * 6]
        )
        assert (len(won), len(refused)) == (5, 7)
        assert {type(one) for one in refused} == {AboveLimit}
        assert balance(alice) + balance(bob) == 100


class TestApproval:
    def test_a_request_moves_nothing_until_a_second_person_approves_it(
        self, alice: User
    ) -> None:
        asker, approver = in_role("finance"), in_role("superuser")
        row = asked(alice, asker)
        assert (row.state, balance(alice)) == ("pending", 0)
        done = approvals.approve(adjustment_id=row.pk, staff=approver)
        assert (done.amount_micro, balance(alice)) == (5000 * MICRO, 5000)
        row.refresh_from_db()
        assert (row.state, row.decided_by) == ("booked", approver)
        entry = Entry.objects.get(movement_id=done.movement_id)
        assert entry.actor == f"staff:{asker.pk}"
        events = SecurityEvent.objects.filter(user=alice).order_by("pk")
        assert [(event.kind, event.actor) for event in events] == [
            ("adjustment_requested", str(asker)),
            ("credits_adjusted", str(approver)),
        ]
        assert events[1].facts["requested_by"] == str(asker.pk)

    def test_an_unfit_approver_is_refused(self, alice: User) -> None:
        asker = in_role("finance")
        row = asked(alice, asker)
        alice.is_staff = alice.is_superuser = True
        alice.save()
        closed = in_role("superuser")
        closed.is_active = False
        for person in (asker, alice, closed, in_role("support"), in_role("viewer")):
            assert not approvals.may_approve(row=row, staff=person)
            with pytest.raises(NotAllowed):
                approvals.approve(adjustment_id=row.pk, staff=person)
        assert balance(alice) == 0
        row.refresh_from_db()
        assert row.state == "pending"

    @pytest.mark.parametrize("role", ["", "viewer", "support"])
    def test_staff_without_the_permission_may_not_request(
        self, role: str, alice: User
    ) -> None:
        with pytest.raises(NotAllowed):
            asked(alice, in_role(role))
        assert not Adjustment.objects.exists()

    def test_a_request_lapses_after_seven_days(self, alice: User) -> None:
        approver = in_role("superuser")
        with time_machine.travel("2026-06-01T12:00:00Z", tick=False) as clock:
            row = asked(alice, in_role("finance"))
            clock.shift(timedelta(days=7, seconds=-1))
            assert approvals.may_approve(row=row, staff=approver)
            clock.shift(timedelta(seconds=1))
            assert not approvals.may_approve(row=row, staff=approver)
            for act in (approvals.approve, approvals.reject):
                with pytest.raises(AlreadyDecided):
                    act(adjustment_id=row.pk, staff=approver)
        assert balance(alice) == 0

    def test_a_rejected_or_withdrawn_request_is_over(self, alice: User) -> None:
        asker, approver = in_role("finance"), in_role("superuser")
        rejected, withdrawn = asked(alice, asker), asked(alice, asker)
        approvals.reject(adjustment_id=rejected.pk, staff=approver)
        approvals.reject(adjustment_id=withdrawn.pk, staff=asker)
        for row in (rejected, withdrawn):
            with pytest.raises(AlreadyDecided):
                approvals.approve(adjustment_id=row.pk, staff=approver)
        kinds = SecurityEvent.objects.order_by("pk").values_list("kind", flat=True)
        assert list(kinds)[2:] == ["adjustment_rejected", "adjustment_withdrawn"]
        with pytest.raises(NotFound):
            approvals.approve(adjustment_id=uuid.uuid4(), staff=approver)

    def test_the_adjustment_of_a_closed_account_is_refused(self, alice: User) -> None:
        approver = in_role("superuser")
        row = asked(alice, in_role("finance"))
        closing.close(user=alice, actor="x")
        with pytest.raises(NotAllowed):
            approvals.approve(adjustment_id=row.pk, staff=approver)
        assert balance(alice) == 0
        closing.reopen(user=alice, actor="x")
        approvals.approve(adjustment_id=row.pk, staff=approver)
        assert balance(alice) == 5000

    @pytest.mark.parametrize(
        "change", [{"is_active": False}, {"is_staff": False}, {"groups": []}]
    )
    def test_a_requester_without_the_permission_any_more_is_refused(
        self, change: dict[str, Any], alice: User
    ) -> None:
        asker = in_role("finance")
        row = asked(alice, asker)
        if "groups" in change:
            asker.groups.clear()
        else:
            User.objects.filter(pk=asker.pk).update(**change)
        with pytest.raises(NotAllowed):
            approvals.approve(adjustment_id=row.pk, staff=in_role("superuser"))
        assert balance(alice) == 0

    def test_taking_more_than_the_balance_leaves_the_request_pending(
        self, alice: User, give: Callable[..., Any]
    ) -> None:
        approver = in_role("superuser")
        give(alice, 1500)
        row = asked(alice, in_role("finance"), -2000)
        with pytest.raises(ledger.InsufficientCredits):
            approvals.approve(adjustment_id=row.pk, staff=approver)
        row.refresh_from_db()
        assert (row.state, row.decided_by) == ("pending", None)
        give(alice, 500)
        approvals.approve(adjustment_id=row.pk, staff=approver)
        assert balance(alice) == 0

    def test_the_same_form_makes_one_request(self, alice: User) -> None:
        first = payload(alice, in_role("finance"), 5000)
        assert approvals.request(**first) == approvals.request(**first)
        assert Adjustment.objects.count() == 1
        with pytest.raises(ledger.DuplicateKey):
            approvals.request(**{**first, "amount_micro": 6000 * MICRO})

    @pytest.mark.parametrize(
        "change",
        [
            {"amount_micro": 9_000_000 * MICRO},
            {"reason": "goodwill"},
            {"requested_at": timezone.now()},
            {"lapses_at": timezone.now() + timedelta(days=900)},
            {"requested_by": None},
        ],
    )
    def test_the_database_refuses_to_change_a_request(
        self, change: dict[str, Any], alice: User
    ) -> None:
        row = asked(alice, in_role("finance"))
        with pytest.raises(DatabaseError), transaction.atomic():
            Adjustment.objects.filter(pk=row.pk).update(**change)
        with pytest.raises(DatabaseError), transaction.atomic():
            row.delete()

    def test_the_database_keeps_a_decision_and_allows_erasing_texts(
        self, alice: User
    ) -> None:
        row = asked(alice, in_role("finance"))
        approvals.approve(adjustment_id=row.pk, staff=in_role("superuser"))
        mine = Adjustment.objects.filter(pk=row.pk)
        for change in (
            {"state": "rejected", "movement_id": None},
            {"decided_by": None},
        ):
            with pytest.raises(DatabaseError), transaction.atomic():
                mine.update(**change)
        mine.update(note="", customer_text="")

    @pytest.mark.django_db(transaction=True)
    def test_two_approvers_at_once_book_once(self, alice: User) -> None:
        row = asked(alice, in_role("finance"))
        approvers = [
            User.objects.create_superuser(f"{n}@staff.example.com") for n in range(8)
        ]
        won, refused = at_once(
            [
                partial(approvals.approve, adjustment_id=row.pk, staff=who)
                for who in approvers
            ]
        )
        assert (len(won), len(refused)) == (1, 7)
        assert {type(one) for one in refused} == {AlreadyDecided}
        assert balance(alice) == 5000
        assert Entry.objects.count() == 1
        assert SecurityEvent.objects.filter(kind="credits_adjusted").count() == 1

    @pytest.mark.django_db(transaction=True)
    def test_of_concurrent_approval_and_rejection_one_wins(self, alice: User) -> None:
        row = asked(alice, in_role("finance"))
        first = User.objects.create_superuser("1@staff.example.com")
        second = User.objects.create_superuser("2@staff.example.com")
        won, refused = at_once(
            [
                lambda: approvals.approve(adjustment_id=row.pk, staff=first),
                lambda: approvals.reject(adjustment_id=row.pk, staff=second),
            ]
        )
        assert (len(won), len(refused)) == (1, 1)
        row.refresh_from_db()
        assert balance(alice) == (5000 if row.state == "booked" else 0)

    def test_the_shell_needs_no_approval_and_is_in_the_audit(self, alice: User) -> None:
        done = adjustments.adjust_from_shell(
            owner=alice,
            amount_micro=50_000 * MICRO,
            reason="a migration",
            key="adjust:migration-7",
            login="root",
            customer_text="Credits of your old account",
        )
        row = Adjustment.objects.get(movement_id=done.movement_id)
        assert (row.shell, row.note) == ("root", "a migration")
        assert row.customer_text == "Credits of your old account"
        event = SecurityEvent.objects.get(kind="credits_adjusted")
        assert (event.actor, event.facts["amount"]) == ("shell:root", "50000")

    @pytest.mark.parametrize("login", ["ops@corp.example.com", "o" * 200])
    def test_a_long_login_or_a_domain_login_may_adjust(
        self, login: str, alice: User
    ) -> None:
        adjustments.adjust_from_shell(
            owner=alice, amount_micro=MICRO, reason="x", key="adjust:x", login=login
        )
        entry = Entry.objects.get()
        assert entry.actor in ("shell:ops", "shell:" + "o" * 100)
        event = SecurityEvent.objects.get(kind="credits_adjusted")
        assert event.actor == f"shell:{login[:120]}"


def at_once(acts: list[Callable[[], Any]]) -> tuple[list[Any], list[DomainError]]:
    """Run the calls at once, each on its own connection; returns results, refusals."""
    gate = threading.Barrier(len(acts), timeout=30)

    def run(act: Callable[[], Any]) -> Any:
        try:
            gate.wait()
            return act()
        except DomainError as refusal:
            return refusal
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        came = list(pool.map(run, acts))
    refused = [one for one in came if isinstance(one, DomainError)]
    return [one for one in came if not isinstance(one, DomainError)], refused

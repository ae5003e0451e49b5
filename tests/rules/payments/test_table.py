"""Each fact at Stripe, in each order and way of its events: the credits that move.

The rows are facts at Stripe; the columns are the ways in which their events arrive. The
credits depend on the row alone.
"""

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from accounts.models import User
from payments import gateway, inbox, packs, reconciliation
from payments.models import StripeEvent, TopUpAttempt
from payments.topups import charging
from tests.till import Till, credits_of
from wallet import invariants
from wallet.models import Entry

pytestmark = pytest.mark.django_db

Fact = Callable[[Till, User], Any]


def bank_debit(till: Till, user: User) -> str:
    return till.buy(user, sepa_debit=True)


def bank_debit_arrives(till: Till, user: User) -> None:
    till.stripe.control(f"checkout/{bank_debit(till, user)}/settle", paid=True)


def bank_debit_returns(till: Till, user: User) -> None:
    till.stripe.control(f"checkout/{bank_debit(till, user)}/settle", paid=False)


def expired(till: Till, user: User) -> None:
    opened = packs.buy(account=user, sku="PACK_5").purchase.stripe_session_id
    till.stripe.control(f"checkout/{opened}/expire")


def renewed(till: Till, user: User) -> None:
    till.stripe.control(f"subscriptions/{till.subscribe(user)}/renew")


def renewal_declined(till: Till, user: User) -> None:
    till.stripe.control(
        f"subscriptions/{till.subscribe(user)}/renew", outcome="card_declined"
    )


def ended(till: Till, user: User) -> None:
    till.stripe.control(f"subscriptions/{till.subscribe(user)}/end")


def down_and_up_again(till: Till, user: User) -> None:
    subscription = till.subscribe(user, "creator")
    item = gateway.subscription(subscription_id=subscription).items[0].id
    for _ in range(2):
        till.move(subscription, item, "pro")
        # The customer's balance from the step down pays this.
        till.move(subscription, item, "creator")


def refund(till: Till, intent: str, **how: Any) -> Any:
    return till.stripe.control(f"charges/{intent}/refund", **how)


def dispute(till: Till, intent: str, **how: Any) -> Any:
    return till.stripe.control(f"charges/{intent}/dispute", **how)


def bought(till: Till, user: User) -> str:
    return till.intent(till.buy(user))


def part_refunded(till: Till, user: User) -> None:
    refund(till, bought(till, user), amount=100)


def refunded_in_three_parts(till: Till, user: User) -> None:
    intent = bought(till, user)
    for cents in (166, 166, 167):
        refund(till, intent, amount=cents)


def refunded(till: Till, user: User) -> None:
    refund(till, bought(till, user))


def refund_failed(till: Till, user: User) -> None:
    made = refund(till, bought(till, user))
    till.stripe.control(f"refunds/{made['id']}/fail")


def inquiry(till: Till, user: User) -> None:
    dispute(till, bought(till, user), inquiry=True)


def disputed(till: Till, user: User) -> Any:
    return dispute(till, bought(till, user))


def won(till: Till, user: User) -> None:
    till.stripe.control(f"disputes/{disputed(till, user)['id']}/win")


def lost(till: Till, user: User) -> None:
    till.stripe.control(f"disputes/{disputed(till, user)['id']}/lose")


def part_refunded_then_disputed(till: Till, user: User) -> None:
    intent = bought(till, user)
    refund(till, intent, amount=100)
    dispute(till, intent)


def part_refunded_then_won(till: Till, user: User) -> None:
    intent = bought(till, user)
    refund(till, intent, amount=100)
    till.stripe.control(f"disputes/{dispute(till, intent)['id']}/win")


def plan_refunded(till: Till, user: User) -> None:
    own: Any = {"subscription": till.subscribe(user)}
    [invoice] = till.stripe.client.v1.invoices.list(own).data
    intent = gateway.invoice(invoice_id=str(invoice.id)).payment_intent
    refund(till, str(intent))


# 5 credits for 499 cents: 100 of them are 1.002004 credits, rounded down.
PART = Decimal("5") - Decimal("1.002004")
FACTS: dict[str, tuple[Fact, Any]] = {
    "pack paid": (bought, 5),
    "bank debit under way": (bank_debit, 0),
    "bank debit arrives": (bank_debit_arrives, 5),
    "bank debit comes back": (bank_debit_returns, 0),
    "session expired": (expired, 0),
    "plan, first month": (lambda till, user: till.subscribe(user), 10),
    "plan renewed": (renewed, 20),
    "renewal declined": (renewal_declined, 10),
    "plan ended": (ended, 10),
    "plan changed down and up again, twice": (down_and_up_again, 25),
    "part refunded": (part_refunded, PART),
    "refunded in three parts": (refunded_in_three_parts, 0),
    "refunded": (refunded, 0),
    "refund failed": (refund_failed, 5),
    "inquiry": (inquiry, 5),
    "dispute opened": (disputed, 0),
    "dispute won": (won, 5),
    "dispute lost": (lost, 0),
    "part refunded, then disputed": (part_refunded_then_disputed, 0),
    "part refunded, dispute won": (part_refunded_then_won, PART),
    "plan's month refunded": (plan_refunded, 0),
}


def once(till: Till) -> None:
    assert set(till.post_events(till.new_events())) <= {200}


def each_as_it_happens_and_again(till: Till) -> None:
    events = till.new_events()
    for event in events:
        assert till.post_events([event, event]) == [200, 200]
        inbox.handle_due()
    for row in StripeEvent.objects.all():
        inbox.handle_again(event_id=row.pk)


def before_its_cause(till: Till) -> None:
    for event in reversed(till.new_events()):
        till.post_events([event])
        inbox.handle_due()


def without_events(till: Till) -> None:
    """Every event was lost; reconciliation finds them."""
    report = reconciliation.reconcile()
    assert report.drifts == []
    assert {
        event.id for event in till.new_events() if event.type in inbox.HANDLERS
    } == {row.stripe_id for row in StripeEvent.objects.all()}


def a_day_late(till: Till) -> None:
    events = till.new_events()
    with time_machine.travel(time.time() + 86_400, tick=True):
        assert set(till.post_events(events)) <= {200}
        inbox.handle_due()


def forged(till: Till) -> None:
    assert set(till.post_events(till.new_events(), secret="whsec_forged")) <= {400}


def wrong_secret(till: Till) -> None:
    assert set(till.post_events(till.new_events(), secret="whsec_other")) <= {400}


def old_timestamp(till: Till) -> None:
    assert set(till.post_events(till.new_events(), age=301)) <= {400}


ACCEPTED = [
    once,
    each_as_it_happens_and_again,
    before_its_cause,
    without_events,
    a_day_late,
]
REFUSED = [forged, wrong_secret, old_timestamp]


@pytest.mark.parametrize("way", ACCEPTED, ids=lambda way: way.__name__)
@pytest.mark.parametrize("fact", FACTS)
def test_the_credits_that_move(
    till: Till, alice: User, fact: str, way: Callable[[Till], None]
) -> None:
    happens, left = FACTS[fact]
    happens(till, alice)
    way(till)
    inbox.handle_due()
    assert not StripeEvent.objects.filter(due_at__isnull=False).exists()
    assert not StripeEvent.objects.filter(state="failed").exists()
    assert credits_of(alice) == left
    assert invariants.violations() == []


@pytest.mark.parametrize("fact", FACTS)
def test_refused_events_move_no_credits(till: Till, alice: User, fact: str) -> None:
    FACTS[fact][0](till, alice)
    for way in REFUSED:
        known = set(till.seen)
        way(till)
        till.seen = known
    inbox.handle_due()
    assert not StripeEvent.objects.exists()
    assert not Entry.objects.exists()


def top_up(till: Till, user: User) -> str:
    """Charge a card, and lose the response: only Stripe's events can credit it."""
    till.top_up(user)
    till.fault("/v1/payment_intents", method="post", count=3, lose_answer=True)
    charging.begin_due()
    charging.charge_due()
    [made] = till.stripe.client.v1.payment_intents.list({"limit": 1}).data
    return str(made.id)


TOP_UPS: dict[str, tuple[Fact, Any]] = {
    "paid": (top_up, 10),
    "part refunded": (
        lambda till, user: refund(till, top_up(till, user), amount=100),
        5 + PART,
    ),
    "refunded": (lambda till, user: refund(till, top_up(till, user)), 5),
    "disputed": (lambda till, user: dispute(till, top_up(till, user)), 5),
    "dispute won": (
        lambda till, user: till.stripe.control(
            f"disputes/{dispute(till, top_up(till, user))['id']}/win"
        ),
        10,
    ),
}


def compared(_till: Till) -> None:
    assert reconciliation.reconcile().drifts == []


@pytest.mark.parametrize(
    "way", [*ACCEPTED[:3], compared, a_day_late], ids=lambda way: way.__name__
)
@pytest.mark.parametrize("fact", TOP_UPS)
def test_automatic_top_ups_move_the_same_credits(
    till: Till, alice: User, fact: str, way: Callable[[Till], None]
) -> None:
    happens, left = TOP_UPS[fact]
    happens(till, alice)
    assert credits_of(alice) == 5
    way(till)
    inbox.handle_due()
    TopUpAttempt.objects.filter(status="pending").update(due_at=timezone.now())
    charging.charge_due()
    assert [it.status for it in TopUpAttempt.objects.all()] == ["paid"]
    assert credits_of(alice) == left
    assert not StripeEvent.objects.exclude(due_at=None).exists()
    assert invariants.violations() == []

"""The periodic tasks of payments. Due times live in rows, so a lost run loses nothing.

Every task may call Stripe, so all run in the queue `slow`. While Stripe is down the
task fails, and staff see the failure. A server without a Stripe key skips the work.
"""

from collections.abc import Callable

from celery import shared_task

from focus.background import sweeps
from payments import gateway, inbox, reconciliation
from payments.plans import prices as plan_prices
from payments.topups import charging
from payments.topups import setup as topup_setup


def _unless_off(work: Callable[[], object]) -> None:
    try:
        work()
    except gateway.PaymentsOff:
        return


@shared_task(name="payments.handle_events")
@sweeps.one_at_a_time
def handle_events(**_newer: object) -> None:
    """Handle Stripe's events that are due."""
    inbox.handle_due()


@shared_task(name="payments.top_up")
@sweeps.one_at_a_time
def top_up(**_newer: object) -> None:
    """Save cards, then begin and charge the automatic top-ups that are due."""
    sweeps.run_steps(
        "payments.top_up", save_cards, charging.begin_due, charging.charge_due
    )


def save_cards() -> None:
    """Save the cards of paid checkouts, as the first step of `payments.top_up`."""
    _unless_off(topup_setup.save_cards)


@shared_task(name="payments.make_prices")
@sweeps.one_at_a_time
def make_prices(**_newer: object) -> None:
    """Create or check the plans' Prices at Stripe that are due."""
    if gateway.is_on():
        plan_prices.make_due()


@shared_task(name="payments.retire_top_ups")
@sweeps.one_at_a_time
def retire_top_ups(**_newer: object) -> None:
    """Delete the cards of accounts that were closed or have a new owner."""
    _unless_off(topup_setup.forget_unowned_cards)


@shared_task(name="payments.forget_bodies")
@sweeps.one_at_a_time
def forget_bodies(**_newer: object) -> None:
    """Erase the bodies of old events that are done."""
    inbox.forget_bodies()


@shared_task(name="payments.reconcile")
@sweeps.one_at_a_time
def reconcile(**_newer: object) -> None:
    """Compare our books with Stripe's, and repair ours."""
    _unless_off(reconciliation.reconcile)

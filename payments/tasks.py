"""What beat runs for payments. Due times live in rows; a lost run costs nothing."""

from contextlib import suppress

from celery import shared_task

from payments import charging, gateway, inbox, reconciliation, topups


@shared_task(name="payments.handle_events")
def handle_events(**_newer: object) -> None:
    inbox.handle_due()


@shared_task(name="payments.top_up")
def top_up(**_newer: object) -> None:
    with suppress(gateway.StripeDown, gateway.PaymentsOff):
        topups.keep_cards()
    charging.begin_due()
    charging.charge_due()


@shared_task(name="payments.retire_top_ups")
def retire_top_ups(**_newer: object) -> None:
    with suppress(gateway.StripeDown, gateway.PaymentsOff):
        topups.retire()


@shared_task(name="payments.forget_bodies")
def forget_bodies(**_newer: object) -> None:
    inbox.forget_bodies()


@shared_task(name="payments.reconcile")
def reconcile(**_newer: object) -> None:
    """A Stripe that is down is tried again by the next run."""
    with suppress(gateway.StripeDown, gateway.PaymentsOff):
        reconciliation.reconcile()

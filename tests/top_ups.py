"""Helpers for tests of automatic top-up: run its task, and read its outcome."""

from typing import Any

from django.utils import timezone

from accounts.models import Mail
from payments.models import TopUpAttempt, TopUpRule
from payments.topups import charging
from payments.topups import setup as topup_setup
from tests.till import Till

INTENTS = "/v1/payment_intents"


def run() -> None:
    """Run the steps of the task `payments.top_up`."""
    topup_setup.save_cards()
    charging.begin_due()
    charging.charge_due()


def statuses() -> list[str]:
    rows = TopUpAttempt.objects.order_by("created_at")
    return list(rows.values_list("status", flat=True))


def make_due() -> None:
    """End every cool-down and back-off, and make pending attempts due."""
    TopUpRule.objects.update(not_before=timezone.now())
    TopUpAttempt.objects.filter(status="pending").update(due_at=timezone.now())


def next_charge(till: Till, outcome: str, **how: Any) -> None:
    card = TopUpRule.objects.get().stripe_payment_method_id
    till.stripe.control(f"payment_methods/{card}/next", outcome=outcome, **how)


def charged(till: Till) -> int:
    """Count the automatic charges that succeeded at Stripe."""
    intents = till.stripe.client.v1.payment_intents.list({"limit": 100}).data
    return sum(
        it.status == "succeeded" and it.metadata["focus"] == "top_up"
        for it in intents
        if "focus" in it.metadata
    )


def mail_subjects() -> list[str]:
    found = Mail.objects.filter(subject__icontains="top").order_by("pk")
    return list(found.values_list("subject", flat=True))

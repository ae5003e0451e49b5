"""Run automatic top-up as beat does, and read its results."""

from typing import Any

from django.utils import timezone

from accounts.models import Mail
from payments.models import TopUpAttempt, TopUpRule
from payments.topups import charging
from payments.topups import setup as topup_setup
from tests.till import Till

INTENTS = "/v1/payment_intents"


def run() -> None:
    """Run the tasks that beat runs."""
    topup_setup.save_cards()
    charging.begin_due()
    charging.charge_due()


def statuses() -> list[str]:
    rows = TopUpAttempt.objects.order_by("created_at")
    return list(rows.values_list("status", flat=True))


def soon() -> None:
    """End the cool-down, the back-off and the wait of each attempt."""
    TopUpRule.objects.update(not_before=timezone.now())
    TopUpAttempt.objects.filter(status="pending").update(due_at=timezone.now())


def next_charge(till: Till, outcome: str, **how: Any) -> None:
    card = TopUpRule.objects.get().stripe_payment_method_id
    till.stripe.control(f"payment_methods/{card}/next", outcome=outcome, **how)


def charged(till: Till) -> int:
    """Return the number of successful automatic charges at Stripe."""
    intents = till.stripe.client.v1.payment_intents.list({"limit": 100}).data
    return sum(
        it.status == "succeeded" and it.metadata["focus"] == "top_up"
        for it in intents
        if "focus" in it.metadata
    )


def letters() -> list[str]:
    found = Mail.objects.filter(subject__icontains="top").order_by("pk")
    return list(found.values_list("subject", flat=True))

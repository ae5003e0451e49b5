"""kill -9 between storing an event and applying it; and before Stripe has answered.

An automatic charge likewise: between its row and Stripe, and between Stripe and us.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.utils import timezone

from accounts.models import User
from payments import inbox
from payments.models import Payment, StripeEvent, TopUpAttempt, TopUpRule
from payments.topups import charging
from payments.topups import setup as topup_setup
from tests import processes
from tests.till import Till, credits_of
from wallet import invariants
from wallet.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)
HANDLE = "from payments import inbox; inbox.handle_due()"
SHELL = ("django", "shell", "-v0", "-c")
TOP_UP = "import time; from payments.topups import charging as c; c.begin_due(); "
BEGIN = TOP_UP + "time.sleep(60)"
CHARGE = TOP_UP + "c.charge_due()"


def killed_when(work: str, true: Callable[[], object], till: Till, log: Path) -> None:
    """Run the work in its own process, until the test kills it."""
    with processes.running(
        *SHELL,
        work,
        log=log,
        DJANGO_SETTINGS_MODULE="focus.settings",
        STRIPE_SECRET_KEY="sk_test_emulator",
        STRIPE_WEBHOOK_SECRET="whsec_emulator",
        STRIPE_API_BASE=till.stripe.url,
    ) as worker:
        processes.until(true, seconds=60)
        processes.kill(worker)


def charges(till: Till) -> int:
    """Of automatic top-ups, at Stripe."""
    intents = till.stripe.client.v1.payment_intents.list({"limit": 100}).data
    return sum("attempt" in it.metadata for it in intents)


def charged_and_credited_once(till: Till, alice: User) -> None:
    assert topup_setup.save_cards() == charging.begin_due() == 0
    TopUpAttempt.objects.update(due_at=timezone.now())
    assert charging.charge_due() == 1
    assert charging.charge_due() == 0
    till.catch_up()
    assert charges(till) == 1
    assert TopUpAttempt.objects.get().status == "paid"
    assert credits_of(alice) == 10
    assert Payment.objects.count() == Entry.objects.count() == 2
    assert invariants.violations() == []


def test_a_top_up_killed_between_its_row_and_stripe(
    till: Till, alice: User, tmp_path: Path
) -> None:
    till.top_up(alice)
    killed_when(BEGIN, TopUpAttempt.objects.exists, till, tmp_path / "worker")
    assert charges(till) == 0
    charged_and_credited_once(till, alice)


def test_a_top_up_killed_between_stripe_and_our_book(
    till: Till, alice: User, tmp_path: Path
) -> None:
    till.top_up(alice)
    # Stripe charges, and its answer is lost three times; the worker dies asking again.
    till.fault("/v1/payment_intents", method="post", count=3, lose_answer=True)
    killed_when(CHARGE, lambda: charges(till), till, tmp_path / "worker")
    row = TopUpAttempt.objects.get()
    assert (row.status, row.stripe_payment_intent_id) == ("pending", None)
    assert Payment.objects.count() == 1
    charged_and_credited_once(till, alice)


def test_a_top_up_killed_after_a_decline(
    till: Till, alice: User, tmp_path: Path
) -> None:
    till.top_up(alice)
    card = TopUpRule.objects.get().stripe_payment_method_id
    till.stripe.control(f"payment_methods/{card}/next", outcome="insufficient_funds")
    till.fault("/v1/payment_intents/pi", method="get", count=3, status=503)
    till.fault("/v1/payment_intents/pi", method="post", count=3, status=503)
    killed_when(CHARGE, lambda: charges(till), till, tmp_path / "worker")
    # The worker finds the recorded decline. A second charge would succeed now.
    TopUpAttempt.objects.update(due_at=timezone.now())
    for _ in range(3):
        charging.charge_due()
        TopUpAttempt.objects.filter(status="pending").update(due_at=timezone.now())
    assert charges(till) == 1
    assert TopUpAttempt.objects.get().status == "declined"
    assert credits_of(alice) == 5


def test_a_worker_killed_between_storing_and_applying(
    till: Till, alice: User, tmp_path: Path
) -> None:
    session = till.buy(alice)
    till.post_events(till.new_events("checkout.session.completed"))
    # The worker has claimed the event and waits for Stripe's answer when it dies.
    till.fault(f"/v1/checkout/sessions/{session}", method="get", seconds=4, count=1)
    killed_when(
        HANDLE, StripeEvent.objects.filter(tries=1).exists, till, tmp_path / "worker"
    )
    assert not Entry.objects.exists()
    row = StripeEvent.objects.get()
    # Its lease keeps others away until it is over; then the next worker has it.
    assert row.state == "pending"
    assert inbox.handle_due() == 0
    StripeEvent.objects.update(due_at=timezone.now())
    assert inbox.handle_due() == 1
    assert inbox.handle_due() == 0
    assert credits_of(alice) == 5
    assert Payment.objects.count() == Entry.objects.count() == 1
    assert invariants.violations() == []

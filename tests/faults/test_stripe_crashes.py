"""kill -9 between storing an event and applying it; and before Stripe has answered."""

from pathlib import Path

import pytest
from django.utils import timezone

from accounts.models import User
from payments import inbox
from payments.models import Payment, StripeEvent
from tests import processes
from tests.till import Till, credits_of
from wallet import invariants
from wallet.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)
HANDLE = "from payments import inbox; inbox.handle_due()"
SHELL = ("django", "shell", "-v0", "-c", HANDLE)


def test_a_worker_killed_between_storing_and_applying(
    till: Till, alice: User, tmp_path: Path
) -> None:
    session = till.buy(alice)
    till.tell(till.news("checkout.session.completed"))
    # The worker has claimed the event and waits for Stripe's answer when it dies.
    till.fault(f"/v1/checkout/sessions/{session}", method="get", seconds=4, count=1)
    with processes.running(
        *SHELL,
        log=tmp_path / "worker",
        DJANGO_SETTINGS_MODULE="focus.settings",
        STRIPE_SECRET_KEY="sk_test_emulator",
        STRIPE_WEBHOOK_SECRET="whsec_emulator",
        STRIPE_API_BASE=till.stripe.url,
    ) as worker:
        processes.until(
            lambda: StripeEvent.objects.filter(tries=1).exists(), seconds=30
        )
        processes.kill(worker)
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

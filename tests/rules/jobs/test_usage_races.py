"""Races of charges and purchases on real connections."""

import threading
from collections import Counter

import pytest
from django.db import connection, transaction

from accounts.models import Consent
from accounts.partners import consents
from focus.money import MICRO
from jobs import tool_purchases, usage
from jobs.invariants import ALL
from jobs.models import ToolPurchase, Usage
from tests.rules.wallet.test_races import at_once
from wallet import invariants, ledger
from wallet.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _both_let_the_tool(alice, bob, tool, grant_consent):
    grant_consent(alice, tool)
    grant_consent(bob, tool)


@pytest.fixture(autouse=True)
def _adds_up(transactional_db):
    yield
    assert invariants.violations(among=ALL) == []


def charge(user, app, key, amount=1, reason="used"):
    return usage.charge(
        account_id=user.pk,
        app=app,
        amount_micro=amount * MICRO,
        reason=reason,
        key=key,
        actor="test",
    )


def left(user):
    return ledger.balance(account_id=user.pk).available_micro / MICRO


def test_twenty_requests_with_one_key_charge_once(alice, tool, give):
    give(alice, 100)
    outcomes = at_once(*[lambda: charge(alice, tool, "one")] * 20)
    assert outcomes.count("duplicate_request") == 19
    assert (left(alice), Usage.objects.count()) == (99, 1)


def test_one_key_charges_one_of_two_people(alice, bob, tool, give):
    for user in (alice, bob):
        give(user, 100)
    both = [lambda: charge(alice, tool, "one"), lambda: charge(bob, tool, "one")] * 5
    outcomes = at_once(*both)
    assert outcomes.count("duplicate_request") == 9
    assert left(alice) + left(bob) == 199


def test_parallel_charges_stop_at_the_balance(alice, tool, give):
    give(alice, 5)
    calls = [lambda n=n: charge(alice, tool, f"k{n}") for n in range(16)]
    outcomes = Counter(map(str, at_once(*calls)))
    assert outcomes["insufficient_credits"] == 11
    assert (left(alice), Usage.objects.count()) == (0, 5)


def test_twenty_parallel_payments_of_a_checkout_charge_once(alice, tool, give):
    give(alice, 100)
    consents.revoke(user=alice, app_id=tool.pk)
    purchase = tool_purchases.create(user=alice, tool_id=tool.pk)
    bought = at_once(
        *[lambda: tool_purchases.process(user=alice, purchase_id=purchase.pk)] * 20
    )
    assert len({one.token for one in bought}) == 20
    assert left(alice) == 75
    assert Entry.objects.filter(kind="consume").count() == 1
    assert Consent.objects.get(user=alice).revoked_at is None


def open_checkouts(alice, tool, count):
    return [
        ToolPurchase.objects.create(
            account=alice,
            app=tool,
            price_micro=25 * MICRO,
            expires_at="2999-01-01T00:00Z",
        )
        for _ in range(count)
    ]


def test_many_checkouts_of_one_tool_at_once_charge_once(alice, tool, give):
    give(alice, 1000)
    made = open_checkouts(alice, tool, 5)
    bought = at_once(
        *[
            lambda one=one: tool_purchases.process(user=alice, purchase_id=one.pk)
            for one in made * 4
        ]
    )
    assert len({one.token for one in bought}) == 20
    assert len({one.purchase.pk for one in bought}) == 1
    assert left(alice) == 975
    assert ToolPurchase.objects.filter(paid_at__isnull=False).count() == 1


def test_buying_the_same_tool_twice_at_once_charges_once(alice, tool, give):
    give(alice, 1000)

    def buy():
        checkout = tool_purchases.create(user=alice, tool_id=tool.pk)
        return tool_purchases.process(user=alice, purchase_id=checkout.pk)

    bought = at_once(*[buy] * 10)
    assert len({one.purchase.pk for one in bought}) == 1
    assert left(alice) == 975


def test_credits_for_one_pay_one_of_two_checkouts_per_use(alice, tool, give):
    tool.sold_per_use = True
    tool.save()
    give(alice, 30)
    made = open_checkouts(alice, tool, 2)
    outcomes = at_once(
        *[
            lambda one=one: tool_purchases.process(user=alice, purchase_id=one.pk)
            for one in made
        ]
    )
    assert outcomes.count("insufficient_credits") == 1
    assert left(alice) == 5


def test_a_second_request_waits_for_the_first_and_gets_its_outcome(alice, tool, give):
    give(alice, 10)
    charged, go_on = threading.Event(), threading.Event()

    def first():
        with transaction.atomic():
            charge(alice, tool, "one")
            charged.set()
            go_on.wait(60)

    def second():
        charged.wait(60)
        threading.Timer(0.5, go_on.set).start()
        return charge(alice, tool, "one")

    _, outcome = at_once(first, second)
    assert outcome == "duplicate_request"
    assert left(alice) == 9


def test_a_second_request_stops_waiting_at_the_lock_timeout(alice, tool, give):
    give(alice, 10)
    charged, answered = threading.Event(), threading.Event()

    def first():
        with transaction.atomic():
            charge(alice, tool, "one")
            charged.set()
            answered.wait(60)

    def second():
        charged.wait(60)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '300ms'")
            charge(alice, tool, "one")
        except usage.StillInFlight as refusal:
            return refusal.retry_after_seconds, refusal.facts
        finally:
            answered.set()

    assert at_once(first, second)[1] == (1, {"is_duplicate": False})
    assert left(alice) == 9


def test_a_first_try_that_failed_leaves_the_key_free(alice, tool, give):
    give(alice, 10)

    def fails():
        with transaction.atomic():
            charge(alice, tool, "one")
            raise usage.DuplicateRequest("as if the process had died")

    outcomes = at_once(fails, lambda: charge(alice, tool, "one"))
    assert (left(alice), Usage.objects.count()) == (9, 1)
    assert outcomes[0] == "duplicate_request"


def test_a_purchase_and_a_consent_do_not_deadlock(alice, tool, give):
    give(alice, 100)
    purchase = tool_purchases.create(user=alice, tool_id=tool.pk)

    def grant():
        return consents.grant(user=alice, app_id=tool.pk)

    def revoke():
        return consents.revoke(user=alice, app_id=tool.pk)

    def pay():
        tool_purchases.process(user=alice, purchase_id=purchase.pk)
        return "paid"

    outcomes = at_once(*[pay, grant, revoke, pay] * 4)
    assert outcomes.count("paid") == 8
    assert left(alice) == 75

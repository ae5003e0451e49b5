"""Refunds and disputes: credits follow their money, out and back in."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.db.utils import IntegrityError

from accounts.models import App
from focus.money import MICRO, from_micro
from wallet import invariants, ledger
from wallet.explain import explain
from wallet.models import Entry, Grant

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _adds_up(alice, video, grant_consent):
    grant_consent(alice, video)
    yield
    assert invariants.violations() == []


@pytest.fixture
def rival(db):
    return App.objects.create(slug="rival", name="Rival")


def buy(user, amount, key="bought", **options):
    return ledger.grant(
        account_id=user.pk,
        amount_micro=amount * MICRO,
        source="purchase",
        category="paid",
        actor="stripe",
        key=key,
        **options,
    )


def claw_back(user, amount, key="refund", purchase="bought"):
    return ledger.claw_back(
        account_id=user.pk,
        purchase_key=purchase,
        amount_micro=amount * MICRO,
        actor="stripe",
        reason="refunded",
        key=key,
    )


def reinstate(user, key="won", claw_back="refund"):
    return ledger.reinstate(
        account_id=user.pk,
        claw_back_key=claw_back,
        actor="stripe",
        reason="dispute won",
        key=key,
    )


def reserve(user, app, amount):
    job_id = uuid.uuid4()
    ledger.reserve(
        account_id=user.pk,
        app=app,
        job_id=job_id,
        amount_micro=amount * MICRO,
        ttl_seconds=3600,
        actor="test",
    )
    return job_id


def spend(user, app, amount):
    ledger.consume(
        account_id=user.pk,
        app=app,
        amount_micro=amount * MICRO,
        actor="test",
        reason="",
        key=str(uuid.uuid4()),
    )


def left():
    return [from_micro(grant.remaining_micro) for grant in Grant.objects.order_by("pk")]


def spendable(user):
    return from_micro(ledger.balance(account_id=user.pk).credits_micro)


def test_the_refunded_purchase_pays_before_any_other_grant(alice, give):
    give(alice, 5)
    buy(alice, 10)
    done = claw_back(alice, 8)
    assert (done.created, done.taken_micro, done.owed_micro) == (True, 8 * MICRO, 0)
    assert left() == [5, 2]
    (entry,) = Entry.objects.filter(kind="claw_back")
    assert (entry.debit, entry.credit, entry.grant_id) == (
        "available",
        "stripe",
        done.grant_id,
    )


def test_credits_of_another_app_are_taken_last_before_debt(alice, video, rival, give):
    buy(alice, 10)
    spend(alice, video, 10)
    give(alice, 3)
    give(alice, 2, only_for=rival)
    assert (claw_back(alice, 3, key="a").owed_micro, left()) == (0, [0, 0, 2])
    assert (claw_back(alice, 6, key="b").owed_micro, left()) == (4 * MICRO, [0, 0, 0])
    assert spendable(alice) == -4


def test_a_job_keeps_its_reservation_and_returned_credits_cover_the_debt(alice, video):
    buy(alice, 10)
    job = reserve(alice, video, 6)
    done = claw_back(alice, 10)
    assert (done.taken_micro, done.owed_micro) == (4 * MICRO, 6 * MICRO)
    assert done.balance.reserved_micro == 6 * MICRO
    with pytest.raises(ledger.InsufficientCredits):
        reserve(alice, video, 1)
    ledger.release(account_id=alice.pk, app=video, job_id=job, actor="test")
    assert spendable(alice) == 0
    with pytest.raises(ledger.InsufficientCredits):
        reserve(alice, video, 1)
    buy(alice, 9, key="again")
    balance = ledger.balance(account_id=alice.pk)
    assert (balance.debt_micro, balance.credits_micro) == (0, 9 * MICRO)


def test_a_key_claws_back_once_for_ever_and_returns_the_first_amounts(alice, video):
    buy(alice, 10)
    spend(alice, video, 7)
    first = claw_back(alice, 5)
    again = claw_back(alice, 5)
    assert (again.created, again.movement_id) == (False, first.movement_id)
    assert (again.taken_micro, again.owed_micro) == (3 * MICRO, 2 * MICRO)
    assert Entry.objects.filter(kind="claw_back").count() == 2


def test_never_more_is_clawed_back_than_the_purchase_granted(alice, give):
    give(alice, 50)
    buy(alice, 10)
    claw_back(alice, 7)
    with pytest.raises(ledger.ExceedsPurchase) as refused:
        claw_back(alice, 4, key="second")
    assert refused.value.facts == {"required": 4, "left": 3}
    claw_back(alice, 3, key="second")
    with pytest.raises(IntegrityError), transaction.atomic():
        Grant.objects.filter(category="paid").update(clawed_back_micro=11 * MICRO)


@pytest.mark.parametrize("amount", [0, -1])
def test_zero_and_negative_amounts_cannot_be_clawed_back(alice, amount):
    buy(alice, 10)
    with pytest.raises(IntegrityError), transaction.atomic():
        claw_back(alice, amount)


def test_an_unpaid_grant_is_no_purchase(alice, bob, give):
    ledger.grant(
        account_id=alice.pk,
        amount_micro=MICRO,
        source="promo",
        actor="test",
        key="gift",
    )
    buy(bob, 5, key="his")
    for purchase in ("gift", "his", "never"):
        with pytest.raises(ledger.UnknownPurchase):
            claw_back(alice, 1, purchase=purchase)
    buy(alice, 5, key="never")
    assert claw_back(alice, 1, purchase="never").created


def test_a_key_of_another_movement_is_refused(alice, bob):
    buy(alice, 5)
    buy(bob, 5, key="his")
    claw_back(alice, 1)
    with pytest.raises(ledger.DuplicateKey), transaction.atomic():
        claw_back(bob, 1, purchase="his")
    with pytest.raises(ledger.DuplicateKey), transaction.atomic():
        claw_back(alice, 1, key="bought")
    with pytest.raises(ledger.DuplicateKey), transaction.atomic():
        reinstate(alice, key="bought")


def test_a_won_dispute_leaves_everything_as_it_was(alice, video, give):
    give(alice, 3)
    buy(alice, 10, priority=20)
    spend(alice, video, 6)
    before = (ledger.balance(account_id=alice.pk), left())
    assert claw_back(alice, 10).owed_micro == 3 * MICRO
    done = reinstate(alice)
    assert done.created
    assert (ledger.balance(account_id=alice.pk), left()) == before
    again = reinstate(alice)
    assert (again.created, again.movement_id) == (False, done.movement_id)
    with pytest.raises(ledger.AlreadyReinstated):
        reinstate(alice, key="other")
    with pytest.raises(ledger.UnknownClawBack):
        reinstate(alice, key="other", claw_back="never")
    # The same purchase may be lost again.
    assert claw_back(alice, 10, key="second").created


def test_repaid_debt_is_granted_again_on_the_purchases_terms(alice, video):
    expires_at = datetime.now(UTC) + timedelta(days=90)
    buy(alice, 10, priority=20, expires_at=expires_at)
    spend(alice, video, 10)
    claw_back(alice, 10)
    buy(alice, 4, key="again")
    reinstate(alice)
    assert ledger.balance(account_id=alice.pk).debt_micro == 0
    new = Grant.objects.get(source="reinstated")
    assert (new.granted_micro, new.category, new.priority, new.expires_at) == (
        4 * MICRO,
        "paid",
        20,
        expires_at,
    )
    assert explain(account_id=alice.pk).adds_up


def test_a_grant_that_expired_during_the_dispute_expires_again(alice, time_passes):
    buy(alice, 10, expires_at=datetime.now(UTC) + timedelta(days=30))
    claw_back(alice, 10)
    time_passes(31 * 86_400)
    reinstate(alice)
    assert spendable(alice) == 0
    kinds = list(Entry.objects.order_by("seq").values_list("kind", flat=True))
    assert kinds == ["grant", "claw_back", "reinstate", "lapse"]


def test_explain_names_claw_backs(alice, video):
    buy(alice, 10)
    claw_back(alice, 4)
    reinstate(alice)
    explained = explain(account_id=alice.pk)
    told = str(explained)
    assert explained.adds_up
    assert "-4  taken back because their money went back (once" in told
    assert "+4  given back because their money returned (once" in told


def test_a_claw_back_is_never_deleted(alice):
    buy(alice, 10)
    claw_back(alice, 4)
    with (
        pytest.raises(IntegrityError),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("DELETE FROM wallet_clawback")

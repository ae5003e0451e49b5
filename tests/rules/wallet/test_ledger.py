"""The ledger's rules, one by one, without HTTP."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.utils import IntegrityError

from accounts.models import App
from focus.money import MICRO
from wallet import invariants, ledger
from wallet.models import Draw, Entry, Grant, Wallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def rival(alice, grant_consent):
    return grant_consent(alice, App.objects.create(slug="rival", name="Rival"))


@pytest.fixture(autouse=True)
def _adds_up(alice, bob, video, grant_consent):
    grant_consent(alice, video)
    grant_consent(bob, video)
    yield
    assert invariants.violations() == []


def reserve(user, app, amount, ttl_seconds=3600):
    job_id = uuid.uuid4()
    ledger.reserve(
        account_id=user.pk,
        app=app,
        job_id=job_id,
        amount_micro=amount * MICRO,
        ttl_seconds=ttl_seconds,
        actor="test",
    )
    return job_id


def settle(user, app, job_id, cost):
    return ledger.settle(
        account_id=user.pk, app=app, job_id=job_id, cost_micro=cost * MICRO, actor="t"
    )


def balance(user, app=None):
    """Return (available, reserved, debt) in credits."""
    now = ledger.balance(account_id=user.pk, app_id=app and app.pk)
    parts = (now.available_micro, now.reserved_micro, now.debt_micro)
    return tuple(micro / MICRO for micro in parts)


def booked(user):
    return [
        (entry.kind, entry.debit, entry.credit, entry.amount_micro / MICRO)
        for entry in Entry.objects.filter(wallet__account=user).order_by("seq")
    ]


def test_settling_less_than_reserved_returns_the_rest(alice, video, give):
    give(alice, 20)
    job_id = reserve(alice, video, 5)
    assert balance(alice) == (15, 5, 0)
    settled = settle(alice, video, job_id, 3)
    assert (settled.charged_micro, settled.returned_micro) == (3 * MICRO, 2 * MICRO)
    assert balance(alice) == (17, 0, 0)
    assert booked(alice)[1:] == [
        ("reserve", "available", "reserved", 5),
        ("charge", "reserved", "revenue:video", 3),
        ("return", "reserved", "available", 2),
    ]
    charge, back = Entry.objects.filter(kind__in=["charge", "return"]).order_by("seq")
    assert charge.movement_id == back.movement_id
    assert (charge.resolves, back.resolves) == (True, False)


def test_settling_more_than_reserved_charges_the_overage(alice, video, give):
    give(alice, 20)
    settled = settle(alice, video, reserve(alice, video, 4), 6)
    assert settled.charged_micro == 6 * MICRO
    assert booked(alice)[2:] == [
        ("charge", "reserved", "revenue:video", 4),
        ("overage", "available", "revenue:video", 2),
    ]


def test_cap_charges_what_the_balance_covers_and_records_the_rest(alice, video, give):
    give(alice, 5)
    settled = settle(alice, video, reserve(alice, video, 4), 9)
    assert settled.charged_micro == 5 * MICRO
    assert settled.uncovered_micro == 4 * MICRO
    assert balance(alice) == (0, 0, 0)
    assert Entry.objects.get(kind="charge").uncovered_micro == 4 * MICRO


def test_reject_refuses_and_leaves_the_reservation_open(alice, video, give):
    video.overage_policy = "reject"
    give(alice, 5)
    job_id = reserve(alice, video, 4)
    with pytest.raises(ledger.InsufficientCredits) as refusal:
        settle(alice, video, job_id, 9)
    assert refusal.value.facts == {"required": 9, "available": 5}
    assert balance(alice) == (1, 4, 0)
    assert settle(alice, video, job_id, 5).charged_micro == 5 * MICRO


def test_overflow_goes_into_debt_down_to_the_limit_then_caps(alice, video, give):
    video.overage_policy = "overflow"
    give(alice, 5)
    ledger.set_overdraft_limit(
        account_id=alice.pk, limit_micro=3 * MICRO, actor="staff:test"
    )
    settled = settle(alice, video, reserve(alice, video, 4), 10)
    assert (settled.charged_micro, settled.uncovered_micro) == (8 * MICRO, 2 * MICRO)
    assert settled.balance.credits_micro == -3 * MICRO
    assert balance(alice) == (0, 0, 3)
    with pytest.raises(ledger.InsufficientCredits):
        reserve(alice, video, 1)


def test_paid_grants_repay_debt_first_and_promotional_ones_do_not(alice, video, give):
    video.overage_policy = "overflow"
    give(alice, 1)
    ledger.set_overdraft_limit(
        account_id=alice.pk, limit_micro=3 * MICRO, actor="staff:test"
    )
    settle(alice, video, reserve(alice, video, 1), 4)
    give(alice, 2)
    assert balance(alice) == (2, 0, 3)
    with pytest.raises(ledger.InsufficientCredits):
        reserve(alice, video, 1)
    give(alice, 10, category="paid", source="purchase")
    assert balance(alice) == (9, 0, 0)


def test_credits_return_to_the_grants_they_came_from(alice, video, rival, give):
    paid = give(alice, 5, category="paid", source="purchase").grant_id
    promo = give(alice, 5).grant_id
    own = give(alice, 5, only_for=video).grant_id
    job_id = reserve(alice, video, 12)
    left = dict(Grant.objects.values_list("pk", "remaining_micro"))
    assert left == {own: 0, promo: 0, paid: 3 * MICRO}
    settle(alice, video, job_id, 6)
    left = dict(Grant.objects.values_list("pk", "remaining_micro"))
    assert left == {own: 0, promo: 4 * MICRO, paid: 5 * MICRO}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"priority": 10}, {"priority": 20}),
        (
            {"expires_at": datetime(2100, 1, 1, tzinfo=UTC)},
            {"expires_at": datetime(2101, 1, 1, tzinfo=UTC)},
        ),
        ({"expires_at": datetime(2100, 1, 1, tzinfo=UTC)}, {}),
        ({}, {"category": "paid", "source": "purchase"}),
        ({"category": "paid", "source": "purchase", "priority": 0}, {"priority": 1}),
    ],
)
def test_grants_are_spent_in_order(alice, video, give, first, second):
    later = give(alice, 5, **second).grant_id
    sooner = give(alice, 5, **first).grant_id
    reserve(alice, video, 5)
    assert Grant.objects.get(pk=sooner).remaining_micro == 0
    assert Grant.objects.get(pk=later).remaining_micro == 5 * MICRO


def test_an_app_cannot_spend_credits_restricted_to_another(alice, video, rival, give):
    give(alice, 5, only_for=rival)
    give(alice, 2)
    with pytest.raises(ledger.InsufficientCredits) as refusal:
        reserve(alice, video, 3)
    assert refusal.value.facts == {"required": 3, "available": 2}
    now = ledger.balance(account_id=alice.pk, app_id=video.pk)
    assert now.credits_micro == 2 * MICRO
    assert ledger.balance(account_id=alice.pk).credits_micro == 7 * MICRO
    reserve(alice, rival, 7)


def test_a_reservation_is_free_the_moment_it_expires(alice, video, give, time_passes):
    give(alice, 5)
    reserve(alice, video, 5, ttl_seconds=60)
    time_passes(61)
    assert balance(alice) == (5, 0, 0)
    assert Wallet.objects.get().reserved_micro == 5 * MICRO, "no sweep has run"
    reserve(alice, video, 5)
    assert [kind for kind, *_ in booked(alice)] == [
        "grant",
        "reserve",
        "expire",
        "reserve",
    ]


def test_settling_late_is_a_fresh_charge(alice, video, give, time_passes):
    give(alice, 5)
    job_id = reserve(alice, video, 5, ttl_seconds=60)
    time_passes(61)
    settled = settle(alice, video, job_id, 3)
    assert (settled.late, settled.charged_micro) == (True, 3 * MICRO)
    assert balance(alice) == (2, 0, 0)
    with pytest.raises(ledger.AlreadyResolved):
        settle(alice, video, job_id, 3)


def test_only_reserved_charges_nothing_after_the_expiry(
    alice, video, give, time_passes
):
    give(alice, 9)
    job_id = reserve(alice, video, 5, ttl_seconds=60)
    time_passes(61)
    settled = ledger.settle(
        account_id=alice.pk,
        app=video,
        job_id=job_id,
        cost_micro=5 * MICRO,
        only_reserved=True,
        actor="t",
    )
    assert (settled.late, settled.charged_micro, settled.uncovered_micro) == (
        True,
        0,
        0,
    )
    assert balance(alice) == (9, 0, 0)


def test_an_expired_grant_is_gone_by_time_and_booked_as_breakage(
    alice, video, give, time_passes
):
    give(alice, 5, expires_at=datetime.now(UTC) + timedelta(seconds=100))
    give(alice, 1)
    time_passes(200)
    assert balance(alice) == (1, 0, 0)
    with pytest.raises(ledger.InsufficientCredits), transaction.atomic():
        reserve(alice, video, 2)
    assert ledger.expire_due() == 1
    assert booked(alice)[-1] == ("lapse", "available", "breakage", 5)
    assert ledger.expire_due() == 0


def test_credits_returned_to_an_expired_grant_expire_at_once(
    alice, video, give, time_passes
):
    give(alice, 5, expires_at=datetime.now(UTC) + timedelta(seconds=100))
    job_id = reserve(alice, video, 5)
    time_passes(200)
    ledger.release(account_id=alice.pk, app=video, job_id=job_id, actor="test")
    assert [kind for kind, *_ in booked(alice)][-2:] == ["release", "lapse"]
    assert balance(alice) == (0, 0, 0)


def test_a_money_key_moves_credits_once_for_ever(alice, video, give):
    give(alice, 20)
    call = {
        "account_id": alice.pk,
        "app": video,
        "actor": "t",
        "reason": "image",
        "key": "consume:1",
    }
    first = ledger.consume(amount_micro=4 * MICRO, **call)
    again = ledger.consume(amount_micro=4 * MICRO, **call)
    assert (first.created, again.created) == (True, False)
    assert again.movement_id == first.movement_id
    assert again.first_balance_micro == 16 * MICRO
    assert balance(alice) == (16, 0, 0)


def test_a_money_key_of_another_account_is_refused(alice, bob, video, give):
    give(alice, 20)
    give(bob, 20)
    call = {"app": video, "amount_micro": MICRO, "actor": "t", "reason": "", "key": "k"}
    ledger.consume(account_id=alice.pk, **call)
    with pytest.raises(ledger.DuplicateKey), transaction.atomic():
        ledger.consume(account_id=bob.pk, **call)
    assert balance(bob) == (20, 0, 0)


def test_each_bulk_charge_has_its_own_outcome(alice, bob, video, give):
    give(alice, 5)
    give(bob, 1)
    charge = ledger.Charge
    answers = ledger.consume_many(
        app=video,
        actor="t",
        charges=[
            charge(bob.pk, 2 * MICRO, "too much", "b1"),
            charge(alice.pk, 3 * MICRO, "image", "a1"),
            charge(alice.pk, 3 * MICRO, "twin", "a1"),
            charge(alice.pk, 3 * MICRO, "too much by now", "a2"),
            charge(bob.pk, 1 * MICRO, "image", "b2"),
        ],
    )
    outcomes = [
        answer.created if isinstance(answer, ledger.Taken) else answer.code
        for answer in answers
    ]
    refused = "insufficient_credits"
    assert outcomes == [refused, True, False, refused, True]
    assert (balance(alice), balance(bob)) == ((2, 0, 0), (0, 0, 0))


def test_staff_adjust_both_ways_but_never_below_0(alice, video, give):
    adjust = {"account_id": alice.pk, "actor": "staff:1", "reason": "goodwill: sorry"}
    ledger.adjust(amount_micro=7 * MICRO, key="1", **adjust)
    ledger.adjust(amount_micro=-2 * MICRO, key="2", **adjust)
    assert balance(alice) == (5, 0, 0)
    with pytest.raises(ledger.InsufficientCredits):
        ledger.adjust(amount_micro=-6 * MICRO, key="3", **adjust)
    assert balance(alice) == (5, 0, 0)


def test_an_estimate_of_0_books_nothing_and_settles_once(alice, video, give):
    give(alice, 5)
    job_id = reserve(alice, video, 0)
    assert len(booked(alice)) == 1
    assert settle(alice, video, job_id, 2).charged_micro == 2 * MICRO
    with pytest.raises(ledger.AlreadyResolved):
        settle(alice, video, job_id, 2)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE wallet_entry SET amount_micro = amount_micro + 1",
        "DELETE FROM wallet_entry",
        "DELETE FROM wallet_draw",
        "DELETE FROM wallet_grant",
        "DELETE FROM wallet_reservation",
        "DELETE FROM wallet_wallet",
    ],
)
def test_the_database_refuses_to_change_history(alice, video, give, change):
    give(alice, 5)
    reserve(alice, video, 1)
    with (
        pytest.raises(IntegrityError, match="immutable"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(change)


@pytest.mark.parametrize("table", [Entry, Draw, Grant, Wallet])
def test_truncate_needs_a_test_database_and_its_setting(table):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL focus.allow_truncate = off")
    with (
        pytest.raises(IntegrityError, match="TRUNCATE"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"TRUNCATE {table._meta.db_table} CASCADE")


def test_the_clock_can_be_moved_only_in_a_test_database():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT prosrc FROM pg_proc WHERE proname = 'now' AND"
            " pronamespace = 'ledger'::regnamespace"
        )
        (source,) = cursor.fetchone()
    assert "current_database() LIKE 'test\\_%'" in source


def test_a_consequence_of_consuming_is_written_with_it_or_not_at_all(
    alice, video, give
):
    give(alice, 5)

    def consume(key, amount):
        return ledger.consume(
            account_id=alice.pk,
            app=video,
            amount_micro=amount * MICRO,
            actor="test",
            reason="image",
            key=key,
            then=ledger.Consequence(
                "INSERT INTO django_content_type (app_label, model)"
                " SELECT %(label)s, moved.movement_id::text FROM moved"
                " WHERE moved.outcome = 'taken'",
                {"label": "usage"},
            ),
        )

    taken = consume("one", 3)
    assert not consume("one", 3).created
    with pytest.raises(ledger.InsufficientCredits):
        consume("two", 3)
    written = ContentType.objects.filter(app_label="usage")
    assert [row.model for row in written] == [str(taken.movement_id)]

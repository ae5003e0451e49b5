"""Each invariant reports the corruption that it exists for."""

import pytest
from django.core.management import CommandError, call_command

from focus.money import MICRO
from jobs import extensions, lifecycle, tool_purchases, usage
from payments.models import ClawedPiece, Payment
from tests.rewriting import corrupt
from wallet import anchors, invariants, ledger
from wallet.invariants import EVERY

pytestmark = pytest.mark.django_db

# Corruptions that a bug or a writer in the database makes with the triggers off.
CORRUPTIONS = {
    "entries are numbered from 1 without a gap": (
        "DELETE FROM wallet_entry WHERE seq = 2"
    ),
    "balances after each entry follow from the entries": (
        "UPDATE wallet_entry SET available_after = available_after + 1 WHERE seq = 2"
    ),
    "the wallet shows what its last entry left": (
        "UPDATE wallet_wallet SET available_micro = available_micro + 1"
    ),
    "the chain of hashes is whole": (
        "UPDATE wallet_entry SET reason = 'nothing to see here' WHERE seq = 2"
    ),
    "time runs forward along the chain": (
        "UPDATE wallet_entry SET booked_at = booked_at - interval '1 day' WHERE seq = 2"
    ),
    "hashes of an older version come first": (
        "UPDATE wallet_entry SET hash_version = NULL WHERE seq = 2"
    ),
    "an entry names what it must": (
        "UPDATE wallet_entry SET job_id = NULL WHERE kind = 'charge'"
    ),
    "what happens once has a money key": (
        "UPDATE wallet_entry SET key = NULL WHERE kind = 'claw_back'"
    ),
    "a settlement's money key is its job's": (
        "UPDATE wallet_entry SET key = 'settle:another' WHERE kind = 'charge'"
    ),
    "a text is what its entries were told": (
        "UPDATE wallet_text SET said = 'nothing to see here'"
    ),
    "a chain contains its anchored heads": (
        "UPDATE wallet_anchoredhead SET head = sha256('x')"
    ),
    "available is what the grants have left": (
        "UPDATE wallet_grant SET remaining_micro = remaining_micro - 1"
    ),
    "reserved is what open reservations hold": (
        "UPDATE wallet_reservation SET status = 'released', resolved_at = now()"
        " WHERE status = 'open'"
    ),
    "a grant has left what no movement drew": (
        "UPDATE wallet_draw SET amount_micro = amount_micro + 1"
    ),
    "every grant was booked once, in full": (
        "UPDATE wallet_entry SET kind = 'adjust' WHERE kind = 'grant'"
    ),
    "a reservation's draws add up to what it took": (
        "UPDATE wallet_reservation SET amount_micro = amount_micro + 1"
    ),
    "a reservation is resolved once, and wholly": (
        "UPDATE wallet_entry SET resolves = false WHERE kind = 'charge'"
    ),
    "a movement drew what it took": (
        "UPDATE wallet_draw SET movement_id = gen_random_uuid()"
    ),
    "an app spends its own and unrestricted grants only": (
        "UPDATE wallet_grant SET app_id = gen_random_uuid()"
    ),
    "a grant is as it was given": "UPDATE wallet_grant SET priority = 0",
    "a reservation ends when it was to end": (
        "UPDATE wallet_reservation SET expires_at = expires_at + interval '1 day'"
    ),
    "an extension lengthens an open reservation, within limits": (
        "UPDATE wallet_entry SET terms = 'until then' WHERE seq = (SELECT min(seq) FROM"
        " wallet_entry WHERE kind = 'extend')"
    ),
    "a wallet's overdraft limit was set by an entry": (
        "UPDATE wallet_wallet SET overdraft_limit_micro = 1000000000"
    ),
    "a budget's limit was set by an entry": "DELETE FROM wallet_budget",
    "a budget is in the month of its last spending": (
        "UPDATE wallet_budget SET month = month - 1, spent_micro = 0"
    ),
    "Stripe pays for paid credits, and for no others": (
        "UPDATE wallet_entry SET debit = 'stripe' WHERE kind = 'grant'"
    ),
    "revenue goes to the entry's own app": (
        "UPDATE wallet_entry SET credit = 'revenue:tool' WHERE kind = 'charge'"
    ),
    "a reservation serves one app and wallet": (
        "UPDATE wallet_entry SET app_id = (SELECT id FROM accounts_app WHERE slug ="
        " 'tool') WHERE kind = 'charge'"
    ),
    "a purchase lacks what its claw-backs took": (
        "UPDATE wallet_grant SET clawed_back_micro = 0 WHERE clawed_back_micro > 0"
    ),
    "a claw-back took what it says, and so much was reinstated": (
        "UPDATE wallet_draw SET returned_micro = 1 WHERE claw_back_id IS NOT NULL"
    ),
    "credits come back only from claw-backs": (
        "UPDATE wallet_entry SET kind = 'reinstate' WHERE kind = 'grant'"
    ),
    "a budget counts what its month's entries spent": (
        "UPDATE wallet_budget SET spent_micro = spent_micro - 1"
    ),
    "credits only ever come from outside": (
        "UPDATE wallet_entry SET debit = 'reserved' WHERE kind = 'grant'"
    ),
    "a job was charged what its entries took": (
        "UPDATE jobs_job SET charged_micro = charged_micro - 1 WHERE charged_micro > 0"
    ),
    "a job's amounts add up": (
        "UPDATE jobs_job SET uncovered_micro = 1 WHERE status = 'completed'"
    ),
    "a job's reservation is its own, and in its status": (
        "UPDATE jobs_job SET status = 'expired', settled_at = now()"
        " WHERE status = 'completed'"
    ),
    "usage is what its movement took": (
        "UPDATE jobs_usage SET amount_micro = amount_micro + 1"
    ),
    "a paid purchase took its price": (
        "UPDATE jobs_toolpurchase SET price_micro = price_micro + 1"
    ),
    "a job's credits are reserved until its own end": (
        "UPDATE jobs_job SET expires_at = expires_at + interval '1 day'"
    ),
    "every consume has its usage or its purchase": "DELETE FROM jobs_usage",
    "every entry of a job has its job": "DELETE FROM jobs_job",
    "an app takes nothing after its consent ended": (
        "UPDATE accounts_consent SET revoked_at = granted_at"
    ),
    "every reservation has its job": "DELETE FROM jobs_job",
    "paid credits have their payment": "DELETE FROM payments_payment",
    "a payment has given its credits": (
        "UPDATE payments_payment SET granted_micro = granted_micro + 1"
    ),
    "credits go back to Stripe with a payment's money": (
        "DELETE FROM payments_clawedpiece"
    ),
}


@pytest.fixture
def history(alice, video, tool, give, grant_consent):
    """One job settled, one extended twice, within a budget; a purchase refunded, and
    disputed (the dispute was won); a tool bought, and used.
    """
    give(alice, 60)
    grant_consent(alice, video)
    ledger.set_budget(account_id=alice.pk, app=video, limit_micro=15 * MICRO)
    payment = Payment.objects.create(
        account=alice,
        stripe_session_id="cs_1",
        amount_cents=1000,
        granted_micro=10 * MICRO,
    )
    ledger.grant(
        account_id=alice.pk,
        amount_micro=10 * MICRO,
        source="purchase",
        category="paid",
        actor="test",
        key=payment.money_key,
    )
    for _reversal in ("refund", "dispute"):
        piece = ClawedPiece.objects.create(payment=payment, amount_micro=4 * MICRO)
        ledger.claw_back(
            account_id=alice.pk,
            purchase_key=payment.money_key,
            amount_micro=4 * MICRO,
            actor="test",
            reason="",
            key=piece.money_key,
        )
    ledger.reinstate(
        account_id=alice.pk,
        claw_back_key=piece.money_key,
        actor="test",
        reason="",
        key=f"{piece.money_key}:returned",
    )
    jobs = [
        lifecycle.start(
            account_id=alice.pk,
            app=video,
            action="render",
            estimate_micro=5 * MICRO,
            metadata={},
            actor="test",
        ).job
        for _ in range(2)
    ]
    lifecycle.complete(
        job_id=jobs[0].pk,
        caller=lifecycle.Caller("test", account_id=alice.pk),
        cost_micro=3 * MICRO,
        metadata={},
    )
    for seconds in (7200, 9000):
        extensions.extend(
            job_id=jobs[1].pk,
            caller=lifecycle.Caller("test", account_id=alice.pk),
            ttl_seconds=seconds,
        )
    checkout = tool_purchases.create(user=alice, tool_id=tool.pk)
    tool_purchases.process(user=alice, purchase_id=checkout.pk)
    usage.charge(
        account_id=alice.pk,
        app=tool,
        amount_micro=MICRO,
        reason="one image",
        key="one",
        actor="test",
    )
    anchors.make()


def test_each_invariant_has_its_corruption():
    assert list(CORRUPTIONS) == list(EVERY)


def test_a_correct_ledger_breaks_none(history):
    assert invariants.violations(among=EVERY) == []
    call_command("check_ledger")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE jobs_job SET app_id = gen_random_uuid()",
        "UPDATE jobs_job SET account_id = (SELECT id FROM accounts_user WHERE"
        " email = 'bob@example.com')",
        "UPDATE jobs_job SET refunded_micro = 0 WHERE status = 'completed'",
        "UPDATE jobs_job SET actual_cost_micro = 9 WHERE status = 'completed'",
        "UPDATE wallet_draw SET returned_micro = 0",
    ],
)
def test_a_job_paid_by_another_account_is_noticed(history, bob, give, change):
    give(bob, 1)
    corrupt(change)
    assert invariants.violations(among=EVERY)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_noticed(history, alice, name):
    corrupt(CORRUPTIONS[name])
    found = {violation.invariant for violation in invariants.violations(among=EVERY)}
    assert name in found


def test_the_command_names_the_wallet_and_fails(history, alice, capsys):
    corrupt(CORRUPTIONS["the chain of hashes is whole"])
    with pytest.raises(CommandError, match="does not add up in 1 wallet"):
        call_command("check_ledger")
    assert str(alice.pk) in capsys.readouterr().err


def test_a_rewritten_history_with_recomputed_hashes_breaks_the_head(history):
    """The chain detects an edit; the head detects an edit with recomputed hashes."""
    last = "WHERE seq = (SELECT max(seq) FROM wallet_entry)"
    corrupt(f"UPDATE wallet_entry SET actor = 'user:mallory' {last}")
    corrupt(f"UPDATE wallet_entry e SET hash = ledger.entry_hash(e) {last}")
    details = [violation.detail for violation in invariants.violations()]
    head, anchored = "the head is not the hash of the last entry", "anchor"
    assert details[0] == head
    assert [detail.split()[0] for detail in details[1:]] == [anchored]

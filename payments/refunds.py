"""Refunds and disputes: the credits of a payment follow its money.

One function, `apply_reversals`, serves every event, in any order and any number of
times:

1. Read the status of all refunds and disputes of the payment at Stripe.
2. Compute how many credits must be taken back in total.
3. Move the difference to what was taken back before, by the ledger's claw-backs.

So these cases need no code of their own: a partial refund, a failed refund, and a
refund and a dispute of one charge. An open dispute takes the credits back, a won one
returns them, and a lost one does not.
"""

from collections.abc import Iterable, Sequence

from django.db import transaction
from django.db.models.functions import Now

from focus.errors import DomainError
from payments import gateway, packs
from payments.models import ClawedPiece, Payment, Reversal
from payments.plans import invoices
from payments.stripe_objects import StripeReversal
from payments.topups import outcomes as topup_outcomes
from wallet import ledger

# Another worker may change the same payment meanwhile; then the reading is repeated.
ATTEMPTS = 5


class PaymentContended(DomainError):
    """Other workers changed the payment at each attempt. The caller may retry."""

    code = "request_in_flight"
    retry_after_seconds = 1


def apply_reversals(*, payment_intent: str) -> str:
    """Make the credits of a payment agree with its refunds and disputes.

    Returns the outcome in words. An unknown payment is looked up at Stripe and credited
    first. Calls Stripe, so no transaction may be open. Raises `PaymentContended`.
    """
    payment = payment_of(payment_intent=payment_intent)
    if payment is None:
        return "not a payment of ours"
    for _ in range(ATTEMPTS):
        payment.refresh_from_db(fields=["version"])
        # Read Stripe after the version: a write in between then voids this reading.
        stands = gateway.reversals(payment_intent=payment_intent)
        outcome = _apply(payment, stands)
        if outcome is not None:
            return outcome
    raise PaymentContended("The payment is being worked on.")


def due_back_micro(
    *, granted_micro: int, amount_cents: int, reversed_cents: int
) -> int:
    """Return how many micro-credits must be taken back for the reversed cents.

    The share is proportional and rounded down, so that parts never add up to more. The
    last cent takes the rest. The result is never more than `granted_micro`.
    """
    if reversed_cents >= amount_cents:
        return granted_micro if reversed_cents else 0
    return granted_micro * reversed_cents // amount_cents


def payment_of(*, payment_intent: str) -> Payment | None:
    """Return the payment of a payment intent, and credit it if it is new to us.

    Returns None if the payment is not ours. Calls Stripe for an unknown one.
    """
    known = Payment.objects.filter(stripe_payment_intent_id=payment_intent)
    if payment := known.first():
        return payment
    # The refund's event may arrive before the payment's, or that one may be lost.
    if session := gateway.session_paid_by(payment_intent=payment_intent):
        packs.record(session=session)
    elif invoice := gateway.invoice_paid_by(payment_intent=payment_intent):
        invoices.record(invoice=invoice)
    else:
        topup_outcomes.record(intent=gateway.intent(intent_id=payment_intent))
    return known.first()


def matches_stripe(*, payment: Payment, stands: Iterable[StripeReversal]) -> bool:
    """Whether the credits taken back agree with Stripe's refunds and disputes."""
    return payment.taken_back_micro == _due_back(payment, stands)


@transaction.atomic
def _apply(payment: Payment, stands: Sequence[StripeReversal]) -> str | None:
    """Write the reversals and move the credits. Locks the payment.

    Returns None if the payment changed after `stands` was read.
    """
    row = Payment.objects.select_for_update(no_key=True).get(pk=payment.pk)
    if row.version != payment.version:
        return None
    for each in stands:
        Reversal.objects.update_or_create(
            stripe_id=each.id,
            defaults={
                "payment": row,
                "kind": each.kind,
                "amount_cents": each.amount_cents,
                "status": each.status,
                "counts": each.counts,
                "changed_at": Now(),
            },
        )
    before = row.taken_back_micro
    due = _due_back(row, stands)
    row.version += 1
    why = ", ".join(f"{each.kind} {each.id} {each.status}" for each in stands)
    _give_back_down_to(row, due, why)
    if due > row.taken_back_micro:
        _take_back(row, due - row.taken_back_micro, why)
    row.save(update_fields=["version", "taken_back_micro"])
    return f"taken back {before} → {due} of {row.granted_micro} micro-credits"


def _due_back(payment: Payment, stands: Iterable[StripeReversal]) -> int:
    return due_back_micro(
        granted_micro=payment.granted_micro,
        amount_cents=payment.amount_cents,
        reversed_cents=sum(each.amount_cents for each in stands if each.counts),
    )


def _take_back(payment: Payment, amount_micro: int, why: str) -> None:
    piece = ClawedPiece.objects.create(payment=payment, amount_micro=amount_micro)
    ledger.claw_back(
        account_id=payment.account_id,
        purchase_key=payment.money_key,
        amount_micro=amount_micro,
        actor="system:stripe",
        reason=why[:400],
        key=piece.money_key,
    )
    payment.taken_back_micro += amount_micro


def _give_back_down_to(payment: Payment, due: int, why: str) -> None:
    """Reinstate claw-backs until at most `due` micro-credits are taken back.

    The ledger reinstates whole claw-backs: the one that fits, else the newest ones.
    That may be too much; the caller then claws the difference back.
    """
    pieces = list(
        ClawedPiece.objects.filter(payment=payment, given_back=False).order_by("-pk")
    )
    while payment.taken_back_micro > due:
        over = payment.taken_back_micro - due
        piece = next((it for it in pieces if it.amount_micro == over), pieces[0])
        pieces.remove(piece)
        ledger.reinstate(
            account_id=payment.account_id,
            claw_back_key=piece.money_key,
            actor="system:stripe",
            reason=why[:400],
            key=f"{piece.money_key}:returned",
        )
        ClawedPiece.objects.filter(pk=piece.pk).update(given_back=True)
        payment.taken_back_micro -= piece.amount_micro

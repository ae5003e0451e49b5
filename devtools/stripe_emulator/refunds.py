"""Refunds of charges."""

from . import charges
from .errors import Refused
from .events import emit
from .state import Obj, State, checked_metadata, merge_metadata


def create(state: State, params: Obj) -> Obj:
    charge = _charge(state, params)
    if charge["status"] != "succeeded":
        raise Refused(
            f"Charge {charge['id']} has not been paid.", code="charge_not_refundable"
        )
    left = charge["amount"] - charge["amount_refunded"]
    if left == 0:
        raise Refused(
            f"Charge {charge['id']} has already been refunded.",
            code="charge_already_refunded",
        )
    if state.note(charge).get("charged_back"):
        raise Refused(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
        )
    amount = params.get("amount", left)
    if amount < 1:
        raise Refused(
            "Invalid positive integer", code="parameter_invalid_integer", param="amount"
        )
    if amount > left:
        raise Refused(
            f"Refund amount (${amount / 100:.2f}) is greater than unrefunded amount on "
            f"charge (${left / 100:.2f})",
            param="amount",
        )
    refund = state.add(
        "refund",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        metadata=checked_metadata(params.get("metadata")),
        payment_intent=charge["payment_intent"],
        reason=params.get("reason"),
        status="succeeded",
        destination_details={
            "card": {
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        },
    )
    row = charges.balance_row(state, refund, -amount, "refund")
    refund["balance_transaction"] = row["id"]
    before = {"amount_refunded": charge["amount_refunded"]}
    charge["amount_refunded"] += amount
    if charge["amount_refunded"] == charge["amount"]:
        before["refunded"] = False
        charge["refunded"] = True
    emit(state, "charge.refunded", charge, before)
    emit(state, "refund.created", refund)
    return refund


def _charge(state: State, params: Obj) -> Obj:
    if "charge" in params:
        charge = state.get("charge", params["charge"], param="charge")
        intent = params.get("payment_intent", charge["payment_intent"])
        if intent != charge["payment_intent"]:
            raise Refused("The charge is not of that payment intent.", param="charge")
        return charge
    if "payment_intent" not in params:
        raise Refused(
            "One of the following params should be provided for this request: "
            "payment_intent or charge.",
            code="parameter_missing",
        )
    intent = state.get(
        "payment_intent", params["payment_intent"], param="payment_intent"
    )
    if intent["status"] != "succeeded":
        raise Refused(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to "
            "refund.",
            param="payment_intent",
        )
    return state.objects[intent["latest_charge"]]


def update(state: State, name: str, params: Obj) -> Obj:
    refund = state.get("refund", name)
    before = state.change(
        refund, metadata=merge_metadata(refund, params.get("metadata"))
    )
    if before:
        emit(state, "refund.updated", refund, before)
        emit(state, "charge.refund.updated", refund, before)
    return refund


def fail(state: State, refund: Obj) -> None:
    """Fail a refund that the customer's bank returns. The money is the shop's again."""
    if refund["status"] != "succeeded":
        raise Refused(f"This refund is {refund['status']}.")
    row = charges.balance_row(state, refund, refund["amount"], "refund_failure")
    refund.update(
        status="failed",
        failure_reason="lost_or_stolen_card",
        failure_balance_transaction=row["id"],
    )
    charge = state.objects[refund["charge"]]
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    before = {"status": "succeeded"}
    emit(state, "refund.updated", refund, before)
    emit(state, "charge.refund.updated", refund, before)
    emit(state, "refund.failed", refund)

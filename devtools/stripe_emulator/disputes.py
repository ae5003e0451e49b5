"""Disputes: the bank withdraws a charge, and reinstates it if the shop wins."""

from . import charges
from .errors import Refused
from .events import emit
from .spec.document import skeleton
from .state import Obj, State, merge_metadata

FEE = 1500
WEEK = 7 * 86400


def open_dispute(
    state: State,
    name: str,
    *,
    amount: int | None = None,
    reason: str = "fraudulent",
    inquiry: bool = False,
) -> Obj:
    """Dispute a charge, by its id or its payment intent's.

    An inquiry withdraws no money.
    """
    found = state.objects.get(name, {})
    if found.get("object") == "payment_intent":
        name = found["latest_charge"]
    charge = state.get("charge", name)
    if charge["status"] != "succeeded" or charge["disputed"]:
        raise Refused("Only a paid charge without a dispute can be disputed.")
    amount = charge["amount"] if amount is None else amount
    if not 0 < amount <= charge["amount"]:
        raise Refused("A dispute is over part of its charge.", param="amount")
    details = skeleton("dispute_payment_method_details_card")
    details.update(brand="visa", case_type="chargeback", network_reason_code="10")
    dispute = state.add(
        "dispute",
        amount=amount,
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        evidence_details={
            **skeleton("dispute_evidence_details"),
            "due_by": state.now() + WEEK,
        },
        is_charge_refundable=inquiry,
        payment_intent=charge["payment_intent"],
        payment_method_details={"card": details, "type": "card"},
        reason=reason,
        status="warning_needs_response" if inquiry else "needs_response",
    )
    charge["disputed"] = True
    emit(state, "charge.dispute.created", dispute)
    if not inquiry:
        _withdraw(state, dispute)
    return dispute


def _withdraw(state: State, dispute: Obj) -> None:
    row = charges.balance_row(state, dispute, -dispute["amount"], "adjustment", fee=FEE)
    dispute["balance_transactions"].append(dict(row))
    state.note(state.objects[dispute["charge"]])["charged_back"] = True
    emit(state, "charge.dispute.funds_withdrawn", dispute)


def update(state: State, name: str, params: Obj) -> Obj:
    dispute = state.get("dispute", name)
    _must_be_open(dispute)
    changes: Obj = {}
    if "metadata" in params:
        changes["metadata"] = merge_metadata(dispute, params["metadata"])
    if params.get("submit"):
        warning = dispute["status"].startswith("warning")
        changes["status"] = "warning_under_review" if warning else "under_review"
    before = state.change(dispute, **changes)
    if before:
        emit(state, "charge.dispute.updated", dispute, before)
    return dispute


def _must_be_open(dispute: Obj) -> None:
    if dispute["status"] in ("won", "lost", "warning_closed"):
        raise Refused("This dispute is already closed.", param="dispute")


def close(state: State, dispute: Obj, *, won: bool) -> Obj:
    """Decide a dispute. A won inquiry is closed; a lost one becomes a chargeback."""
    _must_be_open(dispute)
    inquiry = dispute["status"].startswith("warning")
    if inquiry and not won:
        dispute.update(status="needs_response", is_charge_refundable=False)
        emit(
            state,
            "charge.dispute.updated",
            dispute,
            {"status": "warning_needs_response"},
        )
        _withdraw(state, dispute)
        return dispute
    if inquiry:
        dispute["status"] = "warning_closed"
        emit(state, "charge.dispute.closed", dispute)
        return dispute
    dispute.update(status="won" if won else "lost")
    if won:
        row = charges.balance_row(state, dispute, dispute["amount"], "adjustment")
        dispute["balance_transactions"].append(dict(row))
        emit(state, "charge.dispute.funds_reinstated", dispute)
    emit(state, "charge.dispute.closed", dispute)
    return dispute

"""Charges of payment intents: success, decline, or a request to authenticate."""

from .errors import Refused, declined
from .events import emit
from .spec.document import skeleton
from .state import Obj, State

MESSAGES = {
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "authentication_required": (
        "Your card was declined. This transaction requires authentication."
    ),
}


def unexpected(intent: Obj, what: str, why: str) -> Refused:
    """Return Stripe's refusal of an operation that the intent's status forbids."""
    return Refused(
        f"You cannot {what} this PaymentIntent {why}.",
        code="payment_intent_unexpected_state",
        payment_intent=dict(intent),
    )


def outlook(state: State, method: Obj, *, off_session: bool) -> str:
    """Return a charge's result: ok, processing, authentication_required, a decline."""
    note = state.note(method)
    return str(note.get("next") or note.get("later" if off_session else "now") or "ok")


def pay(
    state: State,
    intent: Obj,
    method: Obj,
    *,
    off_session: bool,
    authenticated: bool = False,
) -> Refused | None:
    """Charge an intent. Returns a decline, because a raise would undo its objects."""
    result = outlook(state, method, off_session=off_session)
    state.note(method).pop("next", None)
    intent["last_payment_error"] = None
    if result == "authentication_required" and authenticated:
        result = "ok"
    if result == "authentication_required" and not off_session:
        _require_action(state, intent, method)
        return None
    if result == "processing":
        charge = _charge(state, intent, method, "pending")
        intent.update(
            status="processing", payment_method=method["id"], latest_charge=charge["id"]
        )
        emit(state, "charge.pending", charge)
        emit(state, "payment_intent.processing", intent)
        return None
    if result == "ok":
        charge = _charge(state, intent, method, "succeeded")
        intent.update(payment_method=method["id"], latest_charge=charge["id"])
        _succeeded(state, intent, charge)
        return None
    charge = _charge(state, intent, method, "failed", result)
    intent["latest_charge"] = charge["id"]
    return _failed(state, intent, method, charge, result)


def _require_action(state: State, intent: Obj, method: Obj) -> None:
    intent.update(
        status="requires_action",
        payment_method=method["id"],
        next_action={
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"type": "three_d_secure_redirect"},
        },
    )
    emit(state, "payment_intent.requires_action", intent)


def _charge(
    state: State, intent: Obj, method: Obj, status: str, decline: str | None = None
) -> Obj:
    fields = {
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if status == "succeeded" else 0,
        "amount_refunded": 0,
        "billing_details": dict(method["billing_details"]),
        "calculated_statement_descriptor": "FOCUS EMULATOR",
        "captured": status != "failed",
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "metadata": dict(intent["metadata"]),
        "paid": status == "succeeded",
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": _details(method),
        "receipt_email": intent["receipt_email"],
        "status": status,
        "fraud_details": {},
        "outcome": {
            **skeleton("charge_outcome"),
            "network_status": "declined_by_network"
            if decline
            else "approved_by_network",
            "reason": decline,
            "risk_level": "normal",
            "seller_message": "Payment complete."
            if not decline
            else "The bank did not return any further details with this decline.",
            "type": "issuer_declined" if decline else "authorized",
        },
    }
    if decline:
        fields["failure_code"] = _code(decline)
        fields["failure_message"] = MESSAGES.get(decline, "Your card was declined.")
    charge = state.add("charge", **fields)
    for hidden in ("refunds", "level3"):
        charge.pop(hidden, None)
    if status == "succeeded":
        _into_balance(state, charge)
    return charge


def _into_balance(state: State, charge: Obj) -> None:
    fee = round(charge["amount"] * 0.029) + 30
    row = balance_row(state, charge, charge["amount"], "charge", fee=fee)
    charge["balance_transaction"] = row["id"]


def balance_row(
    state: State, source: Obj, amount: int, kind: str, *, fee: int = 0
) -> Obj:
    fees = [
        {
            "amount": fee,
            "application": None,
            "currency": source["currency"],
            "description": "Stripe processing fees",
            "type": "stripe_fee",
        }
    ]
    return state.add(
        "balance_transaction",
        amount=amount,
        available_on=state.now() + 2 * 86400,
        balance_type="payments",
        currency=source["currency"],
        fee=fee,
        fee_details=fees if fee else [],
        net=amount - fee,
        reporting_category="dispute" if kind == "adjustment" else kind,
        source=source["id"],
        status="pending",
        type=kind,
    )


def _details(method: Obj) -> Obj:
    kind = method["type"]
    details = skeleton(f"payment_method_details_{kind}")
    shared = {k: v for k, v in method[kind].items() if k in details}
    details.update(shared)
    if kind == "card":
        details["network"] = method["card"]["brand"]
    return {"type": kind, kind: details}


def _succeeded(state: State, intent: Obj, charge: Obj) -> None:
    intent.update(
        status="succeeded",
        amount_received=intent["amount"],
        next_action=None,
        last_payment_error=None,
    )
    method = state.objects[charge["payment_method"]]
    if intent["setup_future_usage"] and intent["customer"] and not method["customer"]:
        method["customer"] = intent["customer"]
        emit(state, "payment_method.attached", method)
    emit(state, "charge.succeeded", charge)
    emit(state, "payment_intent.succeeded", intent)
    if reason := state.note(method).get("disputed"):
        from . import disputes

        disputes.open_dispute(state, charge["id"], reason=reason)


def _code(decline: str) -> str:
    return decline if decline == "expired_card" else "card_declined"


def _failed(
    state: State, intent: Obj, method: Obj, charge: Obj, decline: str
) -> Refused:
    refused = refusal(state, intent, method, charge, decline)
    emit(state, "charge.failed", charge)
    emit(state, "payment_intent.payment_failed", intent)
    return refused


def refusal(
    state: State, intent: Obj, method: Obj, charge: Obj | None, decline: str
) -> Refused:
    message = MESSAGES.get(decline, "Your card was declined.")
    code = _code(decline)
    if decline == "authentication_required":
        code = "authentication_required"
    refused = declined(
        code,
        decline,
        message,
        **({"charge": charge["id"]} if charge else {}),
        payment_method=dict(method),
    )
    intent.update(
        status="requires_payment_method",
        payment_method=None,
        next_action=None,
        last_payment_error=dict(refused.error),
    )
    refused.error["payment_intent"] = dict(intent)
    return refused


def authenticate(state: State, intent: Obj, *, passed: bool) -> None:
    """Complete or fail the bank's authentication of an intent."""
    if intent["status"] != "requires_action":
        raise unexpected(intent, "authenticate", f"when it is {intent['status']}")
    method = state.objects[intent["payment_method"]]
    if passed:
        pay(state, intent, method, off_session=False, authenticated=True)
        return
    refused = declined(
        "payment_intent_authentication_failure",
        "authentication_required",
        "The provided PaymentMethod has failed authentication. You can provide "
        "payment_method_data or a new PaymentMethod to attempt to fulfill this "
        "PaymentIntent again.",
        payment_method=dict(method),
    )
    refused.error.pop("decline_code")
    intent.update(
        status="requires_payment_method",
        payment_method=None,
        next_action=None,
        last_payment_error=dict(refused.error),
    )
    emit(state, "payment_intent.payment_failed", intent)


def settle(state: State, intent: Obj, *, paid: bool) -> None:
    """Let a pending bank debit succeed (`paid`), or fail."""
    if intent["status"] != "processing":
        raise unexpected(intent, "settle", f"when it is {intent['status']}")
    charge = state.objects[intent["latest_charge"]]
    if paid:
        charge.update(status="succeeded", paid=True, amount_captured=charge["amount"])
        _into_balance(state, charge)
        _succeeded(state, intent, charge)
        return
    charge.update(
        status="failed",
        failure_code="insufficient_funds",
        failure_message="The customer's account has insufficient funds.",
    )
    method = state.objects[charge["payment_method"]]
    _failed(state, intent, method, charge, "insufficient_funds")

"""Payment intents: the operations of the API."""

from typing import Any

from . import charges, customers
from .errors import Refused
from .events import changed, emit
from .state import Obj, State, checked_metadata, merge_metadata, new_id

MINIMUM = 50  # cents; Stripe's is near it in most currencies
OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


def create(state: State, params: Obj) -> Obj:
    if params["amount"] < MINIMUM:
        raise Refused(
            "Amount must be at least $0.50 usd", code="amount_too_small", param="amount"
        )
    if params.get("capture_method", "automatic") not in (
        "automatic",
        "automatic_async",
    ):
        raise Refused("The emulator captures at once.", param="capture_method")
    if params.get("off_session") and not params.get("confirm"):
        raise Refused(
            "The parameter `off_session` can only be passed with `confirm` set to "
            "true.",
            param="off_session",
        )
    customer = params.get("customer")
    if customer:
        customers.live(state, customer, param="customer")
    if name := params.get("payment_method"):
        _usable(state, customer, name)
    intent = new(
        state,
        amount=params["amount"],
        currency=params["currency"].lower(),
        customer=customer,
        description=params.get("description"),
        metadata=checked_metadata(params.get("metadata")),
        receipt_email=params.get("receipt_email"),
        setup_future_usage=params.get("setup_future_usage"),
        payment_method_types=params.get("payment_method_types", ["card"]),
    )
    if automatic := params.get("automatic_payment_methods"):
        intent["automatic_payment_methods"] = {
            "allow_redirects": automatic.get("allow_redirects", "always"),
            "enabled": automatic["enabled"],
        }
    if not params.get("confirm"):
        if name:
            intent["payment_method"] = customers.method(state, name)["id"]
            intent["status"] = "requires_confirmation"
        return intent
    if not name:
        raise _needs_method(intent)
    return _confirmed(state, intent, params)


def new(state: State, **fields: Any) -> Obj:
    """Create an intent without checks, and emit its event."""
    intent = state.add(
        "payment_intent",
        amount_received=0,
        amount_capturable=0,
        amount_details={"tip": {}},
        capture_method="automatic_async",
        confirmation_method="automatic",
        status="requires_payment_method",
        **{"payment_method_types": ["card"], **fields},
    )
    intent["client_secret"] = f"{intent['id']}_secret_{new_id('', 16)}"
    if "payment_method_options" in intent:
        intent["payment_method_options"] = None
    emit(state, "payment_intent.created", intent)
    return intent


def _usable(state: State, customer: str | None, name: str) -> None:
    """Refuse a payment method that belongs to another customer."""
    if name in customers.TOKENS:
        return
    owner = state.get("payment_method", name, param="payment_method")["customer"]
    if owner and owner != customer:
        raise Refused(
            "The provided PaymentMethod cannot be attached. To reuse a PaymentMethod, "
            "you must attach it to a Customer first, and name that Customer here.",
            param="payment_method",
        )


def _needs_method(intent: Obj) -> Refused:
    return Refused(
        "You cannot confirm this PaymentIntent because it's missing a payment method. "
        "You can either update the PaymentIntent with a payment method and then "
        "confirm it again, or confirm it again directly with a payment method or "
        "ConfirmationToken.",
        code="payment_intent_unexpected_state",
        payment_intent=dict(intent),
    )


def confirm(state: State, name: str, params: Obj) -> Obj:
    intent = state.get("payment_intent", name)
    if intent["status"] == "succeeded":
        raise charges.unexpected(intent, "confirm", "because it has already succeeded")
    if intent["status"] not in OPEN:
        raise charges.unexpected(
            intent, "confirm", f"with a status of {intent['status']}"
        )
    given = params.get("payment_method") or intent["payment_method"]
    if not given:
        raise _needs_method(intent)
    _usable(state, intent["customer"], given)
    return _confirmed(state, intent, {**params, "payment_method": given})


def _confirmed(state: State, intent: Obj, params: Obj) -> Obj:
    method = customers.method(state, params["payment_method"])
    off_session = params.get("off_session") not in (None, False, "false")
    refused = charges.pay(state, intent, method, off_session=off_session)
    if refused:
        raise refused
    if intent["status"] == "requires_action" and params.get("error_on_requires_action"):
        intent["status"] = "requires_payment_method"
        raise charges.refusal(state, intent, method, None, "authentication_required")
    return intent


def update(state: State, name: str, params: Obj) -> Obj:
    intent = state.get("payment_intent", name)
    fields = {k: v for k, v in params.items() if k != "expand"}
    if "amount" in fields and intent["status"] not in OPEN:
        raise charges.unexpected(
            intent, "update", f"with a status of {intent['status']}"
        )
    if "metadata" in fields:
        fields["metadata"] = merge_metadata(intent, fields["metadata"])
    state.change(intent, **fields)
    return intent


def cancel(state: State, name: str, params: Obj) -> Obj:
    intent = state.get("payment_intent", name)
    if intent["status"] not in OPEN:
        raise charges.unexpected(
            intent, "cancel", f"with a status of {intent['status']}"
        )
    changed(
        state,
        "payment_intent.canceled",
        intent,
        status="canceled",
        canceled_at=state.now(),
        cancellation_reason=params.get("cancellation_reason"),
        next_action=None,
    )
    return intent

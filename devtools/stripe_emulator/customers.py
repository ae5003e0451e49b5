"""Customers and their payment methods."""

from typing import Any

from .errors import Refused, declined, required
from .events import changed, emit
from .spec.document import skeleton
from .state import Obj, State, checked_metadata, merge_metadata, new_id

# Stripe's test cards: the result of a charge on-session (`now`), and off-session
# (`later`).
CARDS: dict[str, Obj] = {
    "4242424242424242": {"brand": "visa"},
    "5555555555554444": {"brand": "mastercard"},
    "4000000000000002": {"now": "generic_decline", "later": "generic_decline"},
    "4000000000009995": {"now": "insufficient_funds", "later": "insufficient_funds"},
    "4000000000000069": {"now": "expired_card", "later": "expired_card"},
    "4000000000000341": {"later": "generic_decline"},
    "4000002500003155": {"now": "authentication_required"},
    "4000002760003184": {
        "now": "authentication_required",
        "later": "authentication_required",
    },
    "4000000000000259": {"disputed": "fraudulent"},
}
TOKENS = {
    "pm_card_visa": "4242424242424242",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_authenticationRequiredOnSetup": "4000002500003155",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_createDispute": "4000000000000259",
}
SEPA = "DE89370400440532013000"


def create(state: State, params: Obj) -> Obj:
    customer = state.add(
        "customer",
        name=params.get("name") or None,
        email=params.get("email"),
        phone=params.get("phone") or None,
        description=params.get("description"),
        metadata=checked_metadata(params.get("metadata")),
        balance=0,
        delinquent=False,
        invoice_prefix=new_id("", 8).upper(),
        next_invoice_sequence=1,
        preferred_locales=[],
        tax_exempt="none",
        invoice_settings=skeleton("invoice_setting_customer_setting"),
    )
    for hidden in ("sources", "subscriptions", "tax", "tax_ids", "cash_balance"):
        customer.pop(hidden, None)  # present only if a request expands them
    emit(state, "customer.created", customer)
    return customer


def update(state: State, name: str, params: Obj) -> Obj:
    customer = live(state, name)
    fields = {k: v or None for k, v in params.items() if k != "expand"}
    if "metadata" in params:
        fields["metadata"] = merge_metadata(customer, params["metadata"])
    if settings := params.get("invoice_settings"):
        default = settings.get("default_payment_method")
        if default:
            of_customer(state, customer["id"], default, "invoice_settings")
        merged = {**customer["invoice_settings"], "default_payment_method": default}
        fields["invoice_settings"] = merged
    changed(state, "customer.updated", customer, **fields)
    return customer


def delete(state: State, name: str) -> Obj:
    from . import subscriptions

    customer = live(state, name)
    for subscription in list(state.each("subscription", customer=name)):
        if subscription["status"] not in ("canceled", "incomplete_expired"):
            subscriptions.end(state, subscription)
    for method in list(state.each("payment_method", customer=name)):
        detach(state, method["id"])
    emit(state, "customer.deleted", customer)
    gone = {"id": name, "object": "customer", "deleted": True}
    state.objects[name] = gone
    return gone


def live(state: State, name: str, *, param: str | None = None) -> Obj:
    customer = state.get("customer", name, param=param)
    if customer.get("deleted"):
        if param is None:
            return customer
        raise Refused(
            f"No such customer: '{name}'", code="resource_missing", param=param
        )
    return customer


# --- payment methods --------------------------------------------------------------


def new_card(state: State, number: str, *, email: str | None = None) -> Obj:
    """Create the payment method of a test card. Raises `Refused` for other numbers."""
    digits = "".join(c for c in number if c.isdigit())
    manner = CARDS.get(digits)
    if manner is None:
        raise declined(
            "card_declined",
            "test_mode_live_card",
            "Your card was declined. Your request was in test mode, but used a non "
            "test card. For a list of valid test cards, visit: "
            "https://stripe.com/docs/testing.",
        )
    card = skeleton("payment_method_card")
    brand = manner.get("brand", "visa")
    card.update(
        brand=brand,
        display_brand=brand,
        checks={
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "pass",
        },
        country="US",
        exp_month=12,
        exp_year=2034,
        fingerprint=f"emulated{digits[-8:]}",
        funding="credit",
        last4=digits[-4:],
        networks={"available": [brand], "preferred": None},
        three_d_secure_usage={"supported": True},
    )
    return _new_method(state, "card", card, email, manner)


def new_sepa_debit(state: State, *, email: str | None = None) -> Obj:
    """Create a bank debit, which stays pending until the control API settles it."""
    debit = skeleton("payment_method_sepa_debit")
    debit.update(
        bank_code=SEPA[4:12],
        country=SEPA[:2],
        last4=SEPA[-4:],
        branch_code="",
        fingerprint="emulatedsepa0000",
        generated_from={"charge": None, "setup_attempt": None},
    )
    return _new_method(
        state, "sepa_debit", debit, email, {"now": "processing", "later": "processing"}
    )


def _new_method(
    state: State, kind: str, details: Obj, email: str | None, manner: Obj
) -> Obj:
    method = state.add(
        "payment_method",
        type=kind,
        allow_redisplay="unspecified",
        customer=None,
        billing_details={**skeleton("billing_details"), "email": email},
    )
    method[kind] = details
    for other in {"card", "sepa_debit"} - {kind}:
        method.pop(other, None)
    state.note(method).update(manner)
    return method


def method(state: State, name: str, *, param: str | None = "payment_method") -> Obj:
    """Return a payment method, or a new one for a test name such as pm_card_visa."""
    if name in TOKENS:
        return new_card(state, TOKENS[name])
    return state.get("payment_method", name, param=param)


def of_customer(state: State, customer: str | None, name: str, param: str) -> Obj:
    found = method(state, name, param=param)
    if found["customer"] not in (None, customer):
        raise Refused(
            f"The payment method {name} belongs to another customer.", param=param
        )
    return found


def attach(state: State, name: str, params: Obj) -> Obj:
    customer = live(state, required(params, "customer"), param="customer")
    found = method(state, name, param=None)
    if found["customer"] and found["customer"] != customer["id"]:
        raise Refused(
            "The payment method you provided has already been attached to a customer.",
            code="payment_method_already_attached",
        )
    decline = state.note(found).get("now")
    if decline and decline not in ("authentication_required", "processing"):
        raise declined("card_declined", decline, "Your card was declined.")
    if found["customer"] is None:
        found["customer"] = customer["id"]
        emit(state, "payment_method.attached", found)
    return found


def detach(state: State, name: str) -> Obj:
    found = state.get("payment_method", name)
    owner = found["customer"]
    if owner is None:
        raise Refused(
            "The payment method you provided is not attached to a customer so "
            "detachment is impossible."
        )
    settings = state.objects[owner].get("invoice_settings", {})
    if settings.get("default_payment_method") == name:
        settings["default_payment_method"] = None
    changed(state, "payment_method.detached", found, customer=None)
    return found


def default_method(state: State, customer: Obj, own: Any = None) -> Obj | None:
    """Return an invoice's payment method: the subscription's, else the customer's."""
    name = own or (customer.get("invoice_settings") or {}).get("default_payment_method")
    return state.objects.get(name) if name else None

"""Stripe's paths, in the spelling of its document, and the function of each."""

import re
from collections.abc import Callable
from typing import Any

from . import (
    catalog,
    checkout,
    customers,
    disputes,
    intents,
    invoices,
    portal,
    refunds,
    subscribing,
    subscriptions,
)
from .errors import Refused
from .reading import page
from .state import Obj, State

Action = Callable[[State, list[str], Obj], Obj]


def one(kind: str) -> Action:
    return lambda state, names, _: state.get(kind, names[0])


def listing(kind: str, *filters: str, **by_default: Any) -> Action:
    """Return an action that lists a kind of object, filtered by equal members."""

    def action(state: State, _names: list[str], params: Obj) -> Obj:
        equal = {name: params[name] for name in filters if name in params}
        rows = list(state.each(kind, **equal))
        return page(state, rows, params, f"/v1/{by_default['at']}")

    return action


# Stripe's own figure, from its API reference.
MOST_TYPES = 20


def events(state: State, _names: list[str], params: Obj) -> Obj:
    if len(params.get("types", [])) > MOST_TYPES:
        raise Refused(
            f"Invalid array: `types` takes at most {MOST_TYPES} values.", param="types"
        )
    if "types" in params and "type" in params:
        raise Refused(
            "You may only specify one of these parameters: type, types.", param="types"
        )
    wanted = params.get("types") or [params.get("type", "*")]
    patterns = [re.compile(re.escape(w).replace(r"\*", ".*") + "$") for w in wanted]
    rows = [e for e in state.each("event") if any(p.match(e["type"]) for p in patterns)]
    return page(state, rows, params, "/v1/events")


def prices(state: State, _names: list[str], params: Obj) -> Obj:
    names = ("active", "currency", "product", "type")
    equal = {name: params[name] for name in names if name in params}
    keys = params.get("lookup_keys")
    rows = [
        row
        for row in state.each("price", **equal)
        if not keys or row["lookup_key"] in keys
    ]
    return page(state, rows, params, "/v1/prices")


def session_list(state: State, _names: list[str], params: Obj) -> Obj:
    names = ("customer", "payment_intent", "subscription", "status")
    equal = {name: params[name] for name in names if name in params}
    email = params.get("customer_details", {}).get("email")
    rows = [
        row
        for row in state.each("checkout.session", **equal)
        if not email or (row["customer_details"] or {}).get("email") == email
    ]
    return page(state, rows, params, "/v1/checkout/sessions")


def subscription_list(state: State, _names: list[str], params: Obj) -> Obj:
    status = params.get("status")
    rows = [
        row
        for row in state.each("subscription")
        if row["customer"] == params.get("customer", row["customer"])
        and (
            status == "all"
            or row["status"] == status
            or (status is None and row["status"] != "canceled")
            or (status == "ended" and row["status"] in subscriptions.ENDED)
        )
    ]
    if wanted := params.get("price"):
        rows = [
            r for r in rows if wanted in [i["price"]["id"] for i in r["items"]["data"]]
        ]
    return page(state, rows, params, "/v1/subscriptions")


def item_list(state: State, _names: list[str], params: Obj) -> Obj:
    found = state.get("subscription", params["subscription"], param="subscription")
    return page(state, found["items"]["data"], params, "/v1/subscription_items")


def invoice_list(state: State, _names: list[str], params: Obj) -> Obj:
    names = ("customer", "status", "collection_method")
    equal = {name: params[name] for name in names if name in params}
    wanted = params.get("subscription")
    rows = [
        row
        for row in state.each("invoice", **equal)
        if wanted is None
        or row["parent"]["subscription_details"]["subscription"] == wanted
    ]
    return page(state, rows, params, "/v1/invoices")


def invoice_payments(state: State, _names: list[str], params: Obj) -> Obj:
    names = ("invoice", "status")
    equal = {name: params[name] for name in names if name in params}
    intent = params.get("payment", {}).get("payment_intent")
    rows = [
        row
        for row in state.each("invoice_payment", **equal)
        if intent is None or row["payment"].get("payment_intent") == intent
    ]
    return page(state, rows, params, "/v1/invoice_payments")


def line_items(state: State, names: list[str], params: Obj) -> Obj:
    session = state.get("checkout.session", names[0])
    rows = state.note(session)["line_items"]
    return page(state, rows, params, f"/v1/checkout/sessions/{names[0]}/line_items")


def invoice_lines(state: State, names: list[str], params: Obj) -> Obj:
    rows = invoices.lines_of(state, names[0])
    return page(state, rows, params, f"/v1/invoices/{names[0]}/lines")


def pay_invoice(state: State, names: list[str], params: Obj) -> Obj:
    invoice = state.get("invoice", names[0])
    if invoice["status"] != "open":
        raise Refused(
            f"Invoice is already {invoice['status']}", code="invoice_not_editable"
        )
    method = None
    if name := params.get("payment_method"):
        method = customers.of_customer(
            state, invoice["customer"], name, "payment_method"
        )
    if refused := subscriptions.charge_invoice(state, invoice, method):
        raise refused
    return invoice


def methods_of(state: State, names: list[str], params: Obj) -> Obj:
    customers.live(state, names[0])
    return _methods(state, params | {"customer": names[0]})


def _methods(state: State, params: Obj) -> Obj:
    equal = {name: params[name] for name in ("customer", "type") if name in params}
    if "customer" not in equal:
        raise Refused(
            "Missing required param: customer.",
            code="parameter_missing",
            param="customer",
        )
    rows = list(state.each("payment_method", **equal))
    return page(state, rows, params, "/v1/payment_methods")


def update_charge(state: State, names: list[str], params: Obj) -> Obj:
    from .events import changed
    from .state import merge_metadata

    charge = state.get("charge", names[0])
    fields = {k: v for k, v in params.items() if k != "expand"}
    if "metadata" in fields:
        fields["metadata"] = merge_metadata(charge, fields["metadata"])
    changed(state, "charge.updated", charge, **fields)
    return charge


def close_dispute(state: State, names: list[str], _params: Obj) -> Obj:
    return disputes.close(state, state.get("dispute", names[0]), won=False)


def end_subscription(state: State, names: list[str], params: Obj) -> Obj:
    return subscriptions.end(state, state.get("subscription", names[0]), params)


def making(create: Callable[[State, Obj], Obj]) -> Action:
    return lambda state, _names, params: create(state, params)


def changing(change: Callable[[State, str, Obj], Obj]) -> Action:
    return lambda state, names, params: change(state, names[0], params)


BALANCE = listing("balance_transaction", "source", "type", at="balance_transactions")
ACTIONS: dict[tuple[str, str], Action] = {
    ("get", "/v1/balance_transactions"): BALANCE,
    ("get", "/v1/balance_transactions/{id}"): one("balance_transaction"),
    ("post", "/v1/billing_portal/sessions"): making(portal.create),
    ("get", "/v1/charges"): listing(
        "charge", "customer", "payment_intent", at="charges"
    ),
    ("get", "/v1/charges/{charge}"): one("charge"),
    ("post", "/v1/charges/{charge}"): update_charge,
    ("get", "/v1/checkout/sessions"): session_list,
    ("post", "/v1/checkout/sessions"): making(checkout.create),
    ("get", "/v1/checkout/sessions/{session}"): one("checkout.session"),
    ("post", "/v1/checkout/sessions/{session}"): changing(checkout.update),
    ("post", "/v1/checkout/sessions/{session}/expire"): changing(
        lambda state, name, _: checkout.expire(state, name)
    ),
    ("get", "/v1/checkout/sessions/{session}/line_items"): line_items,
    ("get", "/v1/customers"): listing("customer", "email", at="customers"),
    ("post", "/v1/customers"): making(customers.create),
    ("get", "/v1/customers/{customer}"): one("customer"),
    ("post", "/v1/customers/{customer}"): changing(customers.update),
    ("delete", "/v1/customers/{customer}"): changing(
        lambda state, name, _: customers.delete(state, name)
    ),
    ("get", "/v1/customers/{customer}/payment_methods"): methods_of,
    ("get", "/v1/disputes"): listing(
        "dispute", "charge", "payment_intent", at="disputes"
    ),
    ("get", "/v1/disputes/{dispute}"): one("dispute"),
    ("post", "/v1/disputes/{dispute}"): changing(disputes.update),
    ("post", "/v1/disputes/{dispute}/close"): close_dispute,
    ("get", "/v1/events"): events,
    ("get", "/v1/events/{id}"): one("event"),
    ("get", "/v1/invoice_payments"): invoice_payments,
    ("get", "/v1/invoices"): invoice_list,
    ("get", "/v1/invoices/{invoice}"): one("invoice"),
    ("get", "/v1/invoices/{invoice}/lines"): invoice_lines,
    ("post", "/v1/invoices/{invoice}/pay"): pay_invoice,
    ("get", "/v1/payment_intents"): listing(
        "payment_intent", "customer", at="payment_intents"
    ),
    ("post", "/v1/payment_intents"): making(intents.create),
    ("get", "/v1/payment_intents/{intent}"): one("payment_intent"),
    ("post", "/v1/payment_intents/{intent}"): changing(intents.update),
    ("post", "/v1/payment_intents/{intent}/cancel"): changing(intents.cancel),
    ("post", "/v1/payment_intents/{intent}/confirm"): changing(intents.confirm),
    ("get", "/v1/payment_methods"): lambda state, _, params: _methods(state, params),
    ("get", "/v1/payment_methods/{payment_method}"): one("payment_method"),
    ("post", "/v1/payment_methods/{payment_method}/attach"): changing(customers.attach),
    ("post", "/v1/payment_methods/{payment_method}/detach"): changing(
        lambda state, name, _: customers.detach(state, name)
    ),
    ("get", "/v1/prices"): prices,
    ("post", "/v1/prices"): making(catalog.create_price),
    ("get", "/v1/prices/{price}"): one("price"),
    ("post", "/v1/prices/{price}"): changing(catalog.update_price),
    ("get", "/v1/products"): listing("product", "active", at="products"),
    ("post", "/v1/products"): making(catalog.create_product),
    ("get", "/v1/products/{id}"): one("product"),
    ("post", "/v1/products/{id}"): changing(catalog.update_product),
    ("get", "/v1/refunds"): listing("refund", "charge", "payment_intent", at="refunds"),
    ("post", "/v1/refunds"): making(refunds.create),
    ("get", "/v1/refunds/{refund}"): one("refund"),
    ("post", "/v1/refunds/{refund}"): changing(refunds.update),
    ("get", "/v1/subscription_items"): item_list,
    ("get", "/v1/subscriptions"): subscription_list,
    ("post", "/v1/subscriptions"): making(subscribing.create),
    ("get", "/v1/subscriptions/{subscription_exposed_id}"): one("subscription"),
    ("post", "/v1/subscriptions/{subscription_exposed_id}"): changing(
        subscribing.update
    ),
    ("delete", "/v1/subscriptions/{subscription_exposed_id}"): end_subscription,
}
PATTERNS = [
    (method, re.compile(re.sub(r"\{\w+\}", "([A-Za-z0-9_]+)", path) + "$"), path)
    for method, path in ACTIONS
]


def find(method: str, address: str) -> tuple[str, list[str]]:
    """Return the document's path of a request's path, and the ids in it."""
    for verb, pattern, path in PATTERNS:
        if verb == method and (match := pattern.match(address)):
            return path, list(match.groups())
    raise Refused(
        f"Unrecognized request URL ({method.upper()}: {address}). Please see "
        "https://stripe.com/docs or we can help at https://support.stripe.com/.",
        status=404,
    )

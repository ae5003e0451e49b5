"""Subscriptions: the operations of the API."""

import copy
from typing import Any

from . import customers, invoices, subscriptions
from .errors import Refused, required
from .events import emit
from .state import Obj, State, checked_metadata, merge_metadata

# Stripe's own figure.
MOST_ITEMS = 20


def create(state: State, params: Obj) -> Obj:
    customer = customers.live(state, required(params, "customer"), param="customer")
    _refuse_unsupported(params)
    if (
        params.get("collection_method", "charge_automatically")
        != "charge_automatically"
    ):
        raise Refused("The emulator charges automatically.", param="collection_method")
    items = params.get("items") or []
    if not items:
        raise Refused(
            "Missing required param: items.", code="parameter_missing", param="items"
        )
    if len(items) > MOST_ITEMS:
        raise Refused(f"A subscription has at most {MOST_ITEMS} items.", param="items")
    lines = [
        (
            price_of(state, item.get("price"), f"items[{i}][price]"),
            item.get("quantity", 1),
        )
        for i, item in enumerate(items)
    ]
    own = params.get("default_payment_method")
    if own:
        customers.of_customer(state, customer["id"], own, "default_payment_method")
    method = customers.default_method(state, customer, own)
    if method is None and sum(price["unit_amount"] * n for price, n in lines):
        raise Refused(
            "This customer has no attached payment source or default payment method. "
            "Please consider adding a default payment method. For more information, "
            "visit https://stripe.com/docs/billing/subscriptions/payment-methods-setting"
            "#payment-method-priority.",
            code="resource_missing",
        )
    subscription = subscriptions.start(
        state,
        customer=customer["id"],
        method=method,
        lines=lines,
        metadata=checked_metadata(params.get("metadata")),
        description=params.get("description"),
        present=False,
        cancel_at_period_end=params.get("cancel_at_period_end", False),
    )
    subscription["default_payment_method"] = own
    return subscription


def _refuse_unsupported(params: Obj) -> None:
    behaviour = params.get("payment_behavior", "allow_incomplete")
    if behaviour not in ("allow_incomplete", "error_if_incomplete"):
        raise Refused(
            "The emulator supports allow_incomplete and error_if_incomplete.",
            param="payment_behavior",
        )


def price_of(state: State, name: Any, param: str) -> Obj:
    if not name:
        raise Refused(
            f"Missing required param: {param}.", code="parameter_missing", param=param
        )
    price = state.get("price", name, param=param)
    if not price["active"]:
        raise Refused(
            f"The price specified is inactive: {name}",
            code="price_inactive",
            param=param,
        )
    if not price["recurring"]:
        raise Refused(
            "The price specified is set to `type=one_time` but this field only accepts "
            "prices with `type=recurring`.",
            param=param,
        )
    return price


def update(state: State, name: str, params: Obj) -> Obj:
    subscription = state.get("subscription", name)
    if subscription["status"] in subscriptions.ENDED:
        raise Refused(
            "A canceled subscription can only update its cancellation_details and "
            "metadata.",
        )
    _refuse_unsupported(params)
    before = copy.deepcopy(subscription)
    if own := params.get("default_payment_method"):
        customers.of_customer(
            state, subscription["customer"], own, "default_payment_method"
        )
    changes: Obj = {
        k: params[k] for k in ("default_payment_method", "description") if k in params
    }
    if "metadata" in params:
        changes["metadata"] = merge_metadata(subscription, params["metadata"])
    if "cancel_at_period_end" in params:
        changes |= _at_period_end(state, subscription, params)
    refused = None
    if params.get("items"):
        refused = _change_items(state, subscription, params)
    subscription.update(changes)
    previous = {k: v for k, v in before.items() if subscription[k] != v}
    if previous:
        emit(state, "customer.subscription.updated", subscription, previous)
    if refused:
        raise refused
    return subscription


def _at_period_end(state: State, subscription: Obj, params: Obj) -> Obj:
    ends = params["cancel_at_period_end"]
    details = params.get("cancellation_details", {})
    stored_details = {
        "comment": details.get("comment") or None,
        "feedback": details.get("feedback") or None,
        "reason": "cancellation_requested" if ends else None,
    }
    items = subscription["items"]["data"]
    return {
        "cancel_at_period_end": ends,
        "cancel_at": items[0]["current_period_end"] if ends else None,
        "canceled_at": state.now() if ends else None,
        "cancellation_details": stored_details,
    }


def _change_items(state: State, subscription: Obj, params: Obj) -> Refused | None:
    """Change one item's price or quantity, and prorate the difference."""
    data = subscription["items"]["data"]
    given = params["items"]
    if len(given) != 1 or len(data) != 1 or given[0].get("deleted"):
        raise Refused("The emulator changes the one item there is.", param="items")
    wanted, item = given[0], data[0]
    if "id" not in wanted:
        raise Refused(
            "The emulator replaces an item: name its id, or Stripe would add one.",
            param="items[0][id]",
        )
    if wanted["id"] != item["id"]:
        raise Refused(
            f"No such subscription item: '{wanted['id']}'",
            code="resource_missing",
            param="items[0][id]",
        )
    old = copy.deepcopy(item)
    price = state.objects[item["price"]["id"]]
    if wanted.get("price", price["id"]) != price["id"]:
        price = price_of(state, wanted["price"], "items[0][price]")
    item.update(price=dict(price), quantity=wanted.get("quantity", item["quantity"]))
    new_cycle = _rhythm(old["price"]) != _rhythm(price)
    now = state.now()
    if new_cycle:
        item.update(
            current_period_start=now,
            current_period_end=subscriptions.period_end(now, price["recurring"]),
        )
        subscription["billing_cycle_anchor"] = now
    how = params.get("proration_behavior", "create_prorations")
    rows = (
        [] if how == "none" else _prorations(state, subscription, old, item, new_cycle)
    )
    if not new_cycle and how != "always_invoice":
        state.note(subscription).setdefault("pending_lines", []).extend(rows)
        return None
    rows += subscriptions.cycle(state, subscription) if new_cycle else []
    if not rows:
        return None
    return _invoice_change(state, subscription, old, rows, params)


def _invoice_change(
    state: State, subscription: Obj, old: Obj, rows: list[Obj], params: Obj
) -> Refused | None:
    invoice = invoices.create(state, subscription, "subscription_update", rows)
    subscription["latest_invoice"] = invoice["id"]
    invoices.finalize(state, invoice)
    method = subscriptions.method_of(state, subscription)
    refused = invoices.pay(state, invoice, method, present=False)
    if invoice["status"] == "open":
        if params.get("payment_behavior") == "error_if_incomplete":
            invoices.void(state, invoice)
            subscription["items"]["data"][0] = old
            return refused
        subscription["status"] = "past_due"
    return None


def _rhythm(price: Obj) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]


def _prorations(
    state: State, subscription: Obj, old: Obj, item: Obj, new_cycle: bool
) -> list[Obj]:
    """Return lines for the unused time of the old price, and the rest of the new."""
    now = state.now()
    begin, end = old["current_period_start"], old["current_period_end"]
    share = max(0, end - max(now, begin)) / (end - begin)
    rows = []
    for which, sign, word in ((old, -1, "Unused"), (item, 1, "Remaining")):
        if new_cycle and sign == 1:
            continue
        name = state.objects[which["price"]["product"]]["name"]
        amount = which["price"]["unit_amount"] * which["quantity"]
        rows.append(
            invoices.line(
                state,
                subscription,
                which,
                amount=sign * round(amount * share),
                description=f"{word} time on {name}",
                period=(now, max(now, end)),
                proration=True,
            )
        )
    return rows

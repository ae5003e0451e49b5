"""Checkout Sessions: the API creates them, the hosted page completes them."""

from urllib.parse import urlsplit

from . import catalog, charges, customers, intents, subscriptions
from .errors import Refused
from .events import emit
from .spec.document import skeleton
from .state import Obj, State, checked_metadata, merge_metadata

HALF_HOUR, DAY = 1800, 86400


def create(state: State, params: Obj) -> Obj:
    mode = params.get("mode")
    if mode not in ("payment", "subscription"):
        raise Refused(
            "The emulator supports the modes payment and subscription.", param="mode"
        )
    _check(state, mode, params)
    before = set(state.objects)
    try:
        lines = [
            _line(state, mode, line, f"line_items[{i}]")
            for i, line in enumerate(params["line_items"])
        ]
        currency, total = _total(lines, params)
    except Refused:
        state.forget_since(before)
        raise
    session = state.add("checkout.session", **_fields(state, mode, params))
    session.update(
        amount_subtotal=total,
        amount_total=total,
        currency=currency,
        url=f"{state.base_url}/c/pay/{session['id']}",
    )
    if total == 0:
        session["payment_status"] = "no_payment_required"
    session.pop("line_items", None)
    note = state.note(session)
    note["line_items"] = lines
    for name in ("payment_intent_data", "subscription_data"):
        note[name] = params.get(name, {})
    return session


def _check(state: State, mode: str, params: Obj) -> None:
    if not params.get("line_items"):
        raise Refused(
            f"You must pass `line_items` in `{mode}` mode.",
            code="parameter_missing",
            param="line_items",
        )
    if params.get("ui_mode", "hosted") not in ("hosted", "hosted_page"):
        raise Refused("The emulator has the hosted page only.", param="ui_mode")
    if "success_url" not in params:
        raise Refused(
            "You must provide `success_url` when `ui_mode` is `hosted_page`.",
            code="parameter_missing",
            param="success_url",
        )
    for name in ("success_url", "cancel_url"):
        if name in params and urlsplit(params[name]).scheme not in ("http", "https"):
            raise Refused(
                "Not a valid URL. URLs must begin with http or https.",
                code="url_invalid",
                param=name,
            )
    other = "subscription_data" if mode == "payment" else "payment_intent_data"
    if other in params:
        raise Refused(f"You can not pass `{other}` in `{mode}` mode.", param=other)
    if mode == "subscription" and "customer_creation" in params:
        raise Refused(
            "`customer_creation` can only be used in `payment` and `setup` mode.",
            param="customer_creation",
        )
    if "customer" in params and "customer_email" in params:
        raise Refused(
            "You may only specify one of these parameters: customer, customer_email.",
            param="customer_email",
        )
    if "customer" in params:
        customers.live(state, params["customer"], param="customer")
    if "@" not in params.get("customer_email", "@"):
        raise Refused(
            f"Invalid email address: {params['customer_email']}",
            code="email_invalid",
            param="customer_email",
        )
    for kind in params.get("payment_method_types", []):
        if kind not in ("card", "sepa_debit"):
            raise Refused(
                "The emulator takes card and sepa_debit.", param="payment_method_types"
            )
    if (params.get("automatic_tax") or {}).get("enabled"):
        raise Refused("The emulator computes no taxes.", param="automatic_tax")
    if len(params.get("client_reference_id", "")) > 200:
        raise Refused(
            "Invalid string: must be at most 200 characters",
            param="client_reference_id",
        )
    checked_metadata(params.get("metadata"))
    at = params.get("expires_at")
    # Stripe measures by its own clock, and tolerates a second or two.
    if at is not None and at < state.now() + HALF_HOUR - 5:
        raise Refused(
            "The `expires_at` timestamp must be at least 30 minutes from Checkout "
            "Session creation.",
            param="expires_at",
        )
    if at is not None and at > state.now() + DAY + 5:
        raise Refused(
            "The `expires_at` timestamp must be less than 24 hours from Checkout "
            "Session creation.",
            param="expires_at",
        )


def _line(state: State, mode: str, line: Obj, where: str) -> Obj:
    if ("price" in line) == ("price_data" in line):
        raise Refused(
            f"You must specify either `price` or `price_data` for {where}.", param=where
        )
    if "price" in line:
        price = state.get("price", line["price"], param=f"{where}[price]")
        if not price["active"]:
            raise Refused(
                f"The price specified is inactive. This field only accepts active "
                f"prices: {price['id']}",
                param=f"{where}[price]",
            )
    else:
        price = catalog.inline_price(state, line["price_data"], f"{where}[price_data]")
    if mode == "payment" and price["recurring"]:
        raise Refused(
            "You specified `payment` mode but passed a recurring price. Either switch "
            "to `subscription` mode or use only one-time prices.",
            param=where,
        )
    if mode == "subscription" and not price["recurring"]:
        raise Refused(
            "The emulator takes recurring prices only in `subscription` mode.",
            param=where,
        )
    quantity = line.get("quantity")
    if quantity is None or quantity < 1:
        raise Refused(
            "Quantity is required. Add `quantity` to " + where,
            code="parameter_missing",
            param=f"{where}[quantity]",
        )
    amount = price["unit_amount"] * quantity
    product = state.objects[price["product"]]
    return state.make(
        "item",
        amount_subtotal=amount,
        amount_total=amount,
        currency=price["currency"],
        description=product["name"],
        price=dict(price),
        quantity=quantity,
    )


def _total(lines: list[Obj], params: Obj) -> tuple[str, int]:
    currencies = {line["currency"] for line in lines}
    if len(currencies) > 1:
        raise Refused("All prices must be in one currency.", param="line_items")
    currency = currencies.pop()
    if params.get("currency", currency).lower() != currency:
        raise Refused(f"The prices are not in {params['currency']}.", param="currency")
    total = sum(line["amount_total"] for line in lines)
    if 0 < total < intents.MINIMUM:
        raise Refused(
            "The Checkout Session's total amount due must add up to at least $0.50 "
            f"{currency}",
            code="amount_too_small",
        )
    return currency, total


def _fields(state: State, mode: str, params: Obj) -> Obj:
    customer = params.get("customer")
    email = params.get("customer_email")
    if customer:
        email = state.objects[customer]["email"]
    creation = None
    if not customer and mode == "payment":
        creation = params.get("customer_creation", "if_required")
    details = {
        **skeleton("payment_pages_checkout_session_customer_details"),
        "email": email,
        "tax_exempt": "none",
    }
    return {
        "allow_promotion_codes": params.get("allow_promotion_codes"),
        "billing_address_collection": params.get("billing_address_collection"),
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "client_secret": None,
        "customer": customer,
        "customer_creation": creation,
        "customer_details": details if email else None,
        "customer_email": params.get("customer_email"),
        "expires_at": params.get("expires_at", state.now() + DAY),
        "locale": params.get("locale"),
        "metadata": checked_metadata(params.get("metadata")),
        "mode": mode,
        "payment_method_collection": params.get("payment_method_collection", "always")
        if mode == "subscription"
        else "if_required",
        "payment_method_options": {},
        "payment_method_types": params.get("payment_method_types", ["card"]),
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "status": "open",
        "submit_type": params.get("submit_type"),
        "success_url": params["success_url"],
        "total_details": {
            "amount_discount": 0,
            "amount_shipping": 0,
            "amount_tax": 0,
        },
        "ui_mode": "hosted_page",
    }


def update(state: State, name: str, params: Obj) -> Obj:
    session = state.get("checkout.session", name)
    if "metadata" in params:
        session["metadata"] = merge_metadata(session, params["metadata"])
    return session


def expire(state: State, name: str) -> Obj:
    session = state.get("checkout.session", name)
    if session["status"] != "open":
        raise Refused(
            'Only Checkout Sessions with a status in ["open"] can be expired. This '
            f"Checkout Session has a status of `{session['status']}`."
        )
    session.update(status="expired", url=None)
    emit(state, "checkout.session.expired", session)
    return session


def submit(
    state: State,
    session: Obj,
    *,
    card: str | None,
    email: str,
    name: str = "",
    authenticated: bool | None = None,
) -> Refused | None:
    """Pay with a test card, or by bank debit if `card` is None.

    Returns a refusal for the page to show. `authenticated` is the result of the bank's
    authentication; while the bank waits for it, the session's note `asks` is set.
    """
    if session["status"] != "open":
        return Refused(f"This session is {session['status']}.")
    note = state.note(session)
    if authenticated is None:
        try:
            method = (
                customers.new_card(state, card, email=email)
                if card
                else customers.new_sepa_debit(state, email=email)
            )
        except Refused as refused:
            return refused
        note.update(method=method["id"], email=email, name=name)
    method = state.objects[note["method"]]
    asked = (
        charges.outlook(state, method, off_session=False) == "authentication_required"
    )
    if asked and authenticated is None and session["amount_total"]:
        note["asks"] = True
        return None
    note.pop("asks", None)
    if authenticated is False:
        return Refused("We are unable to authenticate your payment method.")
    if session["mode"] == "payment":
        return _pay_once(state, session, method)
    return _subscribe(state, session, method)


def _customer(state: State, session: Obj, *, needed: bool) -> str | None:
    if session["customer"] or not needed:
        return str(session["customer"]) if session["customer"] else None
    note = state.note(session)
    given = {"email": note["email"], "name": note["name"]}
    session["customer"] = customers.create(state, given)["id"]
    return str(session["customer"])


def _pay_once(state: State, session: Obj, method: Obj) -> Refused | None:
    note = state.note(session)
    data = note["payment_intent_data"]
    later = data.get("setup_future_usage")
    needed = session["customer_creation"] == "always" or bool(later)
    customer = _customer(state, session, needed=needed)
    if session["amount_total"] == 0:
        _complete(state, session, "no_payment_required")
        return None
    intent = state.objects.get(note.get("intent", ""))
    if intent is None:
        intent = intents.new(
            state,
            amount=session["amount_total"],
            currency=session["currency"],
            customer=customer,
            description=data.get("description"),
            metadata=checked_metadata(data.get("metadata")),
            receipt_email=data.get("receipt_email"),
            setup_future_usage=later,
            payment_method_types=session["payment_method_types"],
        )
        note["intent"] = intent["id"]
    refused = charges.pay(state, intent, method, off_session=False, authenticated=True)
    if refused:
        return refused
    session["payment_intent"] = intent["id"]
    paid = intent["status"] == "succeeded"
    _complete(state, session, "paid" if paid else "unpaid")
    return None


def _subscribe(state: State, session: Obj, method: Obj) -> Refused | None:
    """Start a subscription. A declined card starts none, as on Stripe's page."""
    result = charges.outlook(state, method, off_session=False)
    total = session["amount_total"]
    if total and result not in ("ok", "processing", "authentication_required"):
        state.note(method).pop("next", None)
        message = charges.MESSAGES.get(result, "Your card was declined.")
        return Refused(message, status=402, kind="card_error", code="card_declined")
    note = state.note(session)
    customer = _customer(state, session, needed=True)
    method["customer"] = customer
    emit(state, "payment_method.attached", method)
    subscription = subscriptions.start(
        state,
        customer=str(customer),
        method=method,
        lines=[(line["price"], line["quantity"]) for line in note["line_items"]],
        metadata=checked_metadata(note["subscription_data"].get("metadata")),
        description=note["subscription_data"].get("description"),
        present=True,
    )
    invoice = state.objects[subscription["latest_invoice"]]
    session.update(subscription=subscription["id"], invoice=invoice["id"])
    paid = invoice["status"] == "paid"
    done = "paid" if total else "no_payment_required"
    _complete(state, session, done if paid else "unpaid")
    return None


def _complete(state: State, session: Obj, payment_status: str) -> None:
    note = state.note(session)
    session["customer_details"] = {
        **skeleton("payment_pages_checkout_session_customer_details"),
        "email": note["email"],
        "name": note["name"] or None,
        "tax_exempt": "none",
        "tax_ids": [],
    }
    session.update(status="complete", payment_status=payment_status, url=None)
    emit(state, "checkout.session.completed", session)


def settle(state: State, session: Obj, *, paid: bool) -> None:
    """Let the bank debit of a completed, unpaid session succeed (`paid`), or fail."""
    if session["status"] != "complete" or session["payment_status"] != "unpaid":
        raise Refused("Only a completed, unpaid session has something under way.")
    if session["mode"] == "payment":
        intent = state.objects[session["payment_intent"]]
        charges.settle(state, intent, paid=paid)
    else:
        subscriptions.settle(state, state.objects[session["invoice"]], paid=paid)
    if paid:
        session["payment_status"] = "paid"
        emit(state, "checkout.session.async_payment_succeeded", session)
    else:
        emit(state, "checkout.session.async_payment_failed", session)


def success_address(session: Obj) -> str:
    """Return the success_url with the session's id filled in."""
    url = str(session["success_url"])
    return url.replace("{CHECKOUT_SESSION_ID}", str(session["id"]))


def expire_due(state: State) -> None:
    """Expire the open sessions that are past their expires_at."""
    for session in list(state.each("checkout.session", status="open")):
        if session["expires_at"] <= state.now():
            expire(state, session["id"])

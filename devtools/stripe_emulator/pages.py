"""The hosted pages: checkout, the billing portal, and the control page."""

from dataclasses import dataclass

from . import checkout, customers, invoices, look, portal, subscribing, subscriptions
from .control_page import control_page
from .deliveries import Deliverer
from .errors import Refused
from .state import Obj, State


@dataclass
class Page:
    """A response: HTML, or a redirect to `location`."""

    html: str = ""
    status: int = 200
    location: str = ""


def answer(
    state: State, deliverer: Deliverer, method: str, path: str, form: Obj
) -> Page:
    try:
        with state.lock:
            try:
                return _answer(state, deliverer, method, path, form)
            finally:
                if method == "post":
                    state.save()
    except Refused as refused:
        text = refused.error["message"]
        return Page(look.message("Something is not right", text), refused.status)


def _answer(
    state: State, deliverer: Deliverer, method: str, path: str, form: Obj
) -> Page:
    parts = path.strip("/").split("/")
    if parts in ([""], ["_emulator"]):
        return Page(control_page(state, deliverer))
    if parts[:2] == ["c", "pay"] and len(parts) == 3:
        session = state.get("checkout.session", parts[2])
        if method == "post":
            return _checkout_action(state, session, form)
        return _checkout_page(state, session)
    if parts[:2] == ["p", "session"] and parts[3:] == ["flow"]:
        return _flow(state, portal.by_secret(state, parts[2]), method, form)
    if parts[:2] == ["p", "session"] and len(parts) == 3:
        session = portal.by_secret(state, parts[2])
        if method == "post":
            _portal_action(state, session, form)
            return Page(location=path)
        return Page(look.portal(state, session))
    if parts[0] == "i" and len(parts) >= 2:
        invoice = state.get("invoice", parts[1])
        return Page(look.invoice(state, invoice, invoices.lines_of(state, parts[1])))
    raise Refused("There is no such page.", status=404)


# --- checkout -------------------------------------------------------------------------


def _checkout_page(state: State, session: Obj, error: str = "") -> Page:
    if session["status"] == "expired":
        text = "This checkout has expired. Go back to the shop and start again."
        return Page(look.message("Expired", text), 410)
    if session["status"] == "complete":
        return Page(look.message("All done", "This checkout is already complete."))
    if state.note(session).get("asks"):
        return Page(look.bank_question(session))
    lines = state.note(session)["line_items"]
    customer = state.objects.get(session["customer"] or "", {})
    email = session["customer_email"] or customer.get("email") or ""
    status = 402 if error else 200
    return Page(look.checkout(session, lines, email, error), status)


def _checkout_action(state: State, session: Obj, form: Obj) -> Page:
    action = form.get("action")
    if action == "cancel":
        address = session["cancel_url"]
        return Page(location=address) if address else _checkout_page(state, session)
    if action == "expire":
        checkout.expire(state, session["id"])
        return _checkout_page(state, session)
    if action in ("authenticate", "fail authentication"):
        refused = checkout.submit(
            state,
            session,
            card=None,
            email="",
            authenticated=action == "authenticate",
        )
    else:
        refused = _pay(state, session, form)
    if session["status"] == "complete":
        return Page(location=checkout.success_address(session))
    if refused:
        return _checkout_page(state, session, refused.error["message"])
    return Page(location=f"/c/pay/{session['id']}")


def _pay(state: State, session: Obj, form: Obj) -> Refused | None:
    email = form.get("email", "").strip()
    if "@" not in email:
        return Refused("Your email is incomplete.")
    bank = form.get("kind") == "sepa_debit"
    return checkout.submit(
        state,
        session,
        card=None if bank else form.get("card", ""),
        email=email,
        name=form.get("name", "").strip(),
    )


# --- the billing portal ---------------------------------------------------------------


def _flow(state: State, session: Obj, method: str, form: Obj) -> Page:
    """Show or confirm the one change that the portal session was opened for."""
    if session["flow"] is None:
        raise Refused("There is no such page.", status=404)
    if state.note(session).get("done"):
        return Page(look.message("All done", "This change is already made."))
    if method == "post":
        if form.get("action") == "confirm":
            return Page(location=portal.confirm(state, session))
        home = session["url"].removesuffix("/flow")
        return Page(location=session["return_url"] or home)
    return Page(look.confirmation(state, session))


def _portal_action(state: State, session: Obj, form: Obj) -> None:
    customer = session["customer"]
    if form.get("action") == "card":
        _new_card(state, customer, form.get("card", ""))
        return
    name = form.get("subscription", "")
    found = state.get("subscription", name)
    if found["customer"] != customer:
        raise Refused("There is no such subscription.", status=404)
    if form.get("action") == "cancel":
        subscribing.update(state, name, {"cancel_at_period_end": True})
    elif form.get("action") == "resume":
        subscribing.update(state, name, {"cancel_at_period_end": False})
    elif form.get("action") == "change":
        item = found["items"]["data"][0]["id"]
        change = {"id": item, "price": form.get("price")}
        params = {"items": [change], "proration_behavior": "always_invoice"}
        subscribing.update(state, name, params)


def _new_card(state: State, customer: str, number: str) -> None:
    method = customers.new_card(state, number)
    attached = customers.attach(state, method["id"], {"customer": customer})
    settings = {"default_payment_method": attached["id"]}
    customers.update(state, customer, {"invoice_settings": settings})
    for subscription in state.each("subscription", customer=customer):
        if subscription["status"] not in subscriptions.ENDED:
            subscribing.update(
                state, subscription["id"], {"default_payment_method": attached["id"]}
            )

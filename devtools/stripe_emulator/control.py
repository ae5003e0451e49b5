"""/_emulator/: the control API for tests and developers. See docs/stripe.md.

A docstring begins with the members that a request may have.
"""

import re
import time
from collections.abc import Callable
from typing import Any

from . import charges, checkout, disputes, refunds, subscriptions
from .deliveries import Deliverer, payload
from .errors import Refused
from .events import changed, schedule
from .state import Obj, State

Action = Callable[[State, Deliverer, list[str], Obj], Any]
ACTIONS: list[tuple[str, re.Pattern[str], Action]] = []


def does(method: str, path: str) -> Callable[[Action], Action]:
    """Register a function for a method and a path, in which `*` matches an id."""
    pattern = re.compile("/_emulator" + path.replace("*", "([A-Za-z0-9_]+)") + "$")

    def keep(action: Action) -> Action:
        ACTIONS.append((method, pattern, action))
        return action

    return keep


def answer(
    state: State, deliverer: Deliverer, method: str, address: str, given: Obj
) -> Any:
    """Run the action of a request, and return its JSON. Raises `Refused`."""
    for verb, pattern, action in ACTIONS:
        if verb == method and (match := pattern.match(address)):
            with state.lock:
                made = action(state, deliverer, list(match.groups()), given)
                state.save()
                return made
    raise Refused(f"The control API has no {method.upper()} {address}.", status=404)


# --- checkout ---------------------------------------------------------------------


@does("post", "/checkout/*/pay")
def pay(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    """{card?, email?, name?, sepa_debit?, authenticated?}: pay as on the hosted page.

    The bank's authentication succeeds, unless `authenticated` is false.
    """
    session = state.get("checkout.session", names[0])
    email = given.get("email") or session["customer_email"] or _email(state, session)
    card = None if given.get("sepa_debit") else given.get("card", "4242 4242 4242 4242")
    refused = checkout.submit(
        state, session, card=card, email=email, name=given.get("name", "Test Person")
    )
    if not refused and state.note(session).get("asks"):
        refused = checkout.submit(
            state,
            session,
            card=None,
            email="",
            authenticated=given.get("authenticated", True),
        )
    error = refused.error if refused else None
    return {"session": session, "error": error}


def _email(state: State, session: Obj) -> str:
    customer = state.objects.get(session["customer"] or "", {})
    return customer.get("email") or "buyer@example.com"


@does("post", "/checkout/*/expire")
def expire(state: State, _: Deliverer, names: list[str], _given: Obj) -> Obj:
    return checkout.expire(state, names[0])


@does("post", "/checkout/*/settle")
def settle(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    """{paid}: let the bank debit of a completed, unpaid session succeed or fail."""
    session = state.get("checkout.session", names[0])
    checkout.settle(state, session, paid=bool(given.get("paid", True)))
    return session


# --- money going back ---------------------------------------------------------------


@does("post", "/charges/*/refund")
def refund(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    """{amount?}: refund a charge or payment intent, as by Stripe's dashboard."""
    kind = "payment_intent" if names[0].startswith("pi_") else "charge"
    params: Obj = {kind: names[0]}
    if given.get("amount"):
        params["amount"] = int(given["amount"])
    return refunds.create(state, params)


@does("post", "/refunds/*/fail")
def fail_refund(state: State, _: Deliverer, names: list[str], _given: Obj) -> Obj:
    found = state.get("refund", names[0])
    refunds.fail(state, found)
    return found


@does("post", "/charges/*/dispute")
def dispute(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    """{amount?, reason?, inquiry?}: dispute a charge or payment intent."""
    return disputes.open_dispute(
        state,
        names[0],
        amount=int(given["amount"]) if given.get("amount") else None,
        reason=given.get("reason", "fraudulent"),
        inquiry=bool(given.get("inquiry")),
    )


@does("post", "/disputes/*/win")
def win(state: State, _: Deliverer, names: list[str], _given: Obj) -> Obj:
    return disputes.close(state, state.get("dispute", names[0]), won=True)


@does("post", "/disputes/*/lose")
def lose(state: State, _: Deliverer, names: list[str], _given: Obj) -> Obj:
    return disputes.close(state, state.get("dispute", names[0]), won=False)


# --- subscriptions and cards ----------------------------------------------------------


@does("post", "/subscriptions/*/renew")
def renew(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    """{outcome?: ok | authentication_required | a decline code}: renew it now."""
    subscription = state.get("subscription", names[0])
    outcome = given.get("outcome", "ok")
    customer = state.objects[subscription["customer"]]
    method = (
        subscription["default_payment_method"]
        or (customer["invoice_settings"]["default_payment_method"])
    )
    if method:
        state.notes.setdefault(method, {})["next"] = outcome
    return subscriptions.renew(state, subscription)


@does("post", "/subscriptions/*/end")
def end(state: State, _: Deliverer, names: list[str], _given: Obj) -> Obj:
    return subscriptions.end(state, state.get("subscription", names[0]))


@does("post", "/subscriptions/*/status")
def status(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    """{status}: set the status, as after dunning, a pause or a failed first payment."""
    subscription = state.get("subscription", names[0])
    kind = "customer.subscription.updated"
    changed(state, kind, subscription, status=given["status"])
    return subscription


@does("post", "/objects/*/set")
def set_members(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    """{member: value}: change members of an object, without any check."""
    found = state.objects[names[0]]
    found.update(given)
    return found


@does("post", "/objects/*/restore")
def restore(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    """{the object}: put an object back that was forgotten."""
    state.objects[names[0]] = given
    return given


@does("post", "/objects/*/forget")
def forget(state: State, _: Deliverer, names: list[str], _given: Obj) -> Obj:
    """Remove an object without an event, as when test data is deleted."""
    return state.objects.pop(names[0])


@does("post", "/invoices/*/pay")
def pay_invoice(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    """{outcome?}: retry the payment of an open invoice."""
    invoice = state.get("invoice", names[0])
    if invoice["status"] != "open":
        raise Refused(f"This invoice is {invoice['status']}.")
    parent = invoice["parent"]["subscription_details"]
    subscription = state.objects[parent["subscription"]]
    if method := subscription["default_payment_method"]:
        state.notes.setdefault(method, {})["next"] = given.get("outcome", "ok")
    subscriptions.charge_invoice(state, invoice)
    return invoice


@does("post", "/payment_methods/*/next")
def next_charge(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    """{outcome, always?}: set the result of the next charge, or of every charge."""
    method = state.get("payment_method", names[0])
    if given.get("always"):
        state.note(method).update(now=given["outcome"], later=given["outcome"])
    else:
        state.note(method)["next"] = given["outcome"]
    return method


@does("post", "/payment_intents/*/settle")
def settle_intent(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    intent = state.get("payment_intent", names[0])
    charges.settle(state, intent, paid=bool(given.get("paid", True)))
    return intent


@does("post", "/payment_intents/*/authenticate")
def authenticate(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    intent = state.get("payment_intent", names[0])
    charges.authenticate(state, intent, passed=bool(given.get("passed", True)))
    return intent


# --- events and their delivery --------------------------------------------------------


@does("get", "/deliveries")
def deliveries(state: State, _: Deliverer, _n: list[str], _given: Obj) -> Obj:
    quiet = not any(d["state"] in ("waiting", "sending") for d in state.deliveries)
    return {"quiet": quiet, "holding": state.holding, "data": state.deliveries}


@does("get", "/events/*/signed")
def signed(state: State, deliverer: Deliverer, names: list[str], _given: Obj) -> Obj:
    """Return the body and the signature of a delivery, for a test that posts them."""
    state.get("event", names[0])
    body = payload(state, names[0])
    return {"body": body, "headers": {"Stripe-Signature": deliverer.signed(body, {})}}


@does("post", "/events/*/resend")
def resend(state: State, _: Deliverer, names: list[str], given: Obj) -> Obj:
    """{copies?, delay_seconds?, wrong_secret?, age_seconds?, tamper?}: send it again.

    A resent event is delivered even while others are held.
    """
    event = state.get("event", names[0])
    how = _how(given)
    delay = how.pop("delay_seconds", 0)
    how |= {"state": "waiting", "due_at": time.time() + delay}
    return schedule(state, event, how)


WAYS: dict[str, Callable[[Any], Any]] = {
    "copies": int,
    "delay_seconds": float,
    "drop": bool,
    "wrong_secret": bool,
    "age_seconds": int,
    "tamper": bool,
}


def _how(given: Obj) -> Obj:
    return {name: WAYS[name](given[name]) for name in WAYS if given.get(name)}


@does("post", "/deliveries/faults")
def delivery_fault(state: State, _: Deliverer, _n: list[str], given: Obj) -> Obj:
    """{events: type or *, count, copies | delay_seconds | drop | wrong_secret |
    age_seconds | tamper}: deliver the next such events with a fault.
    """
    fault = {
        "events": given.get("events", "*"),
        "count": int(given.get("count", 1)),
        "how": _how(given),
    }
    state.delivery_faults.append(fault)
    return fault


@does("post", "/deliveries/hold")
def hold(state: State, _: Deliverer, _n: list[str], _given: Obj) -> Obj:
    """Hold all events until they are released."""
    state.holding = True
    return {"holding": True}


@does("post", "/deliveries/release")
def release(state: State, _: Deliverer, _n: list[str], given: Obj) -> Obj:
    """{order?: "given" | "reversed" | [event ids]}: deliver held events in this order.

    With a list only the named events are delivered; the others stay held.
    """
    state.holding = False
    order = given.get("order", "given")
    held = [d for d in state.deliveries if d["state"] == "held"]
    if order == "reversed":
        held.reverse()
    elif isinstance(order, list):
        by_event = {d["event"]: d for d in held}
        held = [by_event[name] for name in order if name in by_event]
        state.holding = True
    others = [d for d in state.deliveries if d not in held]
    for delivery in held:
        delivery.update(state="waiting", due_at=time.time())
    state.deliveries[:] = others + held
    return {"released": [d["event"] for d in held]}


@does("post", "/deliveries/retry")
def retry(state: State, _: Deliverer, _n: list[str], _given: Obj) -> Obj:
    """Make every waiting delivery due now."""
    for delivery in state.deliveries:
        if delivery["state"] == "waiting":
            delivery["due_at"] = time.time()
    return {}


# --- the API itself -------------------------------------------------------------------


@does("post", "/api/faults")
def api_fault(state: State, _: Deliverer, _n: list[str], given: Obj) -> Obj:
    """{path, method?, count, status? | seconds? | lose_answer?}: fail the next
    requests.

    They get a status, are slow, or are done while their response is lost.
    """
    fault = {"path": "/v1/", "count": 1, **given}
    state.api_faults.append(fault)
    return fault


@does("delete", "/faults")
def no_faults(state: State, _: Deliverer, _n: list[str], _given: Obj) -> Obj:
    state.delivery_faults.clear()
    state.api_faults.clear()
    return {}


@does("get", "/requests")
def requests(state: State, _: Deliverer, _n: list[str], _given: Obj) -> Obj:
    """List the API requests: method, path, params, status, keys."""
    return {"data": state.requests}


@does("get", "/requests/*")
def request(state: State, _: Deliverer, names: list[str], _given: Obj) -> Obj:
    for record in state.requests:
        if record["id"] == names[0]:
            return record
    raise Refused("No such request.", status=404)


@does("post", "/clock")
def clock(state: State, _: Deliverer, _n: list[str], given: Obj) -> Obj:
    """{advance_seconds}: move Stripe's clock on. Sessions expire and periods end."""
    state.clock_offset += int(given["advance_seconds"])
    pass_time(state)
    return {"now": state.now()}


def pass_time(state: State) -> None:
    """Expire sessions and renew subscriptions that are due."""
    checkout.expire_due(state)
    subscriptions.renew_due(state)


@does("post", "/webhooks")
def webhooks(_state: State, deliverer: Deliverer, _n: list[str], given: Obj) -> Obj:
    """{url?, secrets?}: set the URL of webhooks, and the secrets that sign them."""
    if "url" in given:
        deliverer.url = given["url"]
    if "secrets" in given:
        deliverer.secrets = list(given["secrets"])
    return {"url": deliverer.url}


@does("post", "/reset")
def reset(state: State, _: Deliverer, _n: list[str], _given: Obj) -> Obj:
    state.clear()
    return {}

"""The billing portal: a hosted page where a customer manages a subscription."""

from . import customers, subscribing
from .errors import Refused, required
from .state import Obj, State, new_id

HOUR = 3600
CONFIRM = "subscription_update_confirm"


def create(state: State, params: Obj) -> Obj:
    customer = customers.live(state, required(params, "customer"), param="customer")
    flow = params.get("flow_data")
    session = state.add(
        "billing_portal.session",
        configuration="bpc_emulator",
        customer=customer["id"],
        flow=_flow(state, customer, flow) if flow else None,
        locale=params.get("locale"),
        return_url=params.get("return_url"),
        url="",
    )
    secret = new_id("test_", 32)
    state.note(session)["secret"] = secret
    session["url"] = f"{state.base_url}/p/session/{secret}"
    if flow:
        session["url"] += "/flow"
    return session


def _flow(state: State, customer: Obj, given: Obj) -> Obj:
    if given["type"] != CONFIRM:
        raise Refused(f"The emulator supports the flow {CONFIRM}.", param="flow_data")
    confirmation = given.get(CONFIRM)
    if confirmation is None:
        raise Refused(
            f"Missing required param: flow_data[{CONFIRM}].",
            code="parameter_missing",
            param=f"flow_data[{CONFIRM}]",
        )
    _check(state, customer, confirmation)
    after = given.get("after_completion", {"type": "portal_homepage"})
    if after["type"] == "redirect" and "redirect" not in after:
        name = "flow_data[after_completion][redirect]"
        raise Refused(
            f"Missing required param: {name}.", code="parameter_missing", param=name
        )
    return {
        "type": CONFIRM,
        "after_completion": {
            "hosted_confirmation": None,
            "redirect": after.get("redirect"),
            "type": after["type"],
        },
        "subscription_cancel": None,
        "subscription_update": None,
        CONFIRM: {
            "discounts": None,
            "subscription": confirmation["subscription"],
            "items": [
                {
                    "id": item["id"],
                    "price": item.get("price"),
                    "quantity": item.get("quantity", 1),
                }
                for item in confirmation["items"]
            ],
        },
    }


def _check(state: State, customer: Obj, confirmation: Obj) -> None:
    """Refuse a change that Stripe's portal does not offer to confirm."""
    where = f"flow_data[{CONFIRM}]"
    found = state.get(
        "subscription", confirmation["subscription"], param=f"{where}[subscription]"
    )
    if found["customer"] != customer["id"]:
        raise Refused(
            f"The subscription {found['id']} is another customer's.",
            param=f"{where}[subscription]",
        )
    if found["status"] not in ("active", "trialing", "past_due"):
        raise Refused(
            f"The subscription {found['id']} cannot be updated: it is"
            f" {found['status']}.",
            param=f"{where}[subscription]",
        )
    items = found["items"]["data"]
    if len(confirmation["items"]) != 1 or len(items) != 1:
        raise Refused(
            "A subscription with several items cannot be updated in the portal.",
            param=f"{where}[items]",
        )
    wanted = confirmation["items"][0]
    if wanted["id"] != items[0]["id"]:
        raise Refused(
            f"No such subscription item: '{wanted['id']}'",
            code="resource_missing",
            param=f"{where}[items][0][id]",
        )
    price = subscribing.price_of(
        state, wanted.get("price"), f"{where}[items][0][price]"
    )
    if price["id"] == items[0]["price"]["id"]:
        raise Refused("The update would change nothing.", param=f"{where}[items]")


def confirm(state: State, session: Obj) -> str:
    """Make the flow's change, and return the URL to redirect to."""
    flow = session["flow"]
    confirmation = flow[CONFIRM]
    [item] = confirmation["items"]
    subscribing.update(
        state,
        confirmation["subscription"],
        {
            "items": [{"id": item["id"], "price": item["price"]}],
            "proration_behavior": "always_invoice",
        },
    )
    state.note(session)["done"] = True
    redirect = flow["after_completion"]["redirect"]
    return str(
        (redirect or {}).get("return_url") or session["url"].removesuffix("/flow")
    )


def by_secret(state: State, secret: str) -> Obj:
    """Return the portal session of a link. Raises `Refused` after an hour."""
    for session in state.each("billing_portal.session"):
        if state.note(session)["secret"] == secret:
            if session["created"] < state.now() - HOUR:
                break
            return session
    raise Refused("This link has expired. Open the portal again.", status=404)

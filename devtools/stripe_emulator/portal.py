"""The billing portal: a hosted page where a customer manages a subscription."""

from . import customers
from .errors import Refused, required
from .state import Obj, State, new_id

HOUR = 3600


def create(state: State, params: Obj) -> Obj:
    customer = customers.live(state, required(params, "customer"), param="customer")
    session = state.add(
        "billing_portal.session",
        configuration="bpc_emulator",
        customer=customer["id"],
        locale=params.get("locale"),
        return_url=params.get("return_url"),
        url="",
    )
    secret = new_id("test_", 32)
    state.note(session)["secret"] = secret
    session["url"] = f"{state.base_url}/p/session/{secret}"
    return session


def by_secret(state: State, secret: str) -> Obj:
    for session in state.each("billing_portal.session"):
        if state.note(session)["secret"] == secret:
            if session["created"] < state.now() - HOUR:
                break
            return session
    raise Refused("This link has expired. Open the portal again.", status=404)

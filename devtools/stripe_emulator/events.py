"""What happened, as Stripe tells it."""

import copy
import time
from typing import Any

from .spec.document import version
from .state import Obj, State


def emit(state: State, kind: str, obj: Obj, before: Obj | None = None) -> Obj:
    """Write an event with the object as it is now, and put it up for delivery."""
    data: Obj = {"object": copy.deepcopy(obj)}
    if before:
        data["previous_attributes"] = before
    event = state.add(
        "event",
        type=kind,
        api_version=version(),
        data=data,
        pending_webhooks=1,
        request=dict(state.request),
    )
    schedule(state, event)
    return event


def changed(state: State, kind: str, obj: Obj, **changes: Any) -> Obj:
    """Change an object, and tell what it was where that made a difference."""
    before = state.change(obj, **changes)
    if before:
        emit(state, kind, obj, before)
    return before


def schedule(state: State, event: Obj, **how: Any) -> Obj:
    delivery = {
        "event": event["id"],
        "type": event["type"],
        "due_at": time.time(),
        "attempts": [],
        "state": "held" if state.holding else "waiting",
        "copies": 1,
        **how,
    }
    for fault in state.delivery_faults:
        if fault["count"] > 0 and fault["events"] in ("*", event["type"]):
            fault["count"] -= 1
            delivery.update(fault["how"])
            if "delay_seconds" in fault["how"]:
                delivery["due_at"] = time.time() + fault["how"]["delay_seconds"]
            break
    state.deliveries.append(delivery)
    return delivery

"""Events: written with a copy of their object, and scheduled for delivery."""

import copy
import time
from typing import Any

from .spec.document import version
from .state import Obj, State


def emit(state: State, kind: str, obj: Obj, before: Obj | None = None) -> Obj:
    """Write an event with a copy of the object, and schedule its delivery."""
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
    """Change an object, and emit an event with the previous values, if any differ."""
    before = state.change(obj, **changes)
    if before:
        emit(state, kind, obj, before)
    return before


def schedule(state: State, event: Obj, how: Obj | None = None) -> Obj:
    """Schedule a delivery of an event, with the faults in `how`, or the next fault."""
    delivery = {
        "event": event["id"],
        "type": event["type"],
        "due_at": time.time(),
        "attempts": [],
        "state": "held" if state.holding else "waiting",
        "copies": 1,
        **(how or {}),
    }
    for fault in state.delivery_faults:
        fits = fault["events"] in ("*", event["type"])
        if how is None and fits and fault["count"] > 0:
            fault["count"] -= 1
            delivery.update(fault["how"])
            delivery["due_at"] += fault["how"].get("delay_seconds", 0)
            break
    state.deliveries.append(delivery)
    return delivery

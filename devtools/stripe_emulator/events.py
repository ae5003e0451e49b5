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


def schedule(state: State, event: Obj, how: Obj | None = None) -> Obj:
    """Put an event up for delivery: as `how` says, else as the next fault says."""
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

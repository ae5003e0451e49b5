"""The emulator's state: all objects by id, and the file that keeps them."""

import copy
import json
import os
import secrets
import string
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import Refused, missing
from .spec.document import skeleton

Obj = dict[str, Any]
LETTERS = string.ascii_letters + string.digits
PREFIXES = {
    "balance_transaction": "txn_",
    "billing_portal.session": "bps_",
    "charge": "ch_",
    "checkout.session": "cs_test_",
    "customer": "cus_",
    "dispute": "du_",
    "event": "evt_",
    "invoice": "in_",
    "invoice_payment": "inpay_",
    "item": "li_",
    "line_item": "il_",
    "payment_intent": "pi_",
    "payment_method": "pm_",
    "price": "price_",
    "product": "prod_",
    "refund": "re_",
    "subscription": "sub_",
    "subscription_item": "si_",
}


def new_id(prefix: str, length: int = 24) -> str:
    return prefix + "".join(secrets.choice(LETTERS) for _ in range(length))


class State:
    """All objects, deliveries and faults. Hold `lock` to read or write them."""

    def __init__(self, *, base_url: str, file: Path | None = None) -> None:
        self.lock = threading.RLock()
        self.base_url = base_url
        self.file = file
        self.request: Obj = {"id": None, "idempotency_key": None}
        self.clear()
        if file and file.exists():
            self.__dict__.update(json.loads(file.read_text()))

    def clear(self) -> None:
        self.objects: dict[str, Obj] = {}
        # What Stripe knows about an object without showing it in the API.
        self.notes: dict[str, Obj] = {}
        self.answers: dict[str, Obj] = {}
        self.deliveries: list[Obj] = []
        self.delivery_faults: list[Obj] = []
        self.api_faults: list[Obj] = []
        self.requests: list[Obj] = []
        self.holding = False
        self.clock_offset = 0

    KEPT = ("objects", "notes", "answers", "deliveries", "holding", "clock_offset")

    def save(self) -> None:
        if not self.file:
            return
        draft = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as f:
            json.dump({name: getattr(self, name) for name in self.KEPT}, f)
        draft.replace(self.file)

    def now(self) -> int:
        """Return Stripe's time: this machine's, plus the control API's offset."""
        return int(time.time()) + self.clock_offset

    # --- objects ----------------------------------------------------------------

    def make(self, kind: str, *, id: str | None = None, **fields: Any) -> Obj:  # noqa: A002
        """Return a new object with all members that Stripe's document requires."""
        made = skeleton(kind)
        made["id"] = id or new_id(PREFIXES[kind])
        made["object"] = kind
        for name in ("created", "livemode"):
            if name in made:
                made[name] = self.now() if name == "created" else False
        if "metadata" in made:
            made["metadata"] = {}
        made.update(fields)
        return made

    def add(self, kind: str, *, id: str | None = None, **fields: Any) -> Obj:  # noqa: A002
        made = self.make(kind, id=id, **fields)
        self.objects[made["id"]] = made
        return made

    def get(self, kind: str, name: Any, *, param: str | None = None) -> Obj:
        """Return an object. Raises Stripe's 404, or 400 if `param` named the id."""
        found = self.objects.get(name)
        if found is None or found["object"] != kind:
            status = 400 if param else 404
            raise missing(kind, name, param=param or "id", status=status)
        return found

    def note(self, obj: Obj) -> Obj:
        return self.notes.setdefault(obj["id"], {})

    def each(self, kind: str, **equal: Any) -> Iterator[Obj]:
        """Yield the objects of a kind with equal members, newest first."""
        for obj in reversed(list(self.objects.values())):
            if obj["object"] == kind and all(obj.get(k) == v for k, v in equal.items()):
                yield obj

    def forget_since(self, before: set[str]) -> None:
        """Remove the objects that a refused request has created."""
        for name in set(self.objects) - before:
            del self.objects[name]
        self.deliveries = [d for d in self.deliveries if d["event"] in self.objects]

    def change(self, obj: Obj, **changes: Any) -> Obj:
        """Change members, and return the previous values of those that differ."""
        before = {
            name: copy.deepcopy(obj.get(name))
            for name, value in changes.items()
            if obj.get(name) != value
        }
        obj.update(changes)
        return before


def merge_metadata(obj: Obj, given: Any) -> Obj:
    """Merge metadata as Stripe does: "" as a value removes its key, "" alone all."""
    if given == "":
        return {}
    merged = {**obj.get("metadata", {}), **(given or {})}
    return checked_metadata({k: v for k, v in merged.items() if v != ""})


def checked_metadata(given: Any) -> Obj:
    found = dict(given or {})
    if len(found) > 50:
        raise Refused("You may only have 50 metadata keys.", param="metadata")
    for key, value in found.items():
        if len(key) > 40:
            raise Refused(
                "Metadata keys must be under 40 characters.", param=f"metadata[{key}]"
            )
        if len(value) > 500:
            raise Refused(
                "Metadata values can have up to 500 characters, but you passed in a "
                f"value that is {len(value)} characters.",
                param=f"metadata[{key}]",
            )
    return found

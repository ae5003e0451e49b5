"""Responses with objects: lists, pagination and expansion."""

import copy
from typing import Any

from .errors import Refused, missing
from .state import Obj, State

# How many objects of an embedded list are included. The list's own URL has the rest.
EMBEDDED = 10
# Members that exist only if a request expands them.
COMPUTED = {
    ("checkout.session", "line_items"),
    ("charge", "refunds"),
    ("customer", "subscriptions"),
    ("invoice", "payments"),
}


def listed(data: list[Obj], url: str, has_more: bool = False) -> Obj:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def page(state: State, rows: list[Obj], params: Obj, url: str) -> Obj:
    """Return one page of `rows`, which are sorted newest first."""
    rows = [row for row in rows if _in_range(row, params.get("created"))]
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise Refused(
            "Invalid integer: limit must be between 1 and 100.",
            code="parameter_invalid_integer",
            param="limit",
        )
    ids = [row["id"] for row in rows]
    after, before = params.get("starting_after"), params.get("ending_before")
    if after:
        rows = rows[_place(ids, after, "starting_after", state) + 1 :]
    if before:
        rows = rows[: _place(ids, before, "ending_before", state)]
        return listed(rows[-limit:], url, len(rows) > limit)
    return listed(rows[:limit], url, len(rows) > limit)


def _place(ids: list[str], name: str, param: str, state: State) -> int:
    if name not in ids:
        kind = state.objects.get(name, {}).get("object", "object")
        raise missing(kind, name, param=param, status=400)
    return ids.index(name)


def _in_range(row: Obj, wanted: Any) -> bool:
    if wanted is None:
        return True
    at: int = row["created"]
    if isinstance(wanted, int):
        return bool(at == wanted)
    return bool(
        at >= wanted.get("gte", at)
        and at > wanted.get("gt", at - 1)
        and at <= wanted.get("lte", at)
        and at < wanted.get("lt", at + 1)
    )


def answer(state: State, obj: Obj, params: Obj) -> Obj:
    """Return a copy to send, in which `expand` replaces ids by their objects."""
    made = copy.deepcopy(obj)
    for path in params.get("expand") or []:
        parts = path.split(".")
        if len(parts) > 4:
            raise Refused(
                "You cannot expand more than 4 levels of a property.", param="expand"
            )
        if made.get("object") == "list":
            if parts[0] != "data":
                raise _not_expandable(path)
            for item in made["data"]:
                _expand(state, item, parts[1:], path)
        else:
            _expand(state, made, parts, path)
    return first_pages(made)


def first_pages(made: Obj) -> Obj:
    """Cut embedded lists to their first page, in place."""
    for value in made.values():
        _cut(value)
    return made


def _cut(value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _cut(item)
    elif isinstance(value, dict):
        if value.get("object") == "list" and len(value["data"]) > EMBEDDED:
            value["has_more"] = True
            value["data"] = value["data"][:EMBEDDED]
        for item in value.values():
            _cut(item)


def _not_expandable(path: str) -> Refused:
    return Refused(
        f"This property cannot be expanded ({path}). You may want to try expanding "
        "'data." + path + "' if this is a list.",
        param="expand",
    )


def _expand(state: State, obj: Obj, parts: list[str], path: str) -> None:
    if not parts:
        return
    name, rest = parts[0], parts[1:]
    if (obj.get("object"), name) in COMPUTED and name not in obj:
        obj[name] = _computed(state, obj, name)
    if name not in obj:
        raise _not_expandable(path)
    value = obj[name]
    if isinstance(value, str):
        if value not in state.objects:
            raise _not_expandable(path)
        value = obj[name] = copy.deepcopy(state.objects[value])
    elif not isinstance(value, dict | list | None):
        raise _not_expandable(path)
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str) and not rest:
            index = value.index(item)
            value[index] = copy.deepcopy(state.objects[item])
        elif isinstance(item, dict):
            _expand(state, item, rest, path)


def _computed(state: State, obj: Obj, name: str) -> Obj:
    at = obj["id"]
    if name == "line_items":
        rows = state.notes[at]["line_items"]
        return listed(copy.deepcopy(rows), f"/v1/checkout/sessions/{at}/line_items")
    kind, url = {
        "refunds": ("refund", f"/v1/charges/{at}/refunds"),
        "subscriptions": ("subscription", f"/v1/customers/{at}/subscriptions"),
        "payments": ("invoice_payment", "/v1/invoice_payments"),
    }[name]
    link = {"refunds": "charge", "subscriptions": "customer", "payments": "invoice"}
    rows = [copy.deepcopy(row) for row in state.each(kind, **{link[name]: at})]
    if name == "subscriptions":
        rows = [row for row in rows if row["status"] != "canceled"]
    return listed(rows, url)

"""Parses requests as Stripe does: bracketed fields, typed by the document."""

import re
from typing import Any
from urllib.parse import parse_qsl

from ..errors import Refused
from .document import Schema, document

Params = dict[str, Any]
LONGEST_NAME = 300


def operation(path: str, method: str) -> dict[str, Any]:
    found: dict[str, Any] = document()["paths"][path][method]
    return found


def read(path: str, method: str, encoded: str) -> Params:
    """Return the typed parameters of a request. Raises `Refused` as Stripe would."""
    raw = unfold(encoded)
    schema = operation(path, method)["request"]
    return {} if not schema and not raw else _object(raw, schema, "")


def unfold(encoded: str) -> dict[str, Any]:
    """`a[b][0]=x&c[]=y` → {"a": {"b": ["x"]}, "c": ["y"]}; every leaf is text."""
    tree: dict[str, Any] = {}
    for key, value in parse_qsl(encoded, keep_blank_values=True):
        if len(key) > LONGEST_NAME:
            raise Refused("A parameter's name is too long.")
        parts = [key.split("[")[0], *re.findall(r"\[([^\[\]]*)\]", key)]
        place = tree
        for part in parts[:-1]:
            place = place.setdefault(part or str(len(place)), {})
            if not isinstance(place, dict):
                raise Refused(f"Invalid request: {key} is used in two ways.", param=key)
        place[parts[-1] or str(len(place))] = value
    folded = {key: _lists(value) for key, value in tree.items()}
    return folded


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(key.isdigit() for key in value):
        return [_lists(value[key]) for key in sorted(value, key=int)]
    return {key: _lists(item) for key, item in value.items()}


def _inside(where: str, name: str | int) -> str:
    return f"{where}[{name}]" if where else str(name)


def _object(raw: Any, schema: Schema, where: str) -> Params:
    if not isinstance(raw, dict):
        raise Refused("Invalid object", param=where)
    known = schema.get("properties", {})
    extra = schema.get("additionalProperties")
    found = {}
    for name, value in raw.items():
        inner = _inside(where, name)
        if name in known:
            found[name] = typed(value, known[name], inner)
        elif name in schema.get("x-left-out", []):
            raise Refused(
                f"The emulator does not support the parameter {inner}; Stripe does."
                " devtools/stripe_emulator/spec/prune.py lists the supported ones.",
                code="parameter_not_emulated",
                param=inner,
            )
        elif isinstance(extra, dict):
            found[name] = typed(value, extra, inner)
        else:
            raise Refused(
                f"Received unknown parameter: {inner}",
                code="parameter_unknown",
                param=inner,
            )
    for name in schema.get("required", []):
        if name not in found:
            inner = _inside(where, name)
            raise Refused(
                f"Missing required param: {inner}.",
                code="parameter_missing",
                param=inner,
            )
    return found


def typed(raw: Any, schema: Schema, where: str) -> Any:
    """Convert a text to the type that the schema names."""
    if "anyOf" in schema:
        return _one_of(raw, schema["anyOf"], where)
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return _object(raw, schema, where)
    if kind == "array":
        if not isinstance(raw, list):
            raise Refused("Invalid array", param=where)
        items = schema["items"]
        return [typed(item, items, _inside(where, i)) for i, item in enumerate(raw)]
    if not isinstance(raw, str):
        raise Refused(f"Invalid {kind}: {raw}", param=where)
    if raw == "" and "" not in schema.get("enum", []):
        raise Refused(
            f"You passed an empty string for '{where}'. We assume empty values are an "
            "attempt to unset a parameter; however "
            f"'{where}' cannot be unset.",
            code="parameter_invalid_empty",
            param=where,
        )
    return _scalar(raw, schema, where)


def _scalar(raw: str, schema: Schema, where: str) -> Any:
    kind = schema.get("type")
    if kind == "integer":
        if re.fullmatch(r"-?[0-9]{1,18}", raw):
            return int(raw)
        raise Refused(
            f"Invalid integer: {raw}", code="parameter_invalid_integer", param=where
        )
    if kind == "boolean":
        if raw in ("true", "false"):
            return raw == "true"
        raise Refused(f"Invalid boolean: {raw}", param=where)
    if kind == "number":
        try:
            return float(raw)
        except ValueError:
            raise Refused(f"Invalid decimal: {raw}", param=where) from None
    allowed = schema.get("enum")
    if allowed and raw not in allowed:
        names = [name for name in allowed if name] or ["an empty string"]
        text = ", ".join(names[:-1]) + f", or {names[-1]}" if names[1:] else names[0]
        raise Refused(f"Invalid {where}: must be one of {text}", param=where)
    return raw


def _one_of(raw: Any, options: list[Schema], where: str) -> Any:
    """Convert by the first schema that fits. Raises the error of the closest one."""
    said: list[tuple[bool, Refused]] = []
    for option in options:
        shape = option.get("type") == "object" or "properties" in option
        alike = isinstance(raw, dict) == shape
        alike = alike and isinstance(raw, list) == (option.get("type") == "array")
        try:
            return typed(raw, option, where)
        except Refused as refused:
            said.append((alike and option.get("enum") != [""], refused))
    said.sort(key=lambda pair: not pair[0])
    raise said[0][1]

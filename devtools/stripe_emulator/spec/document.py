"""Stripe's published document: the schemas of its objects."""

import json
from functools import cache
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
PREFIX = "#/components/schemas/"


@cache
def document() -> dict[str, Any]:
    text = Path(__file__).with_name("stripe.json").read_text()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def version() -> str:
    """Return the API version of the document, which events have too."""
    return str(document()["version"])


def resolved(schema: Schema) -> Schema:
    while "$ref" in schema:
        schema = document()["schemas"][schema["$ref"].removeprefix(PREFIX)]
    return schema


def skeleton(name: str) -> dict[str, Any]:
    """Return the smallest valid object of a kind: required members, and nulls."""
    made: dict[str, Any] = _least({"$ref": PREFIX + name})
    return made


def _least(schema: Schema) -> Any:
    schema = resolved(schema)
    if "anyOf" in schema:
        return _least(schema["anyOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        required = schema.get("required", [])
        found: dict[str, Any] = {}
        for key, value in schema.get("properties", {}).items():
            if resolved(value).get("nullable") or value.get("nullable"):
                found[key] = None
            elif key in required:
                found[key] = _least(value)
        return found
    empty = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": []}
    return empty[kind] if kind else None

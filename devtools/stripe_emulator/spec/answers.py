"""Validates the emulator's responses by Stripe's document."""

from functools import cache
from typing import Any

import jsonschema

from .document import Schema, document


def problems(name: str, answer: Any) -> list[str]:
    """Return why `answer` is no object of this kind, or [].

    Stricter than the document: members that the document does not name are problems.
    """
    return _said(_validator(f"#/components/schemas/{name}"), answer)


def problems_of_answer(path: str, method: str, answer: Any) -> list[str]:
    return _said(_validator(f"#/answers/{method}{path.replace('/', '_')}"), answer)


def _said(validator: jsonschema.Draft4Validator, answer: Any) -> list[str]:
    return [
        f"{'/'.join(map(str, error.path))}: {error.message[:200]}"
        for error in validator.iter_errors(answer)
    ]


@cache
def _validator(ref: str) -> jsonschema.Draft4Validator:
    return jsonschema.Draft4Validator({"$ref": ref, **_everything()})


@cache
def _everything() -> dict[str, Any]:
    schemas = document()["schemas"]
    answers = {
        f"{method}{path.replace('/', '_')}": _strict(operation["response"])
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }
    return {
        "components": {"schemas": {k: _strict(v) for k, v in schemas.items()}},
        "answers": answers,
    }


def _strict(schema: Any) -> Any:
    """Translate OpenAPI 3.0 to JSON Schema, without additional properties."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made: Schema = {
        key: _strict(value)
        for key, value in schema.items()
        if key not in ("nullable", "properties")
    }
    if "properties" in schema:
        made["properties"] = {k: _strict(v) for k, v in schema["properties"].items()}
        made.setdefault("additionalProperties", False)
    if schema.get("nullable"):
        return {"anyOf": [made, {"type": "null"}]}
    return made

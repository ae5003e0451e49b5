"""Text fields accept only JSON strings, in every contract."""

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest
from rest_framework import serializers
from rest_framework.test import APIClient

from accounts.models import User
from accounts.signin import sessions
from focus.contracts.fields import ExactText, Uuid

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
DOORS = sorted(ROOT.glob("*/api/**/*.py"))
NOT_TEXT: list[Any] = [0, 7, 1.5, True, False, ["x"], {"a": "b"}, None]


def read_from_bodies() -> list[type[serializers.Serializer[Any]]]:
    """Return the serializers that a door calls with `data=request.data`."""
    found = []
    for door in DOORS:
        module = importlib.import_module(
            ".".join(door.relative_to(ROOT).with_suffix("").parts)
        )
        for node in ast.walk(ast.parse(door.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                data = [key.value for key in node.keywords if key.arg == "data"]
                if data and ast.unparse(data[0]) == "request.data":
                    found.append(getattr(module, node.func.id))
    return found


def fields_of(field: Any, name: str = "") -> list[tuple[str, Any]]:
    inner = getattr(field, "fields", None)
    if inner is not None:
        return [it for key, one in inner.items() for it in fields_of(one, key)]
    if isinstance(field, serializers.ListField):
        return fields_of(field.child, name)
    return [(name, field)]


def test_every_text_that_is_read_from_a_body_is_strict() -> None:
    read = read_from_bodies()
    assert len(read) >= 20
    for serializer in read:
        for name, field in fields_of(serializer()):
            where = f"{serializer.__module__}.{serializer.__name__}.{name}"
            if isinstance(field, serializers.CharField):
                assert isinstance(field, ExactText), where
            if isinstance(field, serializers.UUIDField):
                assert isinstance(field, Uuid), where


@pytest.mark.parametrize("field", [ExactText(), Uuid()], ids=["text", "uuid"])
@pytest.mark.parametrize("wrong", NOT_TEXT, ids=repr)
def test_a_strict_field_accepts_only_text(field: Any, wrong: Any) -> None:
    with pytest.raises(serializers.ValidationError):
        field.run_validation(wrong)


START = "/api/device/start"
ROADS: list[tuple[str, str, dict[str, Any]]] = [
    (START, "client_name", {}),
    (START, "scope", {}),
    (START, "code_challenge", {}),
    ("/api/device/complete", "user_code", {}),
    ("/api/device/cancel", "device_code", {}),
    ("/api/jobs", "app", {"action": "a", "cost_estimate": 0}),
    ("/api/jobs", "action", {"app": "video", "cost_estimate": 0}),
    ("/api/jobs/complete", "job_id", {}),
    ("/api/jobs/fail", "job_id", {}),
    ("/api/tokens", "name", {}),
    ("/api/auth/register", "email", {"password": "a long password"}),
    ("/api/auth/register", "password", {"email": "e@example.com"}),
    ("/api/auth/login", "email", {"password": "x"}),
    ("/api/auth/login", "username", {"password": "x"}),
    ("/api/auth/login", "username_or_email", {"password": "x"}),
    ("/api/auth/refresh", "refresh_token", {}),
    ("/v1/auth/register", "email", {"password": "a long password"}),
    (
        "/v1/auth/register",
        "name",
        {"email": "e@example.com", "password": "a long password"},
    ),
    ("/v1/auth/login", "email", {"password": "x"}),
    ("/v1/webhooks/endpoints", "url", {"events": ["test"]}),
    ("/api/credits/purchase/", "sku", {}),
    ("/api/v2/billing/checkout", "plan", {}),
    ("/api/checkout/create", "tool_id", {}),
    ("/api/v1/verify-user", "token", {}),
]


@pytest.mark.parametrize(("path", "field", "rest"), ROADS, ids=lambda it: str(it)[:40])
@pytest.mark.parametrize("wrong", NOT_TEXT, ids=repr)
def test_another_type_is_400_and_names_the_field(
    alice: User, path: str, field: str, rest: dict[str, Any], wrong: Any
) -> None:
    made = sessions.begin(user=alice, client="x", access_seconds=60, methods=["pwd"])
    client = APIClient(headers={"Authorization": f"Bearer {made.access_token}"})
    answer = client.post(path, rest | {field: wrong})
    assert answer.status_code == 400, answer.content
    assert f"{field}: " in answer.content.decode()


@pytest.mark.parametrize("wrong", NOT_TEXT, ids=repr)
def test_an_email_for_passkeys_is_text(as_stranger: APIClient, wrong: Any) -> None:
    for begin in ("passkey/login", "email-passkey/register"):
        answer = as_stranger.post(f"/api/auth/{begin}/begin/", {"email": wrong})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] in ("INVALID_EMAIL", "MISSING_EMAIL")

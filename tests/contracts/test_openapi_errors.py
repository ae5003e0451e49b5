"""The documents' examples of refusals equal the server's answers."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from accounts.signin import sessions
from focus.openapi.schema import document

pytestmark = pytest.mark.django_db
SLUGS = ("focus", "onesub", "reviv", "cosmiv", "clipforge")


def operations(slug: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document(slug)["paths"].items():
        for method, operation in methods.items():
            if isinstance(operation, dict) and "responses" in operation:
                yield path, method, operation


def examples(operation: dict[str, Any]) -> dict[int, dict[str, Any]]:
    found = {}
    for status, said in operation["responses"].items():
        media = said.get("content", {}).get("application/json", {})
        if int(status) >= 400 and "Refusal" in str(media.get("schema")):
            found[int(status)] = media["example"]
    return found


def code_of(body: dict[str, Any]) -> str:
    error = body["error"]
    return str(error["code"] if isinstance(error, dict) else error)


@pytest.mark.parametrize("slug", SLUGS)
def test_each_status_has_its_own_example(slug: str) -> None:
    components = document(slug)["components"]
    for path, method, operation in operations(slug):
        shown = examples(operation)
        assert len(shown) >= 3, (path, method)
        codes = {code_of(body) for body in shown.values()}
        assert len(codes) == len(shown), (path, method, shown)
        for status, body in shown.items():
            schema = operation["responses"][str(status)]["content"]
            schema = schema["application/json"]["schema"] | {"components": components}
            jsonschema.validate(body, schema)


@pytest.mark.parametrize("slug", SLUGS)
def test_the_examples_of_401_413_and_415_equal_the_answers(
    slug: str, alice: User
) -> None:
    made = sessions.begin(user=alice, client="x", access_seconds=900, methods=["pwd"])
    signed_in = {"Authorization": f"Bearer {made.access_token}"}
    anyone, met = Client(), set()
    for path, method, operation in operations(slug):
        shown, at = examples(operation), _at(path)
        if (
            operation.get("security") not in ([{}], None)
            and "x_me" not in (operation["operationId"])
        ):
            answer = anyone.generic(method.upper(), at)
            said = answer.json()
            # The page to return to differs.
            said.pop("signin_url", None)
            example = {k: v for k, v in shown[401].items() if k != "signin_url"}
            assert (answer.status_code, said) == (401, example), path
            met.add(401)
        if 413 in shown and method != "get":
            long: Any = {"CONTENT_LENGTH": str(10**12)}
            answer = anyone.generic(method.upper(), at, headers=signed_in, **long)
            assert (answer.status_code, answer.json()) == (413, shown[413]), path
            met.add(413)
        if 415 in shown and operation.get("requestBody"):
            answer = anyone.generic(
                method.upper(), at, "x", content_type="text/plain", headers=signed_in
            )
            # Skip actions that read no body or refuse earlier.
            if answer.status_code == 415:
                assert answer.json() == shown[415], path
                met.add(415)
    assert {413, 415} <= met


# A literal list: xdist needs the same test names in every worker.
NO_JOB = "3a3f6c1e-0000-4000-8000-5d0c6f0f7a11"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "operation"),
    [
        ("get", "/api/wallet?app=none", None, 404, "focus_wallet_retrieve"),
        ("get", f"/api/jobs/{NO_JOB}", None, 404, "focus_jobs_retrieve"),
        ("post", "/api/jobs", {"app": "video"}, 400, ""),
        (
            "post",
            "/api/jobs",
            {"app": "video", "action": "a", "cost_estimate": 5},
            402,
            "focus_jobs_create",
        ),
        (
            "post",
            "/api/jobs",
            {"app": "none", "action": "a", "cost_estimate": 0},
            404,
            "focus_jobs_create",
        ),
        (
            "post",
            "/api/jobs/complete",
            {"job_id": NO_JOB},
            404,
            "focus_jobs_complete",
        ),
        ("post", "/api/jobs/fail", {}, 400, "focus_jobs_fail"),
        (
            "post",
            f"/api/jobs/{NO_JOB}/extend",
            {"ttl_seconds": 60},
            404,
            "focus_jobs_extend",
        ),
        ("get", "/api/device/poll", None, 400, "focus_device_poll"),
        ("post", "/api/device/cancel", {"device_code": "x"}, 400, ""),
        ("get", "/api/xToken", None, 404, "focus_x_token"),
        ("get", "/api/sessionToken", None, 403, ""),
    ],
)
def test_focus_refusals_equal_their_examples(
    as_alice: APIClient,
    alice: User,
    video: Any,
    method: str,
    path: str,
    body: Any,
    status: int,
    operation: str,
) -> None:
    answer = getattr(as_alice, method)(path, body)
    assert answer.status_code == status
    shown = {it["operationId"]: examples(it) for _, _, it in operations("focus")}
    if operation:
        assert code_of(answer.json()) == code_of(shown[operation][status])
        if status != 402:
            assert answer.json()["message"] == shown[operation][status]["message"]
    else:
        codes = {code_of(it[status]) for it in shown.values() if status in it}
        assert code_of(answer.json()) in codes


def test_lengths_and_limits_are_in_the_documents() -> None:
    focus = {(path, method): it for path, method, it in operations("focus")}
    headers = focus["/api/jobs", "post"]["parameters"]
    [key] = [it for it in headers if it["name"] == "Idempotency-Key"]
    assert (key["schema"]["minLength"], key["schema"]["maxLength"]) == (1, 255)
    for slug, path in (("focus", "/api/jobs"), ("clipforge", None)):
        listed = [
            it
            for at, method, it in operations(slug)
            if method == "get" and (path is None or at == path)
        ]
        limits = [
            parameter["schema"]
            for it in listed
            for parameter in it.get("parameters", [])
            if parameter["name"] == "limit"
        ]
        assert limits
        assert all(it["minimum"] == 1 for it in limits)
    [charge] = [
        schema["properties"]
        for schema in document("onesub")["components"]["schemas"].values()
        if "idempotency_key" in schema.get("properties", {})
    ]
    assert charge["amount"]["maximum"] == 1_000_000
    assert charge["amount"]["minimum"] > 0
    assert charge["idempotency_key"]["maxLength"] == 255
    reviv = str(document("reviv"))
    assert reviv.count("'maxLength': 254") >= 2
    assert reviv.count("'maxLength': 43") >= 3


def _at(path: str) -> str:
    return re.sub(r"{[^}]*}", str(uuid.uuid4()), path)

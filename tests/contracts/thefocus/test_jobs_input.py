"""Focus guide, sections 3 to 5: requests that the jobs endpoints refuse.

Every refusal has the guide's shape and has moved no credit.
"""

import json

import pytest

from focus.money import MICRO
from jobs.models import Job
from wallet import ledger
from wallet.models import Entry

pytestmark = pytest.mark.django_db
RENDER = {"app": "video", "action": "render", "cost_estimate": 5}


@pytest.fixture(autouse=True)
def _twenty_credits(alice, video, give):
    give(alice, 20)


@pytest.fixture
def job_id(as_alice):
    return as_alice.post("/api/jobs", RENDER).json()["job_id"]


def credits_of(user):
    now = ledger.balance(account_id=user.pk)
    return now.available_micro / MICRO, now.reserved_micro / MICRO


def post_text(client, path, text):
    return client.generic("POST", path, text, content_type="application/json")


BAD_AMOUNTS = [
    "NaN",
    "Infinity",
    "-1",
    "true",
    '"5"',
    "null",
    "[5]",
    "{}",
    "1e30",
    str(10**30),
    "0.0000001",
    "1.2345678",
    "1e999999",
    "1e99999999999999999999",
    "1e-99999999999999999999",
    "05",
]


def test_float_rounding_errors_are_dropped_from_estimate_and_cost(as_alice, alice):
    body = '{"app":"video","action":"render","cost_estimate":0.30000000000000004}'
    started = post_text(as_alice, "/api/jobs", body)
    assert (started.status_code, started.json()["reserved"]) == (201, 0.3)
    body = (
        f'{{"job_id":"{started.json()["job_id"]}","actual_cost":0.19999999999999998}}'
    )
    done = post_text(as_alice, "/api/jobs/complete", body)
    assert (done.status_code, done.json()["charged"]) == (200, 0.2)
    assert credits_of(alice) == (19.8, 0)


@pytest.mark.parametrize("amount", BAD_AMOUNTS)
def test_bad_amounts_are_400_and_move_nothing(as_alice, alice, job_id, amount):
    before, entries = credits_of(alice), Entry.objects.count()
    new = f'{{"app":"video","action":"render","cost_estimate":{amount}}}'
    done = f'{{"job_id":"{job_id}","actual_cost":{amount}}}'
    for path, body in (("/api/jobs", new), ("/api/jobs/complete", done)):
        answer = post_text(as_alice, path, body)
        assert answer.status_code == 400, answer.content
        assert answer.json()["error"] in ("invalid_request", "invalid_json")
        assert answer.json()["message"]
    assert (credits_of(alice), Entry.objects.count()) == (before, entries)
    assert Job.objects.get().status == "started"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "[]",
        "5",
        '"x"',
        "null",
        "{",
        '{"app":',
        "nonsense",
        "{}{}",
        "\ufeff{}",
    ],
)
def test_broken_or_empty_bodies_are_400(as_alice, body):
    answer = post_text(as_alice, "/api/jobs", body)
    assert answer.status_code == 400
    assert set(answer.json()) >= {"error", "message"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("app", ""),
        ("app", None),
        ("action", ""),
        ("action", "x" * 121),
        ("action", "nul\x00"),
        ("metadata", []),
        ("metadata", "text"),
        ("metadata", None),
        ("metadata", {"long": "x" * 17000}),
        ("metadata", {"huge": [1e308] * 100}),
        ("metadata", {"é": "ü" * 8200}),
        ("ttl_seconds", 59),
        ("ttl_seconds", 86_401),
        ("ttl_seconds", "soon"),
        ("ttl_seconds", 10**30),
    ],
)
def test_bad_fields_are_400_and_named(as_alice, field, value):
    answer = as_alice.post("/api/jobs", RENDER | {field: value})
    assert answer.status_code == 400
    body = answer.json()
    if "\x00" not in str(value):
        assert body["error"] == "invalid_request"
        assert field in body["fields"]
        assert field in body["message"]
    assert not Job.objects.exists()


def test_metadata_keeps_its_depth_limit_and_its_numbers(as_alice):
    deep: dict[str, object] = {"leaf": 1}
    for _ in range(15):
        deep = {"in": deep}
    assert as_alice.post("/api/jobs", RENDER | {"metadata": deep}).status_code == 201
    answer = as_alice.post("/api/jobs", RENDER | {"metadata": {"in": deep}})
    assert (answer.status_code, "metadata" in answer.json()["fields"]) == (400, True)
    body = json.dumps(RENDER | {"metadata": {"n": [0.1, 1e-7, 2**53, -0.0, 1.0]}})
    answer = post_text(as_alice, "/api/jobs", body)
    kept = as_alice.get(f"/api/jobs/{answer.json()['job_id']}").json()["metadata"]
    assert kept == {"n": [0.1, 1e-7, 2**53, 0, 1]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/api/jobs"),
        ("post", "/api/jobs"),
        ("post", "/api/jobs/complete"),
        ("post", "/api/jobs/fail"),
        ("post", "/api/jobs/550e8400-e29b-41d4-a716-446655440000/extend"),
        ("get", "/api/jobs/550e8400-e29b-41d4-a716-446655440000"),
    ],
)
@pytest.mark.parametrize(
    "header", [None, "Bearer x", "Bearer focus_pat_x", "Bearer a.b.c", "Basic eDp5", ""]
)
def test_no_or_a_bad_credential_is_401(as_stranger, method, path, header):
    headers = {} if header is None else {"Authorization": header}
    answer = getattr(as_stranger, method)(path, headers=headers)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    expected = "unauthenticated" if header is None else "invalid_token"
    assert answer.json()["error"] == expected

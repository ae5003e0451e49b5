"""ClipForge guide, "Register Webhook": endpoints, secrets and deliveries."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient
from standardwebhooks import Webhook

from accounts.credentials import user_keys
from accounts.models import Mail, SecurityEvent, User
from focus.outgoing.safe_http import PostResult
from jobs.models import Delivery, Endpoint
from jobs.webhooks import delivery, endpoints
from jobs.webhooks.delivery import Sent, claim, record
from tests.contracts.clipforge.test_auth import by_jwt, by_key, refused

ENDPOINTS = "/v1/webhooks/endpoints"
DELIVERIES = "/v1/webhooks/deliveries"
GUIDE = {"url": "https://your-domain.com/webhook", "events": ["export.ready"]}


@pytest.fixture
def client(alice: User) -> APIClient:
    return by_key(user_keys.issue(user=alice, name="x").secret)


@pytest.fixture
def stranger(bob: User) -> APIClient:
    return by_jwt(bob)


def registered(client: APIClient, **more: Any) -> dict[str, Any]:
    answer = client.post(ENDPOINTS, {**GUIDE, **more})
    assert answer.status_code in (200, 201), answer.content
    body: dict[str, Any] = answer.json()
    return body


def headers() -> dict[str, str]:
    """Claim the next attempt, return its signing headers, and let it succeed."""
    Delivery.objects.filter(lease=None).update(due_at=timezone.now())
    [claimed] = claim(limit=1, in_trouble=1)
    made = delivery._headers(claimed)
    record([Sent(claimed, PostResult(200), 0)])
    return {**made, "body": claimed.body.decode()}


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_guides_call(client: APIClient, alice: User, slash: str) -> None:
    answer = client.post(ENDPOINTS + slash, GUIDE)
    assert answer.status_code == 201
    body, row = answer.json(), Endpoint.objects.get()
    known = {
        "id": str(row.pk),
        "url": "https://your-domain.com/webhook",
        "events": ["export.ready"],
        "active": True,
        "disabledReason": None,
        "secretPromotesAt": None,
        "createdAt": row.created_at.isoformat().replace("+00:00", "Z"),
    }
    assert body == {**known, "secret": body["secret"]}
    assert body["secret"].startswith("whsec_")
    assert answer["Cache-Control"] == "no-store"
    assert body["secret"].encode() not in bytes(row.secret)
    assert client.get(ENDPOINTS + slash).json() == [known]
    assert Mail.objects.filter(user=alice, subject__contains="webhook").count() == 1
    answer = client.delete(f"{ENDPOINTS}/{row.pk}{slash}")
    assert (answer.status_code, answer.json()) == (200, {**known, "active": False})
    assert client.get(ENDPOINTS).json() == []
    row.refresh_from_db()
    assert (bytes(row.secret), row.next_secret) == (b"", None)
    kinds = SecurityEvent.objects.filter(kind__startswith="webhook")
    assert [event.kind for event in kinds.order_by("pk")] == [
        "webhook_endpoint_made",
        "webhook_endpoint_deleted",
    ]


def test_the_same_url_again_unites_the_events(client: APIClient) -> None:
    first = registered(client)
    answer = client.post(ENDPOINTS, {**GUIDE, "events": ["x.to.come", "export.ready"]})
    assert answer.status_code == 200
    assert answer.json() == {**first, "events": ["export.ready", "x.to.come"]}
    client.delete(f"{ENDPOINTS}/{first['id']}")
    anew = registered(client)
    assert anew["id"] != first["id"]
    assert anew["secret"] != first["secret"]


def test_the_same_url_of_another_account_is_another_endpoint(
    client: APIClient, stranger: APIClient
) -> None:
    mine, theirs = registered(client), registered(stranger)
    assert mine["id"] != theirs["id"]
    assert mine["secret"] != theirs["secret"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "https://127.0.0.1/"},
        {"url": "http://example.com/"},
        {"url": "https://169.254.169.254/latest/meta-data"},
        {"url": "https://[::ffff:10.0.0.1]/"},
        {"url": "https://user:secret@example.com/"},
        {"url": "https://example.com:6379/"},
        {"url": "https://2130706433/"},
        {"url": "ftp://example.com/"},
        {"url": "example.com"},
        {"url": "https://example.com/" + "x" * 2048},
        {"url": None},
        {"url": {"a": 1}},
        {"events": []},
        {"events": "export.ready"},
        {"events": [""]},
        {"events": ["a b"]},
        {"events": ["x" * 101]},
        {"events": [{}]},
        {"events": [f"e{n}" for n in range(51)]},
    ],
)
def test_an_invalid_endpoint_is_400(
    client: APIClient, settings: Any, wrong: dict[str, Any]
) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = False
    refused(client.post(ENDPOINTS, {**GUIDE, **wrong}), 400, "Bad Request")
    assert not Endpoint.objects.exists()


def test_a_21st_endpoint_is_refused(client: APIClient) -> None:
    for n in range(20):
        registered(client, url=f"https://example.com/{n}")
    payload = {**GUIDE, "url": "https://example.com/20"}
    refused(client.post(ENDPOINTS, payload), 400, "Bad Request")
    registered(client, url="https://example.com/7", events=["more"])


def test_a_repeated_key_answers_with_the_secret_for_a_while(client: APIClient) -> None:
    key = {"HTTP_IDEMPOTENCY_KEY": "once"}
    first = client.post(ENDPOINTS, GUIDE, **key)  # type: ignore[arg-type]
    again = client.post(ENDPOINTS, GUIDE, **key)  # type: ignore[arg-type]
    assert again.content == first.content
    assert again["Idempotent-Replayed"] == "true"


def test_a_rotation_from_start_to_promotion(client: APIClient) -> None:
    old = registered(client)
    one = f"{ENDPOINTS}/{old['id']}"
    answer = client.post(f"{one}/rotate-secret")
    new = answer.json()
    assert answer.status_code == 200
    assert new["secret"] != old["secret"]
    assert new["secretPromotesAt"] is not None
    client.post(f"{one}/test")
    during = headers()
    for secret in (old["secret"], new["secret"]):
        Webhook(secret).verify(during["body"], during)
    client.post(f"{one}/test")
    assert headers()["X-Signature-Next"]
    assert client.post(f"{one}/promote-secret").json()["secretPromotesAt"] is None
    client.post(f"{one}/test")
    after = headers()
    Webhook(new["secret"]).verify(after["body"], after)
    assert "X-Signature-Next" not in after
    assert registered(client)["secret"] == new["secret"]
    for way in ("promote-secret", "cancel-rotation"):
        refused(client.post(f"{one}/{way}"), 409, "Conflict")


def test_a_rotation_is_cancelled_or_promoted_by_time(client: APIClient) -> None:
    old = registered(client)
    one = f"{ENDPOINTS}/{old['id']}"
    client.post(f"{one}/rotate-secret")
    assert client.post(f"{one}/cancel-rotation").status_code == 200
    assert registered(client)["secret"] == old["secret"]
    new = client.post(f"{one}/rotate-secret").json()
    Endpoint.objects.update(promotes_at=timezone.now() - timedelta(seconds=1))
    client.post(f"{one}/test")
    assert "X-Signature-Next" not in headers()
    assert registered(client)["secret"] == new["secret"]


def test_a_test_event_and_its_delivery(client: APIClient) -> None:
    made = registered(client)
    one = f"{ENDPOINTS}/{made['id']}"
    answer = client.post(f"{one}/test")
    assert answer.status_code == 201
    row = Delivery.objects.get()
    shown = answer.json()
    assert shown == {
        "id": str(row.pk),
        "endpointId": made["id"],
        "eventId": f"evt_{row.event_id.hex}",
        "event": "test",
        "state": "pending",
        "trigger": "test",
        "attempts": 0,
        "lastStatus": None,
        "lastError": "",
        "nextAttemptAt": shown["nextAttemptAt"],
        "createdAt": shown["createdAt"],
        "endedAt": None,
    }
    [claimed] = claim(limit=1, in_trouble=1)
    said = PostResult(503, ip="93.184.216.34", duration_ms=12, body=b"no\xff\0")
    record([Sent(claimed, said, 0)])
    seen = client.get(f"{DELIVERIES}/{row.pk}").json()
    assert json.loads(seen["body"])["event"] == "test"
    [attempt] = seen["attemptList"]
    assert attempt == {
        "n": 1,
        "trigger": "test",
        "state": "done",
        "startedAt": attempt["startedAt"],
        "durationMs": 12,
        "status": 503,
        "error": "",
        "ip": "93.184.216.34",
        "answer": "no��",
    }
    assert (seen["state"], seen["attempts"], seen["lastStatus"]) == ("pending", 1, 503)


def test_deliveries_are_listed_by_page_and_state(client: APIClient) -> None:
    one = f"{ENDPOINTS}/{registered(client)['id']}"
    ids = [client.post(f"{one}/test").json()["id"] for _ in range(5)]
    first = client.get(f"{one}/deliveries?limit=3").json()
    rest = client.get(f"{one}/deliveries?cursor={first['nextCursor']}").json()
    listed = [d["id"] for d in first["deliveries"] + rest["deliveries"]]
    assert listed == ids[::-1]
    assert rest["nextCursor"] is None
    assert client.get(f"{one}/deliveries?state=failed").json()["deliveries"] == []
    for bad in ("state=odd", "limit=0", "cursor=odd"):
        refused(client.get(f"{one}/deliveries?{bad}"), 400, "Bad Request")


def test_failed_deliveries_are_recovered(client: APIClient) -> None:
    one = f"{ENDPOINTS}/{registered(client)['id']}"
    for status in (404, 404, 200):
        client.post(f"{one}/test")
        [claimed] = claim(limit=1, in_trouble=1)
        record([Sent(claimed, PostResult(status), 0)])
    failed = client.get(f"{one}/deliveries?state=failed").json()["deliveries"]
    again = client.post(f"{DELIVERIES}/{failed[0]['id']}/resend")
    assert (again.status_code, again.json()["state"]) == (200, "pending")
    assert again.json()["trigger"] == "manual"
    payload = {"since": "2020-01-01T00:00:00Z"}
    assert client.post(f"{one}/recover", payload).json() == {"recovered": 1}
    assert client.post(f"{one}/recover").json() == {"recovered": 0}
    refused(client.post(f"{one}/recover", {"since": "soon"}), 400, "Bad Request")


def test_a_disabled_endpoint_gets_nothing_until_it_is_enabled(
    client: APIClient,
) -> None:
    one = f"{ENDPOINTS}/{registered(client)['id']}"
    sent = client.post(f"{one}/test").json()
    body = client.post(f"{one}/disable").json()
    assert (body["active"], body["disabledReason"]) == (False, "owner")
    assert client.get(f"{DELIVERIES}/{sent['id']}").json()["state"] == "failed"
    for route in (f"{one}/test", f"{one}/recover", f"{DELIVERIES}/{sent['id']}/resend"):
        refused(client.post(route), 409, "Conflict")
    assert client.post(f"{one}/enable").json()["active"] is True
    assert client.post(f"{one}/recover").json() == {"recovered": 1}


def test_the_owner_cannot_enable_what_support_disabled(
    client: APIClient, alice: User
) -> None:
    body = registered(client)
    one = f"{ENDPOINTS}/{body['id']}"
    endpoints.disable(user=alice, endpoint_id=body["id"], actor="support")
    again = {"url": body["url"], "events": ["job.failed"]}
    refused(client.post(f"{one}/enable"), 409, "Conflict")
    refused(client.post(ENDPOINTS, again), 409, "Conflict")
    assert client.delete(one).status_code == 200
    refused(client.post(ENDPOINTS, again), 409, "Conflict")
    assert client.get(ENDPOINTS).json() == []


def test_another_accounts_endpoints_and_deliveries_are_404(
    client: APIClient, stranger: APIClient
) -> None:
    one = f"{ENDPOINTS}/{registered(client)['id']}"
    sent = client.post(f"{one}/test").json()["id"]
    ways = ("enable", "disable", "rotate-secret", "promote-secret", "cancel-rotation")
    for theirs in (one, f"{ENDPOINTS}/{uuid.uuid4()}"):
        for way in (*ways, "test", "recover"):
            refused(stranger.post(f"{theirs}/{way}"), 404, "Not Found")
        refused(stranger.delete(theirs), 404, "Not Found")
        refused(stranger.get(f"{theirs}/deliveries"), 404, "Not Found")
    refused(stranger.get(f"{DELIVERIES}/{sent}"), 404, "Not Found")
    refused(stranger.post(f"{DELIVERIES}/{sent}/resend"), 404, "Not Found")
    assert stranger.get(ENDPOINTS).json() == []


def test_a_deliverys_exact_body_under_the_headers_that_sign_it(
    client: APIClient, stranger: APIClient
) -> None:
    made = registered(client)
    where = f"{ENDPOINTS}/{made['id']}"
    delivery_id = client.post(f"{where}/test").json()["id"]
    body = f"{DELIVERIES}/{delivery_id}/body"
    answer = client.get(body)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    row = Delivery.objects.select_related("event").get()
    assert answer.content == bytes(row.event.body)
    Webhook(made["secret"]).verify(answer.content, dict(answer.headers.items()))
    sent = headers()
    assert answer["X-Signature"] == sent["X-Signature"]
    assert answer["webhook-id"] == sent["webhook-id"]
    assert "X-Signature-Next" not in answer
    new = client.post(f"{where}/rotate-secret").json()["secret"]
    Webhook(new).verify(answer.content, dict(client.get(body).headers.items()))
    refused(stranger.get(body), 404, "Not Found")
    refused(client.get(f"{DELIVERIES}/{uuid.uuid4()}/body"), 404, "Not Found")
    client.delete(where)
    answer = client.get(body)
    assert (answer.status_code, answer.content) == (200, bytes(row.event.body))
    assert "X-Signature" not in answer

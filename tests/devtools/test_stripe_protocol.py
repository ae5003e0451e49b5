"""The protocol: API keys, forms, idempotency, errors and pagination, as Stripe's."""

import threading
import urllib.error
import urllib.request
from typing import Any

import pytest
import stripe

from tests.devtools.test_stripe_walks import pack
from tests.stripe import Emulator


def send(
    emulator: Emulator, path: str, body: str | None = None, **headers: str
) -> tuple[int, str]:
    """Send a request without the SDK. Returns the status and the body."""
    given = {"Authorization": "Bearer sk_test_x"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else body.encode()
    request = urllib.request.Request(emulator.url + path, data, given)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "did not provide an API key"),
        ("Bearer sk_live_1234", "that is a live key"),
        ("Bearer rk_live_1234", "that is a live key"),
        ("Bearer pk_test_1234", "Invalid API Key"),
    ],
)
def test_only_test_keys_are_accepted(
    stripe_emulator: Emulator, key: str, said: str
) -> None:
    status, text = send(stripe_emulator, "/v1/events", Authorization=key)
    assert status == 401
    assert said in text


def test_a_repeated_key_returns_the_same_response(stripe_emulator: Emulator) -> None:
    sessions = stripe_emulator.client.v1.checkout.sessions
    once: Any = {"idempotency_key": "k1"}
    first = sessions.create(pack(), once)
    again = sessions.create(pack(), once)
    assert first.id == again.id
    response: Any = again.last_response
    assert response.headers["Idempotent-Replayed"] == "true"
    assert response.headers["Request-Id"]
    assert "Idempotent-Replayed" not in first.last_response.headers  # type: ignore[union-attr]
    with pytest.raises(stripe.IdempotencyError, match="same parameters"):
        sessions.create(pack(client_reference_id="another"), once)
    assert len(sessions.list().data) == 1


def test_a_refused_parameter_does_not_use_up_the_key(
    stripe_emulator: Emulator,
) -> None:
    sessions = stripe_emulator.client.v1.checkout.sessions
    once: Any = {"idempotency_key": "k1"}
    misspelt: Any = {**pack(), "sucess_url": "https://shop.example"}
    with pytest.raises(stripe.InvalidRequestError):
        sessions.create(misspelt, once)
    assert sessions.create(pack(), once).status == "open"


def test_the_same_key_at_the_same_time(stripe_emulator: Emulator) -> None:
    """Of ten concurrent requests one acts; the others get its response or a 409."""
    made, refused = [], []

    def create() -> None:
        sessions = stripe_emulator.client.v1.checkout.sessions
        try:
            made.append(sessions.create(pack(), {"idempotency_key": "k1"}).id)
        except stripe.StripeError as error:
            refused.append(error.http_status)

    threads = [threading.Thread(target=create) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert set(refused) <= {409}
    assert len(stripe_emulator.client.v1.checkout.sessions.list().data) == 1


REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"sucess_url": "https://a.example"}, "parameter_unknown", "sucess_url"),
    (
        {"line_items": [{"prize": "p"}]},
        "parameter_unknown",
        "line_items[0][prize]",
    ),
    ({"mode": "sideways"}, None, "mode"),
    ({"success_url": ""}, "parameter_invalid_empty", "success_url"),
    ({"expires_at": "soon"}, "parameter_invalid_integer", "expires_at"),
    ({"expires_at": 1}, None, "expires_at"),
    (
        {"line_items": [{"price": "price_none", "quantity": 1}]},
        "resource_missing",
        "line_items[0][price]",
    ),
    ({"customer": "cus_none"}, "resource_missing", "customer"),
    ({"subscription_data": {"description": "x"}}, None, "subscription_data"),
    ({"discounts": [{"coupon": "c"}]}, "parameter_not_emulated", "discounts"),
    ({"metadata": {"k" * 41: "v"}}, None, f"metadata[{'k' * 41}]"),
]


@pytest.mark.parametrize(("spoilt", "code", "param"), REFUSED)
def test_a_wrong_request_leaves_nothing_behind(
    stripe_emulator: Emulator, spoilt: Any, code: str | None, param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        stripe_emulator.client.v1.checkout.sessions.create({**pack(), **spoilt})
    assert refused.value.http_status == 400
    assert (refused.value.code, refused.value.param) == (code, param)
    assert stripe_emulator.client.v1.checkout.sessions.list().data == []
    assert stripe_emulator.events() == []


def test_an_unknown_object_or_path_is_404(stripe_emulator: Emulator) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        stripe_emulator.client.v1.checkout.sessions.retrieve("cs_test_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    assert send(stripe_emulator, "/v1/tokens")[0] == 404


def test_a_list_has_pages(stripe_emulator: Emulator) -> None:
    customers = stripe_emulator.client.v1.customers
    made = [customers.create({"email": f"{n}@example.com"}).id for n in range(7)]
    first = customers.list({"limit": 3})
    assert [row.id for row in first.data] == made[:3:-1]
    assert first.has_more
    assert [row.id for row in first.auto_paging_iter()] == made[::-1]
    back = customers.list({"limit": 3, "ending_before": made[2]})
    assert [row.id for row in back.data] == made[5:2:-1]
    since: Any = {"created": {"gte": first.data[0].created + 1}}
    assert customers.list(since).data == []
    for wrong in ({"limit": 0}, {"limit": 101}, {"starting_after": "cus_none"}):
        with pytest.raises(stripe.InvalidRequestError):
            customers.list(wrong)  # type: ignore[arg-type]


def test_a_member_that_cannot_be_expanded_is_refused(stripe_emulator: Emulator) -> None:
    sessions = stripe_emulator.client.v1.checkout.sessions
    made = sessions.create(pack())
    assert "line_items" not in made
    for path in ("amount_total", "nowhere"):
        wrong: Any = {**pack(), "expand": [path]}
        with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
            sessions.create(wrong)
        with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
            sessions.retrieve(made.id, {"expand": [path]})
    assert [row.id for row in sessions.list().data] == [made.id]


def test_a_response_can_be_an_error_or_lost(stripe_emulator: Emulator) -> None:
    """Faults for tests of an unreliable Stripe; the SDK's retries are off here."""
    sessions = stripe_emulator.client.v1.checkout.sessions
    path = "/v1/checkout/sessions"
    stripe_emulator.control("api/faults", path=path, status=500)
    with pytest.raises(stripe.APIError):
        sessions.create(pack())
    stripe_emulator.control("api/faults", path=path, lose_answer=True)
    with pytest.raises(stripe.APIConnectionError):
        sessions.create(pack(), {"idempotency_key": "lost"})
    found = sessions.list().data
    assert len(found) == 1
    assert sessions.create(pack(), {"idempotency_key": "lost"}).id == found[0].id


def test_requests_of_other_sites_are_refused(stripe_emulator: Emulator) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        status, _ = send(stripe_emulator, "/_emulator/reset", "", **headers)
        assert status in (403, 421)


def test_requests_are_recorded(stripe_emulator: Emulator) -> None:
    stripe_emulator.client.v1.checkout.sessions.create(pack())
    (asked,) = stripe_emulator.requests("/v1/checkout/sessions")
    assert (asked["method"], asked["status"]) == ("post", 200)
    assert asked["params"]["metadata"] == {"sku": "PACK_5"}
    assert asked["version"] == stripe.api_version


@pytest.mark.parametrize(
    "body",
    [
        "metadata=x",
        "metadata[a][b]=1",
        "a=1&a[b]=2",
        "a[b]=2&a=1",
        "[x]=1",
        "items=x",
        "a" + "[b]" * 3000 + "=1",
        "items[" + "9" * 5000 + "]=1",
        "%ff=%ff",
        "",
    ],
)
def test_a_broken_form_is_refused(stripe_emulator: Emulator, body: str) -> None:
    kind = "application/x-www-form-urlencoded"
    for path in ("/v1/subscriptions", "/v1/billing_portal/sessions"):
        assert send(stripe_emulator, path, body, Content_Type=kind)[0] == 400

"""Keys, forms, idempotency, errors, pages of lists: as Stripe has them."""

import threading
import urllib.error
import urllib.request
from typing import Any

import pytest
import stripe

from tests.devtools.test_stripe_walks import pack
from tests.stripe import Emulator


def ask(
    emulator: Emulator, path: str, body: str | None = None, **headers: str
) -> tuple[int, str]:
    given = {"Authorization": "Bearer sk_test_x"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else body.encode()
    request = urllib.request.Request(emulator.url + path, data, given)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
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
def test_only_test_keys_open(stripe_emulator: Emulator, key: str, said: str) -> None:
    status, text = ask(stripe_emulator, "/v1/events", Authorization=key)
    assert status == 401
    assert said in text


def test_one_key_one_answer(stripe_emulator: Emulator) -> None:
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


def test_what_was_refused_before_it_began_is_not_remembered(
    stripe_emulator: Emulator,
) -> None:
    sessions = stripe_emulator.client.v1.checkout.sessions
    once: Any = {"idempotency_key": "k1"}
    misspelt: Any = {**pack(), "sucess_url": "https://shop.example"}
    with pytest.raises(stripe.InvalidRequestError):
        sessions.create(misspelt, once)
    assert sessions.create(pack(), once).status == "open"


def test_the_same_key_at_the_same_time(stripe_emulator: Emulator) -> None:
    """Ten at once: one acts, and the rest get its answer or are told to wait."""
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


def test_what_is_not_there_is_404(stripe_emulator: Emulator) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        stripe_emulator.client.v1.checkout.sessions.retrieve("cs_test_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    assert ask(stripe_emulator, "/v1/tokens")[0] == 404


def test_a_list_is_walked_in_pages(stripe_emulator: Emulator) -> None:
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


def test_only_what_can_be_expanded_is(stripe_emulator: Emulator) -> None:
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


def test_an_answer_can_be_lost_late_or_an_error(stripe_emulator: Emulator) -> None:
    """What a test needs of an unreliable Stripe; the SDK's retries are off here."""
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


def test_other_sites_cannot_press_its_buttons(stripe_emulator: Emulator) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        status, _ = ask(stripe_emulator, "/_emulator/reset", "", **headers)
        assert status in (403, 421)


def test_what_was_asked_is_on_record(stripe_emulator: Emulator) -> None:
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
        assert ask(stripe_emulator, path, body, Content_Type=kind)[0] == 400

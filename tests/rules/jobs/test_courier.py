"""A courier of this process delivers to a real endpoint in another process."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from accounts.models import User
from jobs.models import Attempt, Delivery, Endpoint
from jobs.webhooks import delivery, endpoints, redelivery
from jobs.webhooks.courier import Courier
from tests import endpoint
from tests.endpoint import Heard
from tests.processes import until
from tests.webhooks import refreshed, register_endpoint, send_test_events

State = Delivery.State


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    with endpoint.listening(tmp_path) as listening:
        yield listening


@pytest.fixture
def courier(transactional_db: None) -> Iterator[Courier]:
    courier = Courier(threads=8)
    courier.start()
    yield courier
    courier.stop()
    courier.join(60)
    assert not courier._thread.is_alive()


def test_a_delivery_arrives_and_both_signatures_verify(
    alice: User, heard: Heard, courier: Courier
) -> None:
    shown = endpoints.register(user=alice, url=f"{heard.url}/200", events=["test"])
    [row] = send_test_events(shown.endpoint)
    courier.wake()
    until(lambda: refreshed(row).state == State.SUCCEEDED)
    [line] = heard.lines()
    body = line["body"].encode()
    assert Webhook(shown.secret).verify(body, line["headers"]) == json.loads(body)
    assert len(line["headers"]["x-signature"]) == 64
    assert line["headers"]["webhook-id"] == f"evt_{row.event_id.hex}"
    assert line["headers"]["x-webhook-event"] == "test"
    assert line["headers"]["x-webhook-attempt"] == "1"
    assert body == bytes(row.event.body)
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.status, attempt.ip) == ("done", 200, "127.0.0.1")
    assert (row.attempts, row.tries, row.lease) == (1, 1, None)


@pytest.mark.slow
def test_five_tries_at_the_promised_times_then_replayed(
    alice: User, heard: Heard, courier: Courier
) -> None:
    to = register_endpoint(alice, f"{heard.url}/503")
    [row] = send_test_events(to)
    until(lambda: refreshed(row).state == State.FAILED, seconds=60)
    assert [a.status for a in Attempt.objects.order_by("n")] == [503] * 5
    at = [line["at"] for line in heard.lines()]
    # Never early. The benchmark measures the delay.
    for (before, after), wait in zip(pairwise(at), (1, 2, 4, 8), strict=True):
        assert after - before >= wait
    assert len({line["headers"]["webhook-id"] for line in heard.lines()}) == 1
    assert len({line["body"] for line in heard.lines()}) == 1
    Endpoint.objects.update(url=f"{heard.url}/200")
    redelivery.resend(user=alice, delivery_id=row.pk)
    until(lambda: refreshed(row).state == State.SUCCEEDED)
    assert (row.attempts, row.tries, row.trigger) == (6, 1, "manual")
    again = heard.lines("/200")[0]
    assert again["body"] == heard.lines("/503")[0]["body"]
    assert again["headers"]["webhook-id"] == f"evt_{row.event_id.hex}"


def test_a_redirect_is_not_followed(
    alice: User, heard: Heard, courier: Courier
) -> None:
    [row] = send_test_events(register_endpoint(alice, f"{heard.url}/302"))
    until(lambda: refreshed(row).tries == 1)
    assert (row.state, row.last_status) == (State.PENDING, 302)


def test_a_request_is_cut_at_the_deadline(
    alice: User, heard: Heard, courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focus.outgoing.safe_http.SECONDS", 0.5)
    [row] = send_test_events(register_endpoint(alice, f"{heard.url}/hang"))
    until(lambda: refreshed(row).tries == 1)
    assert (row.state, row.last_error) == (State.PENDING, "timeout")


def test_hanging_endpoints_leave_threads_to_healthy_ones(
    alice: User,
    bob: User,
    heard: Heard,
    courier: Courier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The healthy deliveries end while the hanging requests still run."""
    monkeypatch.setattr("focus.outgoing.safe_http.SECONDS", 4)
    hanging = [register_endpoint(alice, f"{heard.url}/hang/{n}") for n in range(3)]
    Endpoint.objects.update(troubled=True)
    for to in hanging:
        send_test_events(to, 10)
    healthy = send_test_events(register_endpoint(bob, f"{heard.url}/200"), 30)
    done = Delivery.objects.filter(pk__in=[row.pk for row in healthy])
    until(lambda: done.filter(state=State.SUCCEEDED).count() == 30)
    flying = Delivery.objects.filter(lease__isnull=False)
    assert flying.filter(endpoint__in=hanging).count() == 3


def test_an_outcome_that_cannot_be_written_stops_no_other(
    alice: User, heard: Heard, courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = register_endpoint(alice, f"{heard.url}/404/poison")
    update = delivery._update_endpoint

    def failing(to: Endpoint, *rest: Any) -> None:
        if to.pk == poison.pk:
            raise RuntimeError("a bug")
        update(to, *rest)

    monkeypatch.setattr(delivery, "_update_endpoint", failing)
    [bad] = send_test_events(poison)
    good = send_test_events(register_endpoint(alice, f"{heard.url}/404/other"), 5)
    until(lambda: all(refreshed(row).state == State.FAILED for row in good))
    assert refreshed(bad).state == State.PENDING


def test_stopping_finishes_the_running_requests(
    alice: User, heard: Heard, transactional_db: None
) -> None:
    courier = Courier(threads=4)
    [row] = send_test_events(register_endpoint(alice, f"{heard.url}/slow"))
    courier.start()
    until(lambda: heard.lines("/slow"))
    courier.stop()
    courier.join(60)
    assert refreshed(row).state == State.SUCCEEDED

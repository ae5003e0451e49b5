"""Deliveries of events: signed, retried, and with faults on request."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from tests.devtools.test_stripe_walks import pack
from tests.stripe import WEBHOOK_SECRET, Emulator


class Product(http.server.ThreadingHTTPServer):
    """Receives events as the product does. `statuses` are its next responses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.statuses: list[int] = []
        self.received: list[tuple[str, str]] = []
        self.told = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def ids(self) -> list[str]:
        return [json.loads(body)["id"] for body, _ in self.received]


class Receiver(http.server.BaseHTTPRequestHandler):
    server: Product

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        product = self.server
        with product.told:
            product.received.append((body, self.headers["Stripe-Signature"]))
            status = product.statuses.pop(0) if product.statuses else 200
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def product(stripe_emulator: Emulator) -> Iterator[Product]:
    with Product() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stripe_emulator.deliver_to(server.url)
        yield server
        stripe_emulator.deliver_to("")
        server.shutdown()


def expired(emulator: Emulator) -> str:
    """Expire a session. Returns the id of the event."""
    sessions = emulator.client.v1.checkout.sessions
    sessions.expire(sessions.create(pack()).id)
    return str(emulator.events("checkout.session.expired")[-1].id)


def is_genuine(received: tuple[str, str]) -> bool:
    try:
        stripe.WebhookSignature.verify_header(*received, WEBHOOK_SECRET, 300)
    except stripe.SignatureVerificationError:
        return False
    return True


def test_all_events_are_delivered_in_order_and_signed(
    stripe_emulator: Emulator, product: Product
) -> None:
    session = stripe_emulator.client.v1.checkout.sessions.create(pack())
    stripe_emulator.pay(session.id)
    stripe_emulator.wait_until_delivered()
    assert product.ids() == [event.id for event in stripe_emulator.events()]
    assert all(map(is_genuine, product.received))
    assert {e.pending_webhooks for e in stripe_emulator.events()} == {0}


def test_the_sdk_signs_the_same(stripe_emulator: Emulator, product: Product) -> None:
    expired(stripe_emulator)
    stripe_emulator.wait_until_delivered()
    body, header = product.received[-1]
    at = int(header.split(",")[0].removeprefix("t="))
    sign = stripe.WebhookSignature.generate_signature_header
    assert header == sign(body, WEBHOOK_SECRET, at)


def test_two_secrets_sign_during_a_rotation(
    stripe_emulator: Emulator, product: Product
) -> None:
    stripe_emulator.control("webhooks", secrets=["whsec_new", WEBHOOK_SECRET])
    try:
        expired(stripe_emulator)
        stripe_emulator.wait_until_delivered()
        body, header = product.received[-1]
        for secret in ("whsec_new", WEBHOOK_SECRET):
            assert stripe.WebhookSignature.verify_header(body, header, secret, 300)
    finally:
        stripe_emulator.control("webhooks", secrets=[WEBHOOK_SECRET])


def test_a_failed_delivery_is_retried(
    stripe_emulator: Emulator, product: Product
) -> None:
    stripe_emulator.control("deliveries/hold")
    event = expired(stripe_emulator)
    product.statuses = [500, 302]
    stripe_emulator.control("deliveries/release", order=[event])
    while len(product.received) < 3:
        stripe_emulator.control("deliveries/retry")
    stripe_emulator.wait_until_delivered()
    assert product.ids() == [event] * 3
    (delivery,) = [
        one
        for one in stripe_emulator.look("deliveries")["data"]
        if one["event"] == event
    ]
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 302, 200]


def test_events_can_be_reordered_and_resent(
    stripe_emulator: Emulator, product: Product
) -> None:
    stripe_emulator.control("deliveries/hold")
    first, second = expired(stripe_emulator), expired(stripe_emulator)
    stripe_emulator.wait_until_delivered()
    assert product.received == []
    stripe_emulator.control("deliveries/release", order=[second, first])
    stripe_emulator.wait_until_delivered()
    assert product.ids() == [second, first]
    stripe_emulator.control(f"events/{first}/resend", copies=3)
    stripe_emulator.wait_until_delivered()
    assert product.ids() == [second, first, first, first, first]


@pytest.mark.parametrize(
    "fault", [{"wrong_secret": True}, {"age_seconds": 3600}, {"tamper": True}]
)
def test_a_delivery_can_have_a_bad_signature_once(
    stripe_emulator: Emulator, product: Product, fault: Any
) -> None:
    kind = "checkout.session.expired"
    stripe_emulator.control("deliveries/faults", events=kind, **fault)
    event = expired(stripe_emulator)
    stripe_emulator.wait_until_delivered()
    (spoilt,) = [one for one in product.received if event in one[0]]
    assert not is_genuine(spoilt)
    stripe_emulator.control(f"events/{event}/resend")
    stripe_emulator.wait_until_delivered()
    assert is_genuine(product.received[-1])


def test_a_delivery_can_be_lost_or_doubled(
    stripe_emulator: Emulator, product: Product
) -> None:
    kind = "checkout.session.expired"
    stripe_emulator.control("deliveries/faults", events=kind, drop=True)
    lost = expired(stripe_emulator)
    stripe_emulator.control("deliveries/faults", events=kind, copies=2)
    doubled = expired(stripe_emulator)
    stripe_emulator.wait_until_delivered()
    assert lost not in product.ids()
    assert product.ids().count(doubled) == 2
    # The API still returns a lost event, as Stripe does.
    assert stripe_emulator.client.v1.events.retrieve(lost).type == kind

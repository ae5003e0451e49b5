"""The Stripe emulator in its own process, and a client for tests."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import stripe

from tests import processes

SECRET_KEY = "sk_test_emulator"
WEBHOOK_SECRET = "whsec_emulator"


class Emulator:
    """`client` is Stripe's SDK; `control` calls the emulator's control API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = stripe.StripeClient(
            SECRET_KEY, base_addresses={"api": url}, max_network_retries=0
        )

    def control(self, path: str, /, **given: Any) -> Any:
        """POST /_emulator/PATH. docs/stripe.md lists the paths."""
        return self.call("POST", f"/_emulator/{path}", given)

    def look(self, path: str) -> Any:
        """GET /_emulator/PATH."""
        return self.call("GET", f"/_emulator/{path}")

    def call(self, method: str, path: str, given: Any = None) -> Any:
        body = None if given is None else json.dumps(given).encode()
        request = urllib.request.Request(self.url + path, body, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def pay(self, session_id: str, **how: Any) -> Any:
        """Pay on the hosted page. The result's `error` is the page's message."""
        return self.control(f"checkout/{session_id}/pay", **how)

    def events(self, *types: str) -> list[Any]:
        """Return all events, or those of some types, oldest first."""
        params: Any = {"limit": 100, **({"types": list(types)} if types else {})}
        found = list(self.client.v1.events.list(params).auto_paging_iter())
        return found[::-1]

    def signed(self, event_id: str) -> tuple[str, dict[str, str]]:
        """Return the body and headers of a delivery, for the test to post."""
        made = self.look(f"events/{event_id}/signed")
        return made["body"], made["headers"]

    def deliver_to(self, url: str) -> None:
        """Deliver events to this URL from now on, or nowhere if it is empty."""
        self.control("webhooks", url=url)

    def wait_until_delivered(self) -> None:
        """Wait until no delivery is due."""
        processes.until(lambda: self.look("deliveries")["quiet"])

    def requests(self, path: str = "/v1/") -> list[Any]:
        """Return the requests of the product to Stripe, oldest first."""
        asked = self.look("requests")["data"]
        return [one for one in asked if one["path"].startswith(path)]


@contextmanager
def emulator(folder: Path, *options: str, **environment: str) -> Iterator[Emulator]:
    """Run an emulator that validates each of its responses by Stripe's document."""
    port = processes.free_port()
    command = ("devtools.stripe_emulator", "--port", str(port), "--check", *options)
    more = {"STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET, **environment}
    log = folder / "stripe.log"
    with processes.running(*command, log=log, **more) as process:
        up = "Stripe emulator (API"
        processes.until(
            lambda: up in log.read_text() or process.poll() is not None, seconds=30
        )
        assert process.poll() is None, log.read_text()
        yield Emulator(f"http://127.0.0.1:{port}")

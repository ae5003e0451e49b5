"""Deliveries of webhooks: signed, retried, and with faults on request."""

import copy
import hashlib
import hmac
import http.client
import json
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from .reading import first_pages
from .state import Obj, State

# Seconds to wait after each failed attempt. After the last one the delivery ends.
WAITS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)
TIMEOUT = 20.0
IDLE = 0.03


def signature(payload: str, secrets: list[str], timestamp: int) -> str:
    """Return the Stripe-Signature header. Several secrets serve their rotation."""
    signed = f"{timestamp}.{payload}".encode()
    marks = (hmac.new(s.encode(), signed, hashlib.sha256).hexdigest() for s in secrets)
    return f"t={timestamp}," + ",".join(f"v1={mark}" for mark in marks)


def payload(state: State, event_id: str) -> str:
    """Return the body of a delivery."""
    return json.dumps(first_pages(copy.deepcopy(state.objects[event_id])), indent=2)


class Deliverer:
    """One thread that delivers events in their order, unless a fault changes it."""

    def __init__(self, state: State, url: str, secrets: list[str]) -> None:
        self.state = state
        self.url = url
        self.secrets = secrets
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.ended.set()

    def _run(self) -> None:
        while not self.ended.wait(IDLE):
            while (due := self._next()) and not self.ended.is_set():
                self._deliver(*due)

    def _next(self) -> tuple[Obj, str] | None:
        with self.state.lock:
            waiting = [d for d in self.state.deliveries if d["state"] == "waiting"]
            # The longest due first: retries must not starve new events.
            for delivery in sorted(waiting, key=lambda d: d["due_at"]):
                if delivery["due_at"] > time.time():
                    break
                if delivery.get("drop"):
                    delivery["state"] = "dropped"
                elif not self.url:
                    delivery["state"] = "nowhere"
                else:
                    delivery["state"] = "sending"
                    return delivery, payload(self.state, delivery["event"])
        return None

    def _deliver(self, delivery: Obj, body: str) -> None:
        sent: list[Obj] = []
        copies = [
            threading.Thread(target=lambda: sent.append(self._send(delivery, body)))
            for _ in range(delivery["copies"])
        ]
        for each in copies:
            each.start()
        for each in copies:
            each.join()
        with self.state.lock:
            delivery["attempts"] += sent
            self._conclude(delivery, sent)
            self.state.save()

    def _conclude(self, delivery: Obj, sent: list[Obj]) -> None:
        if all(attempt["ok"] for attempt in sent):
            delivery["state"] = "delivered"
            event = self.state.objects.get(delivery["event"])
            if event:
                event["pending_webhooks"] = 0
            return
        tries = delivery["tries"] = delivery.get("tries", 0) + 1
        # A wrong signature or an old timestamp affects the first attempt only.
        for fault in ("wrong_secret", "age_seconds", "tamper"):
            delivery.pop(fault, None)
        delivery["copies"] = 1
        if tries > len(WAITS):
            delivery["state"] = "given up"
        else:
            delivery.update(state="waiting", due_at=time.time() + WAITS[tries - 1])

    def signed(self, body: str, how: Obj) -> str:
        """Return the signature header of a body, with the faults in `how`."""
        secrets = ["whsec_wrong"] if how.get("wrong_secret") else self.secrets
        at = int(time.time()) - how.get("age_seconds", 0)
        return signature(body, secrets, at)

    def _send(self, delivery: Obj, body: str) -> Obj:
        header = self.signed(body, delivery)
        if delivery.get("tamper"):
            body = body.replace("{", '{"tampered": true,', 1)
        attempt: Obj = {"at": time.time(), "status": None, "ok": False, "said": ""}
        parts = urlsplit(self.url)
        kind: Any = http.client.HTTPConnection
        if parts.scheme == "https":
            kind = http.client.HTTPSConnection
        link = kind(parts.hostname, parts.port, timeout=TIMEOUT)
        try:
            address = parts.path + (f"?{parts.query}" if parts.query else "")
            link.request(
                "POST",
                address or "/",
                body.encode(),
                {
                    "Content-Type": "application/json; charset=utf-8",
                    "Stripe-Signature": header,
                    "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
                    "Accept": "*/*; q=0.5, application/xml",
                    "Cache-Control": "no-cache",
                },
            )
            answer = link.getresponse()
            attempt["said"] = answer.read(2000).decode(errors="replace")
            attempt["status"] = answer.status
            attempt["ok"] = 200 <= answer.status < 300
        except (OSError, http.client.HTTPException) as error:
            attempt["said"] = f"{type(error).__name__}: {error}"
        finally:
            link.close()
        return attempt

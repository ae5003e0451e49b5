"""Purchases at the Stripe emulator, and the delivery of their events.

The test posts the events itself, so it decides when, how often and in which order.
"""

import json
import time
from typing import Any

import stripe
from rest_framework.test import APIClient

from accounts.models import User
from focus.money import from_micro
from payments import gateway, inbox, packs
from payments.models import Plan
from payments.plans import choosing
from payments.plans import prices as plan_prices
from payments.topups import setup as topup_setup
from tests.stripe import WEBHOOK_SECRET, Emulator
from wallet import ledger

WEBHOOK = "/api/credits/webhook/"


class Till:
    """Buys packs and plans for users, and posts Stripe's events to the webhook."""

    def __init__(self, stripe_: Emulator) -> None:
        self.stripe = stripe_
        self.seen: set[str] = {event.id for event in stripe_.events()}

    def buy(self, user: User, **how: Any) -> str:
        """Pay a PACK_5 on Stripe's page. Returns the session's id."""
        opened = packs.buy(account=user, sku="PACK_5").purchase.stripe_session_id
        assert self.stripe.pay(str(opened), **how)["error"] is None
        return str(opened)

    def subscribe(self, user: User, plan: str = "pro", **how: Any) -> str:
        """Pay a plan on Stripe's page. Returns the subscription's id."""
        way = choosing.choose(account=user, slug=plan)
        assert self.stripe.pay(way.session_id, **how)["error"] is None
        return str(gateway.session(session_id=way.session_id).subscription)

    def top_up(
        self, user: User, *, threshold: int = 8, ceiling_cents: int = 5000, **how: Any
    ) -> None:
        """Set automatic top-up by PACK_5, and pay the first pack on Stripe's page."""
        way = topup_setup.set_up(
            account=user,
            sku="PACK_5",
            threshold=threshold,
            ceiling_cents=ceiling_cents,
            consent=True,
            once=None,
        )
        assert way is not None
        opened = str(way.purchase.stripe_session_id)
        assert self.stripe.pay(opened, **how)["error"] is None
        self.catch_up()
        assert topup_setup.save_cards() == 1

    def move(self, subscription: str, item: str, plan: str) -> None:
        """Change the plan at once, as the portal does after the confirmation."""
        price = plan_prices.price_of(plan=Plan.objects.get(slug=plan))
        change: Any = {
            "items": [{"id": item, "price": price}],
            "proration_behavior": "always_invoice",
        }
        self.stripe.client.v1.subscriptions.update(subscription, change)

    def intent(self, session_id: str) -> str:
        return str(gateway.session(session_id=session_id).payment_intent)

    def new_events(self, *types: str) -> list[Any]:
        """Return the events since the last call, oldest first."""
        fresh = [it for it in self.stripe.events() if it.id not in self.seen]
        wanted = [it for it in fresh if not types or it.type in types]
        self.seen |= {it.id for it in wanted}
        return wanted

    def post_events(
        self, events: list[Any], *, age: int = 0, secret: str = ""
    ) -> list[int]:
        """Post events as Stripe does. Returns the statuses of the responses."""
        return [
            post(json.dumps(it.to_dict(), default=str), age=age, secret=secret)
            for it in events
        ]

    def fault(self, path: str, **how: Any) -> None:
        """Let the emulator fail its next responses at a path."""
        self.stripe.call("POST", "/_emulator/api/faults", {"path": path, **how})

    def catch_up(self) -> None:
        """Post all new events, and handle them."""
        assert set(self.post_events(self.new_events())) <= {200}
        inbox.handle_due()


def post(body: str, *, age: int = 0, secret: str = "", path: str = WEBHOOK) -> int:
    at = int(time.time()) - age
    sign = stripe.WebhookSignature.generate_signature_header
    signature = sign(body, secret or WEBHOOK_SECRET, at)
    answer = APIClient().generic(
        "POST",
        path,
        body,
        content_type="application/json",
        headers={"Stripe-Signature": signature},
    )
    return int(answer.status_code)


def credits_of(user: User) -> Any:
    return from_micro(ledger.balance(account_id=user.pk).credits_micro)

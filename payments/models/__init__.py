"""Packs, plans, who set out to buy them, what was paid, and what Stripe told us."""

from payments.models.events import Drift, StripeEvent
from payments.models.packs import Pack, Plan, PlanPrice
from payments.models.payments import ClawedPiece, Payment, Reversal
from payments.models.purchases import (
    Customer,
    PastCustomer,
    PlanCheckout,
    Purchase,
    Subscription,
)
from payments.models.topups import TopUpAttempt, TopUpRule

__all__ = [
    "ClawedPiece",
    "Customer",
    "Drift",
    "Pack",
    "PastCustomer",
    "Payment",
    "Plan",
    "PlanCheckout",
    "PlanPrice",
    "Purchase",
    "Reversal",
    "StripeEvent",
    "Subscription",
    "TopUpAttempt",
    "TopUpRule",
]

"""Tables of payments: offers, purchases, payments, top-ups, and Stripe's events."""

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

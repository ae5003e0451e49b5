"""The catalog of plans and their Prices, and the plan that an account is on."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import QuerySet

from payments.models import Plan, PlanPrice, Subscription

FREE = "free"
# The Cosmiv guide names the first two; the third follows their pattern.
GUIDE = [
    {
        "slug": FREE,
        "name": "Cosmic Cadet",
        "price_cents": 0,
        "credits": 0,
        "features": ["60s limit", "Watermark"],
    },
    {
        "slug": "pro",
        "name": "Nebula Knight",
        "price_cents": 900,
        "credits": 10,
        "features": ["120s limit", "No watermark"],
    },
    {
        "slug": "creator",
        "name": "Galaxy Guardian",
        "price_cents": 1900,
        "credits": 25,
        "features": ["300s limit", "No watermark"],
    },
]


def seed() -> None:
    """Create the guide's plans where they are missing."""
    for plan in GUIDE:
        Plan.objects.get_or_create(slug=plan["slug"], defaults=plan)


def offered() -> QuerySet[Plan]:
    """Return the plans that can be chosen, cheapest first."""
    return Plan.objects.filter(active=True).order_by("price_cents", "pk")


def price_of(*, plan: Plan) -> str:
    """Return the id of the Price that a new subscriber pays, or an empty string."""
    if plan.stripe_price_id:
        remember_price(plan=plan, price=plan.stripe_price_id)
        return plan.stripe_price_id
    made = PlanPrice.objects.filter(plan=plan, price_cents=plan.price_cents, gone=False)
    known = made.order_by("-pk").first()
    return known.stripe_price_id if known else ""


def remember_price(*, plan: Plan, price: str) -> None:
    """Record a plan's Price in Stripe. Its subscribers may pay it for ever."""
    row, _ = PlanPrice.objects.get_or_create(
        stripe_price_id=price,
        defaults={"plan": plan, "price_cents": plan.price_cents},
    )
    if row.gone and row.plan_id == plan.pk:
        # Staff entered the id again, so a worker checks it at Stripe again.
        PlanPrice.objects.filter(pk=row.pk).update(gone=False)


def forget_price(*, price: str) -> None:
    """Stop offering a Price that Stripe does not sell. Its subscribers keep it."""
    PlanPrice.objects.filter(stripe_price_id=price).update(gone=True)
    Plan.objects.filter(stripe_price_id=price).update(stripe_price_id="")


def count_gone_prices(*, plan: Plan) -> int:
    """Count the plan's Prices that are gone, as a part of the idempotency key.

    Under an older key Stripe would return the Price that is gone.
    """
    return PlanPrice.objects.filter(plan=plan, gone=True).count()


def dearest_price(*, prices: Iterable[str]) -> PlanPrice | None:
    """Return the Price of the most expensive plan among `prices`.

    Prices of no plan, such as an add-on or a tax, do not count.
    """
    known = PlanPrice.objects.filter(stripe_price_id__in=list(prices))
    return known.select_related("plan").order_by("-plan__price_cents", "pk").first()


def prices_by_id(*, prices: Iterable[str]) -> dict[str, PlanPrice]:
    """Return those of `prices` that are Prices of plans, by Stripe's id."""
    rows = PlanPrice.objects.filter(stripe_price_id__in=list(prices))
    return {row.stripe_price_id: row for row in rows.select_related("plan")}


def find_price(*, price: str) -> PlanPrice | None:
    """Return the Price with this id in Stripe, whether current or earlier."""
    known = PlanPrice.objects.filter(stripe_price_id=price)
    return known.select_related("plan").first()


def subscription_of(*, account_id: UUID) -> Subscription | None:
    """Return the account's live subscription.

    Stripe may have several; then this is the one of the most expensive plan.
    """
    live = Subscription.objects.filter(
        account_id=account_id, status__in=Subscription.LIVE
    )
    return live.select_related("plan").order_by("-plan__price_cents", "pk").first()


def plan_of(*, account_id: UUID) -> str:
    """Return the slug of the live subscription's plan, else `free`."""
    subscription = subscription_of(account_id=account_id)
    return subscription.plan.slug if subscription else FREE

"""Plans: what there is, and which one an account is on."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import QuerySet

from payments.models import Plan, PlanPrice, Subscription

FREE = "free"
# Cosmiv's guide names the first two; the third is in their manner.
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
    for plan in GUIDE:
        Plan.objects.get_or_create(slug=plan["slug"], defaults=plan)


def offered() -> QuerySet[Plan]:
    return Plan.objects.filter(active=True).order_by("price_cents", "pk")


def price_of(*, plan: Plan) -> str:
    """The Price in Stripe that is paid for the plan today; empty if none was made."""
    if plan.stripe_price_id:
        remember_price(plan=plan, price=plan.stripe_price_id)
        return plan.stripe_price_id
    made = PlanPrice.objects.filter(plan=plan, price_cents=plan.price_cents, gone=False)
    known = made.order_by("-pk").first()
    return known.stripe_price_id if known else ""


def remember_price(*, plan: Plan, price: str) -> None:
    """Remember a plan's Price in Stripe, for as long as anybody may pay it."""
    row, _ = PlanPrice.objects.get_or_create(
        stripe_price_id=price,
        defaults={"plan": plan, "price_cents": plan.price_cents},
    )
    if row.gone and row.plan_id == plan.pk:
        # Staff typed it again: Stripe is asked again.
        PlanPrice.objects.filter(pk=row.pk).update(gone=False)


def forget_price(*, price: str) -> None:
    """Offer a Price no more that Stripe does not sell. Its subscribers keep it."""
    PlanPrice.objects.filter(stripe_price_id=price).update(gone=True)
    Plan.objects.filter(stripe_price_id=price).update(stripe_price_id="")


def count_gone_prices(*, plan: Plan) -> int:
    """How many of a plan's Prices are gone. Part of the key under which one is made:
    Stripe would answer an older key with the Price that is gone.
    """
    return PlanPrice.objects.filter(plan=plan, gone=True).count()


def dearest_price(*, prices: Iterable[str]) -> PlanPrice | None:
    """The plan among several prices. Those that are no plan's (an add-on, a tax) do not
    count, and of two plans the dearer one does.
    """
    known = PlanPrice.objects.filter(stripe_price_id__in=list(prices))
    return known.select_related("plan").order_by("-plan__price_cents", "pk").first()


def prices_by_id(*, prices: Iterable[str]) -> dict[str, PlanPrice]:
    """The plans' prices among several, by Stripe's id."""
    rows = PlanPrice.objects.filter(stripe_price_id__in=list(prices))
    return {row.stripe_price_id: row for row in rows.select_related("plan")}


def find_price(*, price: str) -> PlanPrice | None:
    """The plan's price that Stripe calls so, today's or an earlier one."""
    known = PlanPrice.objects.filter(stripe_price_id=price)
    return known.select_related("plan").first()


def subscription_of(*, account_id: UUID) -> Subscription | None:
    """The live subscription; of several (which Stripe could have), the dearest."""
    live = Subscription.objects.filter(
        account_id=account_id, status__in=Subscription.LIVE
    )
    return live.select_related("plan").order_by("-plan__price_cents", "pk").first()


def plan_of(*, account_id: UUID) -> str:
    """The plan's id: that of the live subscription, else `free`."""
    subscription = subscription_of(account_id=account_id)
    return subscription.plan.slug if subscription else FREE

"""Subscriptions: Stripe owns them; `Subscription` holds the last reading of each."""

from uuid import UUID

from django.db.models import F
from django.db.models.functions import Now

from accounts.models import User
from focus.errors import DomainError, NotFound
from payments import customers, gateway
from payments.models import PlanCheckout, PlanPrice, Subscription
from payments.plans import catalog as plan_catalog
from payments.stripe_objects import CheckoutSession, StripeSubscription

PLAN = "plan"
ATTEMPTS = 5


class UnknownPlan(NotFound):
    """There is no such plan, or it can no longer be chosen."""

    code = "unknown_plan"


class NotSubscribed(NotFound):
    """The account has no paid plan."""

    code = "not_subscribed"


def set_ending(*, account: User, ends: bool) -> Subscription:
    """End the plan with its paid month (`ends`), or let it renew again.

    Calls Stripe. Returns the subscription as it stands then. Raises `NotSubscribed`.
    """
    row = plan_catalog.subscription_of(account_id=account.pk)
    if row is None:
        raise NotSubscribed("There is no paid plan to cancel.")
    subscription_id = row.stripe_subscription_id
    refused: DomainError | None = None
    try:
        gateway.set_cancel_at_period_end(subscription_id=subscription_id, ends=ends)
    except (gateway.Missing, gateway.StripeRefused) as no:
        refused = no
    sync(subscription_id=subscription_id)
    row.refresh_from_db()
    if refused and not row.live:
        raise NotSubscribed("The plan has ended already.")
    if refused:
        raise refused
    return row


def record_checkout(*, session: CheckoutSession) -> str:
    """Record a plan's checkout that was paid or has expired. Returns the outcome."""
    closed = PlanCheckout.objects.filter(stripe_session_id=session.id, closed_at=None)
    if session.status in ("complete", "expired"):
        closed.update(closed_at=Now())
    if session.subscription is None:
        return f"{session.status}, no subscription"
    return sync(subscription_id=session.subscription)


def sync(*, subscription_id: str) -> str:
    """Read a subscription from Stripe and write it down. Returns the outcome in words.

    The version decides a race between two readings: a reading that began before another
    write is discarded and repeated. Calls Stripe, so no transaction may be open. Raises
    `UnknownPlan`, `gateway.Missing` for an unknown id, and `gateway.StripeBusy`.
    """
    for _ in range(ATTEMPTS):
        known = Subscription.objects.filter(stripe_subscription_id=subscription_id)
        version = known.values_list("version", flat=True).first()
        try:
            stands = gateway.subscription(subscription_id=subscription_id)
        except gateway.Missing:
            if version is None:
                raise
            return _mark_missing(subscription_id)
        account_id = customers.account_of_subscription(stands)
        if account_id is None:
            return "not a subscription of ours"
        price = plan_catalog.dearest_price(prices=[item.price for item in stands.items])
        if price is None:
            listed = ", ".join(item.price for item in stands.items)
            raise UnknownPlan(f"No plan has one of the prices {listed}.")
        if _write(stands, account_id, price, version):
            return f"{price.plan.slug}: {stands.status}"
    raise gateway.StripeBusy("The subscription is being worked on.")


def _mark_missing(subscription_id: str) -> str:
    """End the plan, because Stripe no longer has the subscription under our key.

    Each reconciliation reads it again, and revives it if Stripe has it again.
    """
    there = Subscription.objects.filter(stripe_subscription_id=subscription_id)
    there.exclude(status__in=Subscription.ENDED).update(
        status=Subscription.GONE, version=F("version") + 1, read_at=Now()
    )
    return "Stripe has no such subscription"


def _write(
    stands: StripeSubscription, account_id: UUID, price: PlanPrice, version: int | None
) -> bool:
    ends = [it.ends_at for it in stands.items if it.price == price.stripe_price_id]
    facts = {
        "plan": price.plan,
        "status": stands.status,
        "current_period_end": ends[0],
        "cancel_at_period_end": stands.cancel_at_period_end,
        "read_at": Now(),
        "version": (version or 0) + 1,
    }
    if version is None:
        _, new = Subscription.objects.get_or_create(
            stripe_subscription_id=stands.id,
            defaults={**facts, "account_id": account_id},
        )
        return new
    unread = Subscription.objects.filter(
        stripe_subscription_id=stands.id, version=version
    )
    return bool(unread.update(**facts))

"""Plans by the month: signing up, changing, ending.

Stripe keeps the subscription; `Subscription` is what it last told. An account has one
at a time: whoever has one changes it in Stripe's customer portal.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User
from focus.errors import DomainError, NotFound
from payments import customers, gateway, packs, plans
from payments.facts import Session, Subscribed
from payments.models import (
    Customer,
    Plan,
    PlanCheckout,
    Subscription,
)

PLAN = "plan"
# Shorter than Stripe's 24 hours, after which the session is gone by itself.
OPEN_FOR = timedelta(hours=23)
ATTEMPTS = 5


class UnknownPlan(NotFound):
    """There is no such plan, or nobody can choose it any more."""

    code = "unknown_plan"


class FreePlan(DomainError):
    """Nobody pays for the free plan; it is what is left when a paid one ends."""

    code = "free_plan"


class SamePlan(DomainError):
    """The account is on this plan already."""

    code = "already_subscribed"


class NotSubscribed(NotFound):
    """The account has no paid plan."""

    code = "not_subscribed"


@dataclass(frozen=True, slots=True)
class Way:
    """Where to go: Stripe's session, and its address."""

    session_id: str
    url: str


def choose(*, account: User, slug: str) -> Way:
    """To a plan: a checkout, or the portal's page where a subscription is changed.

    Asking again while nothing was paid leads to the same checkout. Asks Stripe, so no
    transaction may be open. Raises `UnknownPlan`, `FreePlan`, `SamePlan` and the
    gateway's refusals.
    """
    plan = plans.offered().filter(slug=slug).first()
    if plan is None:
        raise UnknownPlan("There is no such plan.")
    if not plan.price_cents:
        raise FreePlan("The free plan needs no checkout. Cancel a paid one instead.")
    customer = customers.known_to_stripe(account=account)
    live = _live(customer)
    if live is not None:
        return _change(customer, live, plan)
    return _check_out(account, customer, plan)


def manage(*, account: User) -> Way:
    """The portal: payment method, invoices, another plan, cancelling. Raises
    `NotSubscribed`.
    """
    customer = Customer.objects.filter(
        account=account, stripe_customer_id__isnull=False
    ).first()
    if customer is None:
        raise NotSubscribed("There is no paid plan to manage.")
    return Way(*gateway.open_portal(params=_portal(customer)))


def set_ending(*, account: User, ends: bool) -> Subscription:
    """Let the plan end with the month that is paid, or let it go on after all. Raises
    `NotSubscribed`.
    """
    row = plans.subscription_of(account_id=account.pk)
    if row is None:
        raise NotSubscribed("There is no paid plan to cancel.")
    gateway.end_at_period_end(subscription_id=row.stripe_subscription_id, ends=ends)
    sync(subscription_id=row.stripe_subscription_id)
    row.refresh_from_db()
    return row


@dataclass(frozen=True, slots=True)
class Chosen:
    """What became of a checkout: `pending`, `paid`, or `expired`."""

    name: str
    state: str


def chosen_in(*, session_id: str) -> Chosen | None:
    """The plan that is paid in this session, as far as Stripe has told."""
    if "\x00" in session_id:
        return None
    found = PlanCheckout.objects.filter(stripe_session_id=session_id)
    checkout = found.select_related("plan").first()
    if checkout is None:
        return None
    if plans.plan_of(account_id=checkout.account_id) == checkout.plan.slug:
        return Chosen(checkout.plan.name, "paid")
    return Chosen(checkout.plan.name, "expired" if checkout.closed_at else "pending")


def _live(customer: Customer) -> Subscribed | None:
    """As Stripe says now: an event about a new one may still be on its way."""
    listed = gateway.subscriptions_of(customer=str(customer.stripe_customer_id))
    return next((it for it in listed if it.status in Subscription.LIVE), None)


def _change(customer: Customer, live: Subscribed, plan: Plan) -> Way:
    now = plans.of_price(price=live.price)
    if now is not None and now.plan_id == plan.pk:
        raise SamePlan("You are on this plan already.")
    # Stripe shows what changes and what it costs, and asks the bank if need be.
    return Way(*gateway.open_portal(params=_portal(customer)))


def _portal(customer: Customer) -> dict[str, object]:
    return {
        "customer": customer.stripe_customer_id,
        "return_url": f"{settings.FRONTEND_URL}/credits",
    }


def _check_out(account: User, customer: Customer, plan: Plan) -> Way:
    checkout = _begin(account, plan)
    if not checkout.url:
        price = price_of(plan=plan)
        # Another price is another request: Stripe refuses it under the same key.
        session = gateway.open_session(
            params=_params(checkout, customer, price),
            key=f"focus-{checkout.pk}-session-{price}",
        )
        PlanCheckout.objects.filter(pk=checkout.pk).update(
            stripe_session_id=session.id, url=session.url
        )
        return Way(session.id, session.url)
    return Way(str(checkout.stripe_session_id), checkout.url)


def _begin(account: User, plan: Plan) -> PlanCheckout:
    """The account's open checkout of this plan. One of another plan is closed first, at
    Stripe too, so that nobody can pay for both.
    """
    for _ in range(ATTEMPTS):
        begun = PlanCheckout.objects.filter(account=account, closed_at=None).first()
        fresh = begun and begun.created_at > timezone.now() - OPEN_FOR
        if begun and fresh and begun.plan_id == plan.pk:
            return begun
        if begun:
            _close(begun)
        try:
            with transaction.atomic():
                return PlanCheckout.objects.create(account=account, plan=plan)
        except IntegrityError:
            # The account's other request was faster: look at what it has begun.
            continue
    raise gateway.StripeBusy("The same payment is just being set up.")


def _close(checkout: PlanCheckout) -> None:
    if checkout.stripe_session_id:
        session = gateway.session(session_id=checkout.stripe_session_id)
        if session.status == "open":
            # Refused if it is being paid this very moment; then the next request
            # finds the subscription.
            gateway.expire_session(session_id=session.id)
    PlanCheckout.objects.filter(pk=checkout.pk).update(closed_at=Now())


def _params(
    checkout: PlanCheckout, customer: Customer, price: str
) -> dict[str, object]:
    return {
        "mode": "subscription",
        "customer": customer.stripe_customer_id,
        "client_reference_id": str(checkout.pk),
        "metadata": {"focus": PLAN},
        "subscription_data": {
            "metadata": {"focus": PLAN, "account": str(checkout.account_id)}
        },
        "success_url": packs.success_url(),
        "cancel_url": f"{settings.FRONTEND_URL}/payment/cancelled",
        "line_items": [{"price": price, "quantity": 1}],
    }


def price_of(*, plan: Plan) -> str:
    """The plan's Price in Stripe, made when it is first needed."""
    if known := plans.price_of(plan=plan):
        return known
    params = {
        "currency": gateway.CURRENCY,
        "unit_amount": plan.price_cents,
        "recurring": {"interval": "month"},
        "product_data": {"name": plan.name, "metadata": {"focus_plan": plan.slug}},
        "metadata": {"focus_plan": plan.slug},
    }
    made = gateway.make_price(
        params=params, key=f"focus-{plan.key}-{plan.slug}-price-{plan.price_cents}"
    )
    # Two at once were given the same one by Stripe.
    plans.know_price(plan=plan, price=made)
    return made


def record_checkout(*, session: Session) -> str:
    """A checkout was paid, or has expired."""
    closed = PlanCheckout.objects.filter(stripe_session_id=session.id, closed_at=None)
    if session.status in ("complete", "expired"):
        closed.update(closed_at=Now())
    if session.subscription is None:
        return f"{session.status}, no subscription"
    return sync(subscription_id=session.subscription)


def sync(*, subscription_id: str) -> str:
    """Write down how a subscription stands. Asks Stripe, so no transaction may be open.

    Of two readings the later wins, whoever is slower to write.
    """
    for _ in range(ATTEMPTS):
        known = Subscription.objects.filter(stripe_subscription_id=subscription_id)
        version = known.values_list("version", flat=True).first()
        stands = gateway.subscription(subscription_id=subscription_id)
        account_id = customers.account_of(stands)
        if account_id is None:
            return "not a subscription of ours"
        price = plans.of_price(price=stands.price)
        if price is None:
            raise UnknownPlan(f"No plan has the price {stands.price}.")
        if _write(stands, account_id, price.plan, version):
            return f"{price.plan.slug}: {stands.status}"
    raise gateway.StripeBusy("The subscription is being worked on.")


def _write(
    stands: Subscribed, account_id: UUID, plan: Plan, version: int | None
) -> bool:
    said = {
        "plan": plan,
        "status": stands.status,
        "current_period_end": stands.period_ends_at,
        "cancel_at_period_end": stands.cancel_at_period_end,
        "read_at": Now(),
        "version": (version or 0) + 1,
    }
    if version is None:
        _, new = Subscription.objects.get_or_create(
            stripe_subscription_id=stands.id,
            defaults={**said, "account_id": account_id},
        )
        return new
    unread = Subscription.objects.filter(
        stripe_subscription_id=stands.id, version=version
    )
    return bool(unread.update(**said))

"""Choosing a plan: to a checkout, or to Stripe's page where a plan is changed.

An account pays for one subscription at a time.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User
from focus.errors import DomainError
from payments import customers, gateway, packs
from payments.models import Customer, Plan, PlanCheckout, Subscription
from payments.plans import catalog as plan_catalog
from payments.plans import prices as plan_prices
from payments.plans.subscriptions import ATTEMPTS, PLAN, NotSubscribed, UnknownPlan
from payments.stripe_objects import CheckoutSession, StripeSubscription

log = logging.getLogger(__name__)

# Shorter than Stripe's 24 hours, after which the session is gone by itself.
OPEN_FOR = timedelta(hours=23)


class FreePlan(DomainError):
    """The free plan has no price; it is what is left when a paid one ends."""

    code = "free_plan"


class SamePlan(DomainError):
    """The account is on this plan already."""

    code = "already_subscribed"


class PaymentUnderWay(DomainError):
    """A payment for a plan is being made; what comes of it must be known first."""

    code = "payment_under_way"


@dataclass(frozen=True, slots=True)
class StripePage:
    """Where to go: Stripe's session, and its address."""

    session_id: str
    url: str


def choose(*, account: User, slug: str) -> StripePage:
    """To a plan: a checkout, or the portal's page where a subscription is changed.

    Asking again while nothing was paid leads to the same checkout. Asks Stripe, so no
    transaction may be open. Raises `UnknownPlan`, `FreePlan`, `SamePlan`,
    `PaymentUnderWay` and the gateway's refusals.
    """
    plan = plan_catalog.offered().filter(slug=slug).first()
    if plan is None:
        raise UnknownPlan("There is no such plan.")
    if not plan.price_cents:
        raise FreePlan("The free plan needs no checkout. Cancel a paid one instead.")
    return customers.with_customer(
        account=account, call=lambda customer: _payable_page(account, customer, plan)
    )


def _payable_page(account: User, customer: Customer, plan: Plan) -> StripePage:
    """Let at most one subscription be paid, also under requests at the same time:

    1. A subscription that stands at Stripe is changed, or ended if its first payment
       never came.
    2. At most one checkout of the account is open, here and at Stripe.
    3. After ours is open, Stripe is asked again: another one may have been paid
       between 1 and 2. From here on only ours can be paid.
    """
    for _ in range(ATTEMPTS):
        if (standing := _standing(customer)) is not None:
            if (page := _change(customer, standing, plan)) is not None:
                return page
            continue
        checkout = _begin(account, plan)
        page = _open(checkout, customer, plan)
        if page is None:
            continue
        if _standing(customer) is None:
            return page
        _close(PlanCheckout.objects.get(pk=checkout.pk))
    raise gateway.StripeBusy("The same payment is just being set up.")


def manage(*, account: User) -> StripePage:
    """The portal: payment method, invoices, another plan, cancelling. Raises
    `NotSubscribed`.
    """
    known = Customer.objects.filter(account=account, stripe_customer_id__isnull=False)
    if not known.exists():
        raise NotSubscribed("There is no paid plan to manage.")
    return customers.with_customer(account=account, call=_portal_home)


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
    if plan_catalog.plan_of(account_id=checkout.account_id) == checkout.plan.slug:
        return Chosen(checkout.plan.name, "paid")
    return Chosen(checkout.plan.name, "expired" if checkout.closed_at else "pending")


def _standing(customer: Customer) -> StripeSubscription | None:
    """The account's subscription as Stripe says now: an event about it may still be on
    its way. One that is live goes before one that is not.

    What has only prices that are no plan's, and was never a plan of ours, is another
    product's.
    """
    listed = gateway.subscriptions_of(customer=str(customer.stripe_customer_id))
    open_ = [
        it for it in listed if it.status not in Subscription.ENDED and _is_ours(it)
    ]
    open_.sort(key=lambda it: it.status not in Subscription.LIVE)
    return open_[0] if open_ else None


def _is_ours(stands: StripeSubscription) -> bool:
    if plan_catalog.dearest_price(prices=[item.price for item in stands.items]):
        return True
    known = Subscription.objects.filter(stripe_subscription_id=stands.id)
    return known.exists()


def _change(
    customer: Customer, standing: StripeSubscription, plan: Plan
) -> StripePage | None:
    """Where a subscription that stands is changed, or paid. None where it stands no
    more, because it never began.
    """
    if standing.status == "incomplete":
        _end_unpaid(standing)
        return None
    if standing.status not in ("active", "trialing"):
        # What is owed comes first; the portal says what that is.
        return _portal_home(customer)
    now = plan_catalog.dearest_price(prices=[item.price for item in standing.items])
    if now is not None and now.plan_id == plan.pk:
        raise SamePlan("You are on this plan already.")
    return _confirm(customer, standing, plan)


def _end_unpaid(standing: StripeSubscription) -> None:
    """Cancel a subscription that never had its first payment. Raises `PaymentUnderWay`
    while a bank is still processing that payment.
    """
    for intent in gateway.open_intents_of_invoice(invoice_id=standing.latest_invoice):
        if intent.status == "processing":
            raise PaymentUnderWay("A payment for a plan is still on its way to us.")
    # Refused where it was paid, or has ended, meanwhile: then the next look says so.
    with suppress(gateway.StripeRefused, gateway.Missing):
        gateway.cancel_subscription(subscription_id=standing.id)


def _confirm(
    customer: Customer, standing: StripeSubscription, plan: Plan
) -> StripePage:
    """Stripe's page for this very change: what it costs now, and a button. The portal's
    home where Stripe offers no such page, as for several items.
    """
    params = _portal(customer)
    if len(standing.items) == 1:
        item = {
            "id": standing.items[0].id,
            "price": plan_prices.price_of(plan=plan),
            "quantity": 1,
        }
        flow = {
            "type": "subscription_update_confirm",
            "subscription_update_confirm": {
                "subscription": standing.id,
                "items": [item],
            },
            "after_completion": {
                "type": "redirect",
                "redirect": {"return_url": params["return_url"]},
            },
        }
        try:
            return StripePage(
                *gateway.create_portal_session(params={**params, "flow_data": flow})
            )
        except (gateway.StripeRefused, gateway.Missing) as no:
            # Most likely the portal is not set up to offer this plan's product.
            log.error("no confirmation of %s for %s: %s", plan, standing.id, no.message)
            plan_prices.check_again(plan=plan)
    return _portal_home(customer)


def _portal_home(customer: Customer) -> StripePage:
    return StripePage(*gateway.create_portal_session(params=_portal(customer)))


def _portal(customer: Customer) -> dict[str, object]:
    return {
        "customer": customer.stripe_customer_id,
        "return_url": f"{settings.FRONTEND_URL}/credits",
    }


def _open(checkout: PlanCheckout, customer: Customer, plan: Plan) -> StripePage | None:
    """Where it is paid. None where it is over, or another request closed it."""
    if checkout.stripe_session_id:
        if _is_open(checkout.stripe_session_id):
            return StripePage(checkout.stripe_session_id, checkout.url)
        _closed(checkout)
        return None
    session = plan_prices.with_price(
        plan=plan, ask=lambda price: _new_session(checkout, customer, price)
    )
    ours = PlanCheckout.objects.filter(pk=checkout.pk, closed_at=None)
    if ours.update(stripe_session_id=session.id, url=session.url):
        return StripePage(session.id, session.url)
    # Another request has begun another plan meanwhile: two must not be payable.
    with suppress(gateway.StripeRefused, gateway.Missing):
        gateway.expire_session(session_id=session.id)
    return None


def _new_session(
    checkout: PlanCheckout, customer: Customer, price: str
) -> CheckoutSession:
    params = _params(checkout, customer, price)
    key = f"focus-{checkout.pk}-session-{gateway.digest(params)}"
    return gateway.create_session(params=params, key=key)


def _is_open(session_id: str) -> bool:
    try:
        return gateway.session(session_id=session_id).status == "open"
    except gateway.Missing:
        return False


def _begin(account: User, plan: Plan) -> PlanCheckout:
    """The account's open checkout of this plan. One of another plan is closed first, at
    Stripe too, so that the person cannot pay for both.
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
    """Close it at Stripe, then here. A session that another request has attached
    meanwhile is closed too: the row is closed only with the session that was expired.
    """
    for _ in range(ATTEMPTS):
        known = checkout.stripe_session_id
        if known and _is_open(known):
            _expire(known)
        same = PlanCheckout.objects.filter(pk=checkout.pk, closed_at=None)
        if same.filter(stripe_session_id=known).update(closed_at=Now()):
            return
        checkout.refresh_from_db()
        if checkout.closed_at is not None:
            return
    raise gateway.StripeBusy("The same payment is just being set up.")


def _expire(session_id: str) -> None:
    try:
        gateway.expire_session(session_id=session_id)
    except gateway.StripeRefused:
        # Expired by another request, or just paid: then the next look says so.
        if _is_open(session_id):
            raise


def _closed(checkout: PlanCheckout) -> None:
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

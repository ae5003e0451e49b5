"""Choosing a plan: by a checkout, or by Stripe's portal if the account has a plan.

An account pays for one subscription at a time: see decision 35.
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

# Shorter than the 24 hours after which Stripe expires the session.
OPEN_FOR = timedelta(hours=23)


class FreePlan(DomainError):
    """The free plan has no checkout; an account is on it when a paid plan ends."""

    code = "free_plan"


class SamePlan(DomainError):
    """The account is on this plan already."""

    code = "already_subscribed"


class PaymentUnderWay(DomainError):
    """A bank is processing a payment for a plan; its outcome must be known first."""

    code = "payment_under_way"


@dataclass(frozen=True, slots=True)
class StripePage:
    """A page of Stripe's for the user: the session's id and its URL."""

    session_id: str
    url: str


def choose(*, account: User, slug: str) -> StripePage:
    """Return the page where a plan is paid: a checkout, or the portal's page of a
    change.

    A repetition before anything is paid returns the same checkout. Calls Stripe, so no
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
    """Let at most one subscription be paid, even under concurrent requests:

    1. Change the subscription that exists at Stripe, or cancel it if its first payment
       never came.
    2. Open one checkout for the account, here and at Stripe, and close any other.
    3. Read the subscriptions again: another checkout may have been paid between 1 and
       2. From here on only this checkout can be paid.
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
    """Return the customer portal: payment method, invoices, plan, cancellation.

    Calls Stripe. Raises `NotSubscribed` if the account has no customer.
    """
    known = Customer.objects.filter(account=account, stripe_customer_id__isnull=False)
    if not known.exists():
        raise NotSubscribed("There is no paid plan to manage.")
    return customers.with_customer(account=account, call=_portal_home)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The plan of a checkout, and its state: `pending`, `paid`, or `expired`."""

    name: str
    state: str


def chosen_in(*, session_id: str) -> Chosen | None:
    """Return the plan of a Checkout session, or None. Reads no more than our rows."""
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
    """Read the account's subscription from Stripe, because its event may be late.

    A live one goes before one that is not live. A subscription without a plan's Price
    that was never ours belongs to another product.
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
    """Return the page that changes or pays an existing subscription.

    Returns None if the subscription never began; then it is cancelled.
    """
    if standing.status == "incomplete":
        _end_unpaid(standing)
        return None
    if standing.status not in ("active", "trialing"):
        # The open invoice comes first, and the portal shows it.
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
    # Stripe refuses if it was paid or has ended meanwhile; the caller reads it again.
    with suppress(gateway.StripeRefused, gateway.Missing):
        gateway.cancel_subscription(subscription_id=standing.id)


def _confirm(
    customer: Customer, standing: StripeSubscription, plan: Plan
) -> StripePage:
    """Return Stripe's page that confirms this change and shows its cost.

    Returns the portal's home if Stripe offers no such page, as for several items.
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
                "redirect": {"return_url": f"{params['return_url']}?plan={plan.slug}"},
            },
        }
        try:
            return StripePage(
                *gateway.create_portal_session(params={**params, "flow_data": flow})
            )
        except (gateway.StripeRefused, gateway.Missing) as no:
            # The likely cause: the portal's settings do not include the plan's product.
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
    """Return the page of a checkout, or None if it is over or was closed meanwhile."""
    if checkout.stripe_session_id:
        if _is_open(checkout.stripe_session_id):
            return StripePage(checkout.stripe_session_id, checkout.url)
        _mark_closed(checkout)
        return None
    session = plan_prices.with_price(
        plan=plan, ask=lambda price: _new_session(checkout, customer, price)
    )
    ours = PlanCheckout.objects.filter(pk=checkout.pk, closed_at=None)
    if ours.update(stripe_session_id=session.id, url=session.url):
        return StripePage(session.id, session.url)
    # Another request has begun another plan meanwhile; two must not be payable.
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
    """Return the account's open checkout of this plan, or begin one.

    An open checkout of another plan is closed first, at Stripe too, so that the user
    cannot pay for both.
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
            # A concurrent request of the account was faster: read what it began.
            continue
    raise gateway.StripeBusy("The same payment is just being set up.")


def _close(checkout: PlanCheckout) -> None:
    """Close a checkout at Stripe, then here.

    The row is closed only with the session that was expired. A session that another
    request attached meanwhile is therefore closed too.
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
        # Expired by another request, or just paid: the caller reads it again.
        if _is_open(session_id):
            raise


def _mark_closed(checkout: PlanCheckout) -> None:
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

"""Stripe customers: one for each account that pays for a plan or saves a card."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from payments import gateway
from payments.models import Customer, PastCustomer, Subscription
from payments.stripe_objects import StripeSubscription

# Stripe forgets an idempotency key after 24 hours.
RESUMABLE = timedelta(hours=23)

T = TypeVar("T")


def ensure_customer(*, account: User) -> Customer:
    """Return the account's customer, and create it at Stripe if there is none.

    Calls Stripe, so no transaction may be open.
    """
    customer, _ = Customer.objects.get_or_create(account=account)
    if customer.stripe_customer_id:
        return customer
    params: dict[str, object] = {"metadata": {"account": str(account.pk)}}
    if account.email:
        params["email"] = account.email
    age = timezone.now() - customer.created_at
    step = f"{customer.renewals}-{age // RESUMABLE}"
    made = gateway.create_customer(
        params=params, key=f"focus-{customer.pk}-customer-{step}"
    )
    unset = Customer.objects.filter(pk=customer.pk, stripe_customer_id=None)
    unset.update(stripe_customer_id=made)
    customer.refresh_from_db()
    return customer


def with_customer(*, account: User, call: Callable[[Customer], T]) -> T:
    """Return what `call` returns for the account's customer.

    If Stripe no longer has that customer, create another one and call once more.
    """
    customer = ensure_customer(account=account)
    try:
        return call(customer)
    except (gateway.Missing, gateway.StripeRefused):
        if gateway.customer_exists(customer=str(customer.stripe_customer_id)):
            raise
    _forget(customer)
    return call(ensure_customer(account=account))


@transaction.atomic
def _forget(customer: Customer) -> None:
    """Move the customer's id to `PastCustomer`.

    Of two concurrent requests one moves it: the second finds another id, or none.
    """
    row = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    if row.stripe_customer_id is None or (
        row.stripe_customer_id != customer.stripe_customer_id
    ):
        return
    PastCustomer.objects.get_or_create(
        stripe_customer_id=row.stripe_customer_id,
        defaults={"account_id": row.account_id},
    )
    row.stripe_customer_id = None
    row.renewals += 1
    row.save(update_fields=["stripe_customer_id", "renewals"])


def account_of_subscription(stands: StripeSubscription) -> UUID | None:
    """Return the account of a subscription: by our row, else by its customer."""
    known = Subscription.objects.filter(stripe_subscription_id=stands.id)
    if (account_id := known.values_list("account_id", flat=True).first()) is not None:
        return account_id
    return account_of_customer(customer=stands.customer)


def account_of_customer(*, customer: str | None) -> UUID | None:
    """Return the account that has the customer, or had it before Stripe lost it."""
    if customer is None:
        return None
    for model in (Customer, PastCustomer):
        rows = model._default_manager.filter(stripe_customer_id=customer)
        found: UUID | None = rows.values_list("account_id", flat=True).first()
        if found is not None:
            return found
    return None

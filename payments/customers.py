"""Accounts as Stripe knows them."""

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
    """The account's customer, made at Stripe now if it never was. Asks Stripe, so no
    transaction may be open.
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
    """The answer of `call` for the account's customer. Where Stripe refuses because it
    does not have that customer any more, once again for a new one.
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
    """Two requests at once forget it once: the second finds another id, or none."""
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
    """The account that has the subscription: as we know it, or by its customer."""
    known = Subscription.objects.filter(stripe_subscription_id=stands.id)
    if (account_id := known.values_list("account_id", flat=True).first()) is not None:
        return account_id
    return account_of_customer(customer=stands.customer)


def account_of_customer(*, customer: str | None) -> UUID | None:
    """The account that has the customer, or had it."""
    if customer is None:
        return None
    for model in (Customer, PastCustomer):
        rows = model._default_manager.filter(stripe_customer_id=customer)
        found: UUID | None = rows.values_list("account_id", flat=True).first()
        if found is not None:
            return found
    return None

"""Accounts as Stripe knows them."""

from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from accounts.models import User
from payments import gateway
from payments.facts import Subscribed
from payments.models import Customer, Subscription

# Stripe forgets an idempotency key after 24 hours.
RESUMABLE = timedelta(hours=23)


def known_to_stripe(*, account: User) -> Customer:
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
    made = gateway.make_customer(
        params=params, key=f"focus-{customer.pk}-customer-{age // RESUMABLE}"
    )
    unset = Customer.objects.filter(pk=customer.pk, stripe_customer_id=None)
    unset.update(stripe_customer_id=made)
    customer.refresh_from_db()
    return customer


def account_of(stands: Subscribed) -> UUID | None:
    """Whose subscription it is: as we know its customer, or as it was made by us."""
    known = Subscription.objects.filter(stripe_subscription_id=stands.id)
    if (account_id := known.values_list("account_id", flat=True).first()) is not None:
        return account_id
    customer = Customer.objects.filter(stripe_customer_id=stands.customer).first()
    return customer.account_id if customer else None

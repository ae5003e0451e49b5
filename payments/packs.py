"""Packs of credits: the offer, a purchase by Stripe Checkout, and its credits."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User
from focus.errors import DomainError, NotFound
from focus.money import MICRO
from payments import customers, gateway
from payments.models import Pack, Payment, Purchase
from payments.stripe_objects import CheckoutSession
from wallet import ledger
from wallet.models import Grant

# The reviv guide shows this pack.
GUIDE = {"sku": "PACK_5", "credits": 5, "price_cents": 499}
# Stripe forgets an idempotency key after 24 hours; until then a retry is safe.
RESUMABLE = timedelta(hours=23)
# Marks our sessions: other products may use the same Stripe account.
PACK = "pack"


class UnknownPack(NotFound):
    """There is no such pack, or it is no longer for sale."""

    code = "unknown_pack"


class WrongAmount(DomainError):
    """Stripe took another amount than was asked for, so no credits are given."""

    code = "wrong_amount"


@dataclass(frozen=True, slots=True)
class PackCheckout:
    """A purchase, and the URL of the Stripe Checkout page that takes its payment."""

    purchase: Purchase
    url: str


def seed() -> None:
    """Create the pack that the reviv guide shows, if it is missing."""
    Pack.objects.get_or_create(sku=GUIDE["sku"], defaults=GUIDE)


def on_sale() -> QuerySet[Pack]:
    """Return the packs that can be bought, fewest credits first."""
    return Pack.objects.filter(active=True).order_by("credits", "pk")


def buy(*, account: User, sku: str, once: bytes | None = None) -> PackCheckout:
    """Begin to buy a pack. Calls Stripe, so no transaction may be open.

    `once` identifies the request: a repetition, concurrent or after a crash, returns
    the same checkout. Raises `UnknownPack` and the gateway's refusals.
    """
    return open_checkout(purchase=begin_purchase(account=account, sku=sku, once=once))


def open_checkout(*, purchase: Purchase) -> PackCheckout:
    """Return the checkout of a purchase, and open it if there is none. Calls Stripe."""
    if not purchase.url:
        _open_session(purchase)
    return PackCheckout(purchase, purchase.url)


def purchase_paid_in(*, session_id: str) -> Purchase:
    """Return the purchase of a Checkout session, paid or not. Raises `NotFound`."""
    found = Purchase.objects.filter(stripe_session_id=session_id)
    purchase = found.first() if "\x00" not in session_id else None
    if purchase is None:
        raise NotFound("There is no such payment.")
    return purchase


def begin_purchase(
    *, account: User, sku: str, once: bytes | None, saves_card: bool = False
) -> Purchase:
    """Write and return a purchase at today's price, before any call to Stripe.

    A known `once` (see `buy`) returns its purchase, also of a pack no longer on sale.
    Raises `UnknownPack` otherwise. `saves_card` keeps the card of the payment for
    automatic top-up.
    """
    if once is not None:
        begun = Purchase.objects.filter(account=account, once=once).first()
        if begun is not None:
            return begun
    pack = on_sale().filter(sku=sku).first()
    if pack is None:
        raise UnknownPack("There is no such pack.")
    # Committed before the call to Stripe, so a crash in between loses no payment.
    purchase, _ = Purchase.objects.get_or_create(
        **({"once": once} if once is not None else {"pk": Purchase().pk}),
        defaults={
            "account": account,
            "pack": pack,
            "credits_micro": pack.credits * MICRO,
            "price_cents": pack.price_cents,
            "saves_card": saves_card,
        },
    )
    return purchase


def _open_session(purchase: Purchase) -> None:
    if purchase.saves_card:
        session = customers.with_customer(
            account=purchase.account,
            call=lambda customer: _new_session(purchase, customer.stripe_customer_id),
        )
    else:
        session = _new_session(purchase, None)
    Purchase.objects.filter(pk=purchase.pk).update(
        stripe_session_id=session.id, url=session.url
    )
    purchase.stripe_session_id, purchase.url = session.id, session.url


def _new_session(purchase: Purchase, customer: str | None) -> CheckoutSession:
    params = _params(purchase, customer)
    age = timezone.now() - purchase.created_at
    # After RESUMABLE an earlier session has expired, or the inbox gets its event.
    step = f"session-{age // RESUMABLE}-{gateway.digest(params)}"
    return gateway.create_session(params=params, key=f"focus-{purchase.pk}-{step}")


def _params(purchase: Purchase, customer: str | None) -> dict[str, object]:
    whole = purchase.credits_micro // MICRO
    account = purchase.account
    params: dict[str, Any] = {
        "mode": "payment",
        "client_reference_id": str(purchase.pk),
        "metadata": {"focus": PACK},
        "payment_intent_data": {"metadata": {"focus": PACK}},
        "success_url": success_url(),
        "cancel_url": f"{settings.FRONTEND_URL}/payment/cancelled",
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": gateway.CURRENCY,
                    "unit_amount": purchase.price_cents,
                    "product_data": {"name": f"{whole:,} credits"},
                },
            }
        ],
    }
    if purchase.saves_card:
        params["customer"] = customer
        params["payment_intent_data"]["setup_future_usage"] = "off_session"
        # Only cards: a bank debit cannot serve automatic charges.
        params["payment_method_types"] = ["card"]
    elif account.email:
        params["customer_email"] = account.email
    return params


def success_url(**more: str) -> str:
    """Return the page that Stripe sends the payer back to."""
    # Stripe replaces the placeholder in braces, so it must not be URL-encoded.
    extra = f"&{urlencode(more)}" if more else ""
    return (
        f"{settings.FRONTEND_URL}/payment/success"
        f"?session_id={{CHECKOUT_SESSION_ID}}{extra}"
    )


def record(*, session: CheckoutSession) -> str:
    """Record the state of a Checkout session, once. Returns the outcome in words.

    A paid session grants its credits once, in the transaction that writes its payment.
    Sessions of other products are ignored. Locks the purchase. Raises `WrongAmount`.
    """
    if session.made_for != PACK:
        return "not a pack"
    try:
        purchase_id = UUID(session.reference)
    except ValueError:
        return "not a purchase of ours"
    with transaction.atomic():
        purchase = (
            Purchase.objects.select_for_update(no_key=True)
            .filter(pk=purchase_id)
            .first()
        )
        if purchase is None:
            return "not a purchase of ours"
        if session.paid:
            return _credit(purchase, session)
        return _unpaid(purchase, session)


def _credit(purchase: Purchase, session: CheckoutSession) -> str:
    asked = (gateway.CURRENCY, purchase.price_cents)
    if (session.currency, session.subtotal_cents) != asked:
        raise WrongAmount(
            f"{session.subtotal_cents} {session.currency} for {purchase.price_cents}"
        )
    # Keyed by session and not by purchase: two paid sessions are two payments.
    payment, new = Payment.objects.get_or_create(
        stripe_session_id=session.id,
        defaults={
            "account_id": purchase.account_id,
            "purchase": purchase,
            "stripe_payment_intent_id": session.payment_intent,
            "amount_cents": session.total_cents,
            "granted_micro": purchase.credits_micro,
        },
    )
    if not new:
        return "credited before"
    ledger.grant(
        account_id=purchase.account_id,
        amount_micro=purchase.credits_micro,
        source=Grant.Source.PURCHASE,
        category=Grant.Category.PAID,
        actor="system:stripe",
        reason=f"pack {purchase.pack.sku}",
        key=payment.money_key,
    )
    _move_on(purchase, Purchase.Status.PAID, paid_at=Now())
    return "credited"


def _unpaid(purchase: Purchase, session: CheckoutSession) -> str:
    """Move an open purchase on. An older reading must not overwrite a newer one."""
    if purchase.status == Purchase.Status.OPEN:
        if session.status == "complete":
            _move_on(purchase, Purchase.Status.PROCESSING)
        elif session.status == "expired":
            _move_on(purchase, Purchase.Status.EXPIRED)
    return f"{session.status}, {session.payment_status}"


def record_failed(*, session: CheckoutSession) -> str:
    """Record that a bank declined a delayed payment, such as a bank debit."""
    outcome = record(session=session)
    under_way = (Purchase.Status.OPEN, Purchase.Status.PROCESSING)
    Purchase.objects.filter(stripe_session_id=session.id, status__in=under_way).update(
        status=Purchase.Status.FAILED
    )
    return outcome


def _move_on(purchase: Purchase, status: str, **more: object) -> None:
    Purchase.objects.filter(pk=purchase.pk).update(status=status, **more)

"""Purchases: a person buys a tool with credits and gets a token for it.

A checkout is charged once, under any repeats and races. Later calls of a paid checkout
only return fresh tokens.
"""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import jwt
from accounts.credentials.principals import AppInactive, TokenEnded
from accounts.models import App, Consent, User
from accounts.partners import consents, redirects, tools
from focus.errors import DomainError, NotFound
from jobs.models import ToolPurchase
from wallet import ledger
from wallet.ledger import Balance

# How long the price of a checkout stays valid.
OPEN = timedelta(minutes=30)
TOKEN_SECONDS = 3600


class CheckoutExpired(DomainError):
    """The checkout was not paid in time. Nothing was charged."""

    code = "checkout_expired"


@dataclass(frozen=True, slots=True)
class Bought:
    """A paid purchase, a token for its tool, and the tool's `url` with that token.

    Both `token` and `url` are secrets.
    """

    purchase: ToolPurchase
    balance: Balance
    token: str = field(repr=False)
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verified:
    """The user, tool and purchase of a valid tool token, and the token's expiry."""

    user_id: uuid.UUID
    tool_id: uuid.UUID
    purchase_id: uuid.UUID
    expires_at: datetime


def create(*, user: User, tool_id: uuid.UUID) -> ToolPurchase:
    """Return an open checkout of a tool at its current price. Charges nothing.

    A person who has bought the tool gets the paid checkout, unless the tool is sold per
    use. An open checkout at the same price is returned again while at least half of its
    time is left. Raises `NotFound` or `AppInactive`.
    """
    app = tools.find_offered(tool_id=tool_id)
    if (bought := _owned_once(user, app)) is not None:
        return bought
    now = timezone.now()
    still_open = ToolPurchase.objects.filter(
        account=user,
        app=app,
        price_micro=app.price_micro,
        paid_at=None,
        revoked_at=None,
        # Leave the person time to read the price and decide.
        expires_at__gt=now + OPEN / 2,
    )
    found = still_open.select_related("app").order_by("-created_at").first()
    return found or ToolPurchase.objects.create(
        account=user, app=app, price_micro=app.price_micro, expires_at=now + OPEN
    )


def find(*, user: User, purchase_id: uuid.UUID) -> ToolPurchase:
    """Read one checkout of the person, with its tool. Raises `NotFound`."""
    return _purchase_of(ToolPurchase.objects.select_related("app"), user, purchase_id)


def owned(*, user: User) -> QuerySet[ToolPurchase]:
    """Return the person's paid purchases that are not revoked, newest first."""
    return (
        ToolPurchase.objects.select_related("app__owner")
        .filter(account=user, paid_at__isnull=False, revoked_at=None)
        .order_by("-paid_at", "-pk")
    )


@transaction.atomic
def process(
    *, user: User, purchase_id: uuid.UUID, visitor: Visitor = NO_VISITOR
) -> Bought:
    """Pay a checkout, unless it is paid, and return a token for its tool.

    The checkout costs the price that the person was shown. Paying also lets the tool
    spend the person's credits. If the person has bought the tool by another checkout
    meanwhile, this one returns a token of that purchase and charges nothing. A tool
    that is sold per use is paid at each checkout.

    Raises `NotFound`, also for another person's checkout, `AppInactive`,
    `CheckoutExpired` and as `ledger.consume`. Then nothing is charged or allowed. Locks
    the person's purchases of the tool, then the wallet, then the consent.
    """
    purchase = _locked(user, purchase_id)
    app = purchase.app
    if not app.is_live or not app.is_tool:
        raise AppInactive("This tool is inactive.")
    if purchase.paid_at is None:
        purchase = _owned_once(user, app) or purchase
    if purchase.paid_at is None:
        tools.require_offered(app)
    if purchase.paid_at is None and purchase.expires_at <= timezone.now():
        raise CheckoutExpired("This checkout has expired; start a new one.")
    if purchase.paid_at is None:
        balance = _pay(purchase, user, visitor)
    else:
        balance = ledger.balance(account_id=user.pk, app_id=app.pk)
    # After the wallet's lock, in the order of every other call: no deadlock.
    consents.grant(user=user, app_id=app.pk, after_movement=True)
    token = _token(purchase)
    return Bought(purchase, balance, token, redirects.with_token(app.tool_url, token))


def _locked(user: User, purchase_id: uuid.UUID) -> ToolPurchase:
    """Read a purchase, and lock all purchases of this tool by this person by id.

    Two calls that pay two checkouts of one tool each lock both rows. So the second
    call sees that the first checkout is paid.
    """
    rows = ToolPurchase.objects.select_related("app__owner")
    purchase = _purchase_of(rows, user, purchase_id)
    locked = ToolPurchase.objects.select_for_update(no_key=True, of=("self",)).filter(
        account=user, app=purchase.app
    )
    list(locked.order_by("pk").values_list("pk"))
    # A new statement sees the commits that the lock waited for.
    return _purchase_of(rows, user, purchase_id)


def _owned_once(user: User, app: App) -> ToolPurchase | None:
    """Return the person's paid purchase of a tool that is not sold per use."""
    if app.sold_per_use:
        return None
    return owned(user=user).filter(app=app).first()


def _pay(purchase: ToolPurchase, user: User, visitor: Visitor) -> Balance:
    app = purchase.app
    audit.record(
        "tool_bought",
        user=user,
        visitor=visitor,
        app=app.slug,
        purchase_id=str(purchase.pk),
        price_micro=purchase.price_micro,
    )
    purchase.paid_at = timezone.now()
    if purchase.price_micro == 0:
        purchase.save(update_fields=["paid_at"])
        return ledger.balance(account_id=user.pk, app_id=app.pk)
    taken = ledger.consume(
        account_id=user.pk,
        app=app,
        amount_micro=purchase.price_micro,
        actor=f"user:{user.pk}",
        reason=f"purchase of {app.name}",
        key=f"tool-purchase:{purchase.pk}",
        by_person=True,
        then=ledger.Consequence(
            _PAID, {"id": purchase.pk, "paid_at": purchase.paid_at}
        ),
    )
    purchase.movement_id = taken.movement_id
    return taken.balance


_PAID = """
    UPDATE jobs_toolpurchase SET paid_at = %(paid_at)s, movement_id = moved.movement_id
    FROM moved WHERE jobs_toolpurchase.id = %(id)s AND moved.outcome = 'taken'
"""


def verify(*, token: str) -> Verified:
    """Verify a tool token. Takes one query, and none for a token of another signer.

    The token ends with its purchase, with the person's account and with the person's
    consent to the tool. Raises `TokenExpired`, `InvalidToken` or `AppInactive`.
    """
    claims = jwt.read(jwt.TOOL, token)
    allowed = Consent.objects.filter(
        user=OuterRef("account"), app=OuterRef("app"), revoked_at=None
    )
    purchase = (
        ToolPurchase.objects.select_related("app__owner")
        .filter(
            Exists(allowed),
            pk=claims["checkout"],
            account=claims["sub"],
            app=claims["tool"],
            account__is_active=True,
            paid_at__isnull=False,
            revoked_at=None,
        )
        .first()
    )
    if purchase is None:
        raise TokenEnded("The token is invalid.")
    if not purchase.app.is_live:
        raise AppInactive("This tool is inactive.")
    ends = datetime.fromtimestamp(claims["exp"], UTC)
    return Verified(purchase.account_id, purchase.app_id, purchase.pk, ends)


@transaction.atomic
def revoke(*, purchase_id: uuid.UUID, actor: str) -> ToolPurchase:
    """Revoke a purchase, which ends its tokens at once. Returns no credits.

    Staff return credits by an adjustment. A repeat changes nothing. Raises `NotFound`.
    """
    rows = ToolPurchase.objects.select_for_update(no_key=True, of=("self",))
    purchase = rows.select_related("app", "account").filter(pk=purchase_id).first()
    if purchase is None:
        raise NotFound("There is no such purchase.")
    if purchase.revoked_at is None:
        purchase.revoked_at = timezone.now()
        purchase.save(update_fields=["revoked_at"])
        audit.record(
            "purchase_revoked",
            user=purchase.account,
            actor=actor,
            app=purchase.app.slug,
            purchase_id=str(purchase.pk),
        )
    return purchase


def _purchase_of(
    rows: QuerySet[ToolPurchase], user: User, purchase_id: uuid.UUID
) -> ToolPurchase:
    purchase = rows.filter(pk=purchase_id, account=user, revoked_at=None).first()
    if purchase is None:
        raise NotFound("There is no such checkout.")
    return purchase


def _token(purchase: ToolPurchase) -> str:
    now = int(timezone.now().timestamp())
    return jwt.sign(
        jwt.TOOL,
        {
            "sub": str(purchase.account_id),
            "tool": str(purchase.app_id),
            "checkout": str(purchase.pk),
            "jti": str(uuid.uuid4()),
            "iat": now,
            "exp": now + TOKEN_SECONDS,
        },
    )

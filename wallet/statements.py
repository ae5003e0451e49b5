"""Reads for a wallet's page: entries, grants, reservations, and the balance over time.

Functions about grants and reservations count expiries that no sweep has booked yet, as
`ledger.balance` does. Functions about entries return what is booked.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from accounts.models import App
from wallet.ledger import NOW
from wallet.models import Draw, Entry, Grant, Reservation, Wallet

OPEN = Reservation.Status.OPEN


@dataclass(frozen=True)
class Page:
    """A page of entries, the newest first.

    `older` and `newer` are the `before` of the neighbouring pages, or None. `of` is the
    number of all entries.
    """

    entries: list[Entry]
    first: int
    last: int
    of: int
    older: int | None
    newer: int | None


@dataclass(frozen=True)
class GrantLeft:
    """A grant with credits: `left_micro` can be spent, `reserved_micro` is reserved."""

    grant: Grant
    left_micro: int
    reserved_micro: int
    expired: bool


@dataclass(frozen=True)
class Point:
    """The wallet's balance from this moment on."""

    at: datetime
    credits_micro: int
    reserved_micro: int


@dataclass(frozen=True)
class Totals:
    """The sums over all wallets, as booked."""

    wallets: int
    available_micro: int
    reserved_micro: int
    debt_micro: int


def page(*, wallet: Wallet, before: int | None = None, size: int = 50) -> Page:
    """Return at most `size` entries numbered below `before`, or the newest ones.

    Entries are numbered without a gap, so this counts no rows.
    """
    end = wallet.seq + 1 if before is None else max(1, min(before, wallet.seq + 1))
    entries = list(_entries(wallet).filter(seq__lt=end).order_by("-seq")[:size])
    first = entries[-1].seq if entries else 0
    return Page(
        entries,
        first=first,
        last=entries[0].seq if entries else 0,
        of=wallet.seq,
        older=first if first > 1 else None,
        newer=min(end + size, wallet.seq + 1) if end <= wallet.seq else None,
    )


def all_entries(*, wallet: Wallet, chunk: int = 1000) -> Iterator[Entry]:
    """Yield all entries in order, by one query a chunk and without a transaction."""
    done = 0
    while True:
        entries = list(_entries(wallet).filter(seq__gt=done).order_by("seq")[:chunk])
        yield from entries
        if len(entries) < chunk:
            return
        done = entries[-1].seq


def grants_left(*, wallet: Wallet) -> list[GrantLeft]:
    """Return the grants that still hold credits, in spending order.

    Credits of an overdue reservation count as left. A grant past its expiry comes last,
    as `expired`, until that is booked.
    """
    held: dict[int, int] = defaultdict(int)
    freed: dict[int, int] = defaultdict(int)
    draws = Draw.objects.filter(reservation__wallet=wallet, reservation__status=OPEN)
    for grant_id, over, amount in (
        draws.annotate(over=Q(reservation__expires_at__lte=NOW))
        .values_list("grant_id", "over")
        .annotate(amount=Sum(F("amount_micro") - F("returned_micro")))
    ):
        (freed if over else held)[grant_id] += amount
    grants = (
        Grant.objects.filter(wallet=wallet)
        .filter(Q(has_credits=True) | Q(pk__in=[*held, *freed]))
        .select_related("app", "given_by")
        .annotate(over=Coalesce(Q(expires_at__lte=NOW), False))
    )
    left = [
        GrantLeft(
            grant, grant.remaining_micro + freed[grant.pk], held[grant.pk], grant.over
        )
        for grant in grants
    ]
    return sorted(left, key=_spending_order)


def restricted_by_app(*, account_id: UUID) -> list[tuple[App, int]]:
    """Return the micro-credits that only one app may spend, by app, as of now."""
    wallet = Wallet.objects.filter(account_id=account_id).first()
    sums: dict[App, int] = {}
    for left in grants_left(wallet=wallet) if wallet else []:
        app = left.grant.app
        if app is not None and left.left_micro and not left.expired:
            sums[app] = sums.get(app, 0) + left.left_micro
    return sorted(sums.items(), key=lambda pair: pair[0].name)


def _spending_order(left: GrantLeft) -> tuple[object, ...]:
    """Return the sort key of `ledger.draw` for staff, who may draw on any grant."""
    grant = left.grant
    return (
        left.expired,
        grant.app_id is None,
        grant.priority,
        grant.expires_at is None,
        grant.expires_at and grant.expires_at.timestamp(),
        grant.category == Grant.Category.PAID,
        grant.pk,
    )


def open_reservations(*, wallet: Wallet) -> QuerySet[Reservation]:
    """Return the reservations that have not expired by now, soonest expiry first."""
    return (
        Reservation.objects.filter(wallet=wallet, status=OPEN, expires_at__gt=NOW)
        .select_related("app")
        .order_by("expires_at", "pk")
    )


def curve(*, wallet: Wallet, since: datetime, steps: int = 240) -> list[Point]:
    """Return the balance since a moment, in at most `steps` points after the first.

    Each point is the last entry of its step. The first point is the balance at `since`,
    0 before the first entry.
    """
    earlier = Entry.objects.filter(wallet=wallet, booked_at__lt=since)
    before = earlier.order_by("-seq").first()
    start = Point(since, 0, 0) if before is None else _point(before, at=since)
    with connection.cursor() as cursor:
        cursor.execute(_CURVE, {"wallet": wallet.pk, "since": since, "steps": steps})
        return [start, *(Point(*row) for row in cursor.fetchall())]


_CURVE = """
    SELECT booked_at, available_after - debt_after, reserved_after FROM (
      SELECT DISTINCT ON (step) step, seq, booked_at, available_after, reserved_after,
        debt_after
      FROM (
        SELECT *, floor(%(steps)s * extract(epoch FROM booked_at - %(since)s)
          / greatest(1, extract(epoch FROM ledger.now() - %(since)s))) AS step
        FROM wallet_entry WHERE wallet_id = %(wallet)s AND booked_at >= %(since)s
      ) stepped ORDER BY step, seq DESC
    ) last_of_each ORDER BY seq
"""


def balance_changes(*, account_id: UUID, limit: int) -> list[tuple[Entry, int]]:
    """Return the last entries that changed the balance, newest first.

    Each comes with its signed micro-credits. The balance is available less debt, so a
    repayment of debt is not a change.
    """
    own = ("available", "debt")
    out = Q(debit__in=own) & ~Q(credit__in=own)
    into = Q(credit__in=own) & ~Q(debit__in=own)
    entries = (
        Entry.objects.filter(out | into, wallet__account_id=account_id)
        .select_related("app", "grant", "text")
        .order_by("-seq")[:limit]
    )
    return [
        (entry, entry.amount_micro if entry.credit in own else -entry.amount_micro)
        for entry in entries
    ]


def totals() -> Totals:
    """Return the sums over all wallets. One query, which reads no entry."""
    sums = Wallet.objects.aggregate(
        available=Coalesce(Sum("available_micro"), 0),
        reserved=Coalesce(Sum("reserved_micro"), 0),
        debt=Coalesce(Sum("debt_micro"), 0),
        wallets=Count("pk"),
    )
    return Totals(
        sums["wallets"],
        int(sums["available"]),
        int(sums["reserved"]),
        int(sums["debt"]),
    )


def charged_since(since: datetime) -> list[tuple[str, int]]:
    """Return (slug, micro-credits) of each app's revenue since a moment, most first."""
    earned = (
        Entry.objects.filter(booked_at__gte=since, credit__startswith="revenue:")
        .values_list("credit")
        .annotate(amount=Sum("amount_micro"))
        .order_by("-amount")
    )
    return [(credit.removeprefix("revenue:"), int(amount)) for credit, amount in earned]


def _entries(wallet: Wallet) -> QuerySet[Entry]:
    return Entry.objects.filter(wallet=wallet).select_related("app", "text")


def _point(entry: Entry, *, at: datetime) -> Point:
    return Point(at, entry.available_after - entry.debt_after, entry.reserved_after)

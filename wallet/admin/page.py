"""The template context of the wallet page."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone

from focus.admin_site import shown
from jobs import purposes
from wallet import budgets, ledger, statements
from wallet.admin import chart, words
from wallet.models import Adjustment, Entry, Wallet

# The ledger accounts that make up the owner's balance.
OWN = ("available", "debt")
PERIODS = {
    "7": "7 days",
    "30": "30 days",
    "90": "90 days",
    "365": "1 year",
    "all": "All",
}


def facts(request: HttpRequest, wallet: Wallet, *, now: datetime) -> dict[str, Any]:
    """Return the balance, chart, grants, reservations and one page of the statement.

    `now` is the database's time: expiry is judged by it. The request may name a page
    (`before`) and a period of the chart (`days`).
    """
    balance = ledger.balance(account_id=wallet.account_id)
    grants = statements.grants_left(wallet=wallet)
    page = statements.page(wallet=wallet, before=number(request.GET.get("before")))
    actors = words.Actors(page.entries)
    reasons = purposes.reasons(page.entries)
    movements = {entry.movement_id for entry in page.entries}
    adjusted = {
        row.movement_id: row
        for row in Adjustment.objects.filter(movement_id__in=movements)
    }
    days = request.GET.get("days", "30")
    days = days if days in PERIODS else "30"
    return {
        "balance": shown.credits_of(balance.credits_micro),
        "available": shown.credits_of(balance.available_micro),
        "only_at": [
            {"app": app, "credits": shown.credits_of(micro)}
            for app, micro in statements.restricted_by_app(account_id=wallet.account_id)
        ],
        "reserved": shown.credits_of(balance.reserved_micro),
        "debt": shown.credits_of(balance.debt_micro),
        "in_debt": balance.debt_micro > 0,
        "overdraft_limit": shown.credits_of(wallet.overdraft_limit_micro),
        "chart": _curve(wallet, balance, now, days),
        "periods": PERIODS,
        "days": days,
        "grants": [_grant_row(left, now) for left in grants],
        "next_expiry": _next_expiry(grants, now),
        "reservations": [
            {
                "job": row.pk,
                "app": row.app.slug,
                "amount": shown.credits_of(row.amount_micro),
                "until": shown.moment(row.expires_at),
                "left": _in_words(row.expires_at - now),
            }
            for row in statements.open_reservations(wallet=wallet)[:50]
        ],
        "spenders": [
            {
                "app": app,
                "spent": shown.credits_of(month.spent_micro),
                "limit": ""
                if month.limit_micro is None
                else shown.credits_of(month.limit_micro),
                "used_up": month.left_micro == 0,
            }
            for app, month in budgets.spenders_in_wallet(account_id=wallet.account_id)
        ],
        "page": page,
        "rows": [
            _row(entry, actors, wallet.account_id, reasons[entry.pk])
            | {"adjustment": adjusted.get(entry.movement_id)}
            for entry in page.entries
        ],
        "waiting": [
            {"pk": row.pk, "amount": shown.signed(row.amount_micro)}
            for row in Adjustment.objects.filter(
                account=wallet.account_id, state="pending", lapses_at__gt=timezone.now()
            )
        ],
    }


def _curve(wallet: Wallet, balance: ledger.Balance, now: datetime, days: str) -> Any:
    young = wallet.created_at - timedelta(minutes=1)
    since = young if days == "all" else max(young, now - timedelta(days=int(days)))
    points = statements.curve(wallet=wallet, since=since)
    latest = statements.Point(now, balance.credits_micro, balance.reserved_micro)
    return chart.draw([*points, latest], until=now)


def _grant_row(left: statements.GrantLeft, now: datetime) -> dict[str, Any]:
    grant = left.grant
    share = 100 * left.left_micro // grant.granted_micro
    return {
        "pk": grant.pk,
        "what": words.grant(grant),
        "category": grant.category,
        "priority": grant.priority,
        "granted": shown.credits_of(grant.granted_micro),
        "left": shown.credits_of(left.left_micro),
        "held": shown.credits_of(left.reserved_micro) if left.reserved_micro else "",
        "share": share,
        "expires": shown.moment(grant.expires_at) if grant.expires_at else "",
        "expires_in": _in_words(grant.expires_at - now) if grant.expires_at else "",
        "expired": left.expired,
    }


def _next_expiry(grants: list[statements.GrantLeft], now: datetime) -> dict[str, str]:
    due = [
        (left.grant.expires_at, left.left_micro)
        for left in grants
        if left.grant.expires_at and left.left_micro and not left.expired
    ]
    if not due:
        return {}
    at, micro = min(due)
    return {"amount": shown.credits_of(micro), "in": _in_words(at - now)}


def _in_words(wait: timedelta) -> str:
    seconds = int(wait.total_seconds())
    if seconds <= 0:
        return "now"
    for unit, length in (
        ("day", 86_400),
        ("hour", 3600),
        ("minute", 60),
        ("second", 1),
    ):
        if seconds >= length:
            count = seconds // length
            return f"in {count:,} {unit}{'' if count == 1 else 's'}"
    return "now"


def _row(
    entry: Entry, actors: words.Actors, owner: UUID, reason: str
) -> dict[str, Any]:
    gains = entry.credit in OWN and entry.debit != "available"
    loses = entry.debit in ("available", "debt")
    return {
        "entry": entry,
        "at": shown.moment(entry.booked_at),
        "kind": words.kind(entry),
        "reason": words.limit(entry) or reason,
        "colour": words.COLOURS.get(words.kind(entry), ""),
        "way": words.way(entry),
        "amount": shown.credits_of(entry.amount_micro),
        "sign": "+" if gains else "−" if loses else "",
        "available": shown.credits_of(entry.available_after),
        "reserved": shown.credits_of(entry.reserved_after),
        "balance": shown.credits_of(entry.available_after - entry.debt_after),
        "owed": entry.debt_after > 0,
        "uncovered": entry.uncovered_micro and shown.credits_of(entry.uncovered_micro),
        "actor": actors.name(entry, owner=owner),
        "job": f"{entry.job_id!s:.8}…",
    }


def number(text: str | None) -> int | None:
    """Return the number in `text` if it has 1 to 18 ASCII digits, else None."""
    plain = text and text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if text and plain else None

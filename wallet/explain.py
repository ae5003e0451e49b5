"""Explain a balance in lines that add up to it.

The lines come from the entries, the open reservations and the expired grants. The
balance comes from `ledger.balance`. One statement reads both, so a concurrent movement
cannot make them differ. A difference means that the ledger does not add up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from focus.money import from_micro
from wallet.models import Entry, Grant

# So many reservations get a line each. One line sums up the rest.
NAMED_RESERVATIONS = 20


@dataclass(frozen=True)
class ExplanationLine:
    """One cause of the balance, with its signed micro-credits."""

    amount_micro: int
    text: str


@dataclass(frozen=True)
class Explanation:
    """The lines, and the ledger's own balance to compare their sum with."""

    lines: list[ExplanationLine]
    balance_micro: int
    reserved_micro: int
    debt_micro: int

    @property
    def sum_micro(self) -> int:
        return sum(line.amount_micro for line in self.lines)

    @property
    def adds_up(self) -> bool:
        return self.sum_micro == self.balance_micro

    def __str__(self) -> str:
        """Return the explanation as text: a column of amounts, and the sum below."""
        rows = [
            (f"{from_micro(line.amount_micro):+,}", line.text) for line in self.lines
        ]
        rows.append((f"{from_micro(self.sum_micro):,}", "is the sum of these lines"))
        width = max(len(amount) for amount, _ in rows)
        told = [f"{amount:>{width}}  {text}" for amount, text in rows]
        told.insert(-1, "-" * width)
        return "\n".join([*told, "", *self.verdict()])

    def verdict(self) -> Iterator[str]:
        """Yield sentences: whether the lines explain the balance, and the debt."""
        balance = f"{from_micro(self.balance_micro):,}"
        if self.adds_up:
            yield f"The balance is {balance}: these lines explain all of it."
        else:
            off = from_micro(self.balance_micro - self.sum_micro)
            yield (
                f"The balance is {balance}, which is {off:+,} off these lines: the"
                " ledger does not add up. Run manage.py check_ledger."
            )
        if self.debt_micro:
            yield (
                f"{from_micro(self.debt_micro):,} of it is debt, repaid first by"
                " the next credits that are paid for."
            )


def explain(*, account_id: UUID) -> Explanation:
    """Explain the balance as of now. An account without a wallet has no lines."""
    explained = _read(account_id)
    # The statement reads the clock twice, so an expiry between both reads counts as
    # both. A second read finds it expired.
    return explained if explained.adds_up else _read(account_id)


def _read(account_id: UUID) -> Explanation:
    with connection.cursor() as cursor:
        cursor.execute(_SQL, {"account": account_id})
        columns = [column.name for column in cursor.description]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(row["part"], []).append(row)
    held = parts.get("reserved", [])
    due = parts.get("due", [])
    (balance,) = parts["balance"]
    return Explanation(
        [
            *map(_booked, sorted(parts.get("booked", []), key=_line_order)),
            *_reserved(held),
            *(
                ExplanationLine(-int(row["amount"]), _due(row))
                for row in due
                if row["amount"]
            ),
        ],
        balance_micro=int(balance["amount"]),
        reserved_micro=sum(int(row["amount"]) for row in held),
        debt_micro=int(balance["times"]),
    )


# Grants come first, then charges, claw-backs and expiries.
_ORDER = {
    kind: place
    for place, kind in enumerate(
        (
            Entry.Kind.GRANT,
            Entry.Kind.CONSUME,
            Entry.Kind.CHARGE,
            Entry.Kind.OVERAGE,
            Entry.Kind.OVERDRAFT,
            Entry.Kind.ADJUST,
            Entry.Kind.CLAW_BACK,
            Entry.Kind.REINSTATE,
            Entry.Kind.LAPSE,
        )
    )
}


def _line_order(row: dict[str, Any]) -> tuple[Any, ...]:
    came_in = row["kind"] == Entry.Kind.GRANT
    by_app = "" if came_in else row["app"] or "~"
    return (not came_in, by_app, _ORDER.get(row["kind"], len(_ORDER)), row["first_at"])


def _booked(row: dict[str, Any]) -> ExplanationLine:
    kind, times, app = row["kind"], row["times"], row["app"]
    when = _times(times, row["first_at"], row["last_at"])
    match kind:
        case Entry.Kind.GRANT:
            text = f"{_given(row['source'], app)} {when}"
        case Entry.Kind.CHARGE:
            text = f"charged by {app} for jobs {when}"
        case Entry.Kind.CONSUME:
            text = f"charged by {app} at once {when}"
        case Entry.Kind.OVERAGE:
            text = f"charged by {app} beyond what was reserved {when}"
        case Entry.Kind.OVERDRAFT:
            text = f"charged by {app} beyond the balance, as debt {when}"
        case Entry.Kind.ADJUST:
            text = f"taken back by staff {when}"
        case Entry.Kind.CLAW_BACK:
            text = f"taken back because their money went back {when}"
        case Entry.Kind.REINSTATE:
            text = f"given back because their money returned {when}"
        case Entry.Kind.LAPSE:
            text = f"expired unused {when}"
        case _:
            text = f"{kind} {when}"
    return ExplanationLine(int(row["amount"]), text)


def _given(source: str, app: str | None) -> str:
    match source:
        case Grant.Source.STARTER:
            return f"starter credits of {app}"
        case Grant.Source.PURCHASE:
            return "bought"
        case Grant.Source.PLAN:
            return "given by the plan"
        case Grant.Source.PROMO:
            return "given as a promotion"
        case Grant.Source.ADJUSTMENT:
            return "given by staff"
        case Grant.Source.REFUND:
            return "given back as a refund"
        case Grant.Source.REINSTATED:
            return "given back because their money returned, debt repaid meanwhile"
    return f"given as {source}"


def _reserved(held: list[dict[str, Any]]) -> Iterator[ExplanationLine]:
    for row in held[:NAMED_RESERVATIONS]:
        yield ExplanationLine(
            -int(row["amount"]),
            f"reserved by {row['app']} for job {row['job_id']} until"
            f" {row['last_at']:%Y-%m-%d %H:%M:%S} UTC",
        )
    if rest := held[NAMED_RESERVATIONS:]:
        amount = sum(int(row["amount"]) for row in rest)
        yield ExplanationLine(-amount, f"reserved for {len(rest):,} more jobs")


def _due(row: dict[str, Any]) -> str:
    return f"expired by now, to be booked {_times(row['times'], None, None)}"


def _times(times: int, first: datetime | None, last: datetime | None) -> str:
    told = "once" if times == 1 else f"{times:,} times"
    if first is None or last is None:
        return f"({told})"
    if first.date() == last.date():
        return f"({told}, {first:%Y-%m-%d})"
    return f"({told}, {first:%Y-%m-%d} to {last:%Y-%m-%d})"


# Every entry counts by its effect on available + reserved - debt, so a new kind of
# entry shows up under its own name. In the row `balance`, `times` is the debt.
_SQL = """
    WITH w AS MATERIALIZED (
      SELECT id FROM wallet_wallet WHERE account_id = %(account)s
    ), moment AS MATERIALIZED (
      SELECT ledger.now() AS t
    ), booked AS (
      SELECT e.kind, g.source,
        CASE WHEN e.credit LIKE 'revenue:%%' THEN substr(e.credit, 9) ELSE by.slug END
          AS app,
        sum(CASE WHEN e.credit IN ('available', 'reserved', 'debt') THEN 1 ELSE 0 END
          * e.amount_micro
          - CASE WHEN e.debit IN ('available', 'reserved', 'debt') THEN 1 ELSE 0 END
          * e.amount_micro) AS amount,
        count(*) AS times, min(e.booked_at) AS first_at, max(e.booked_at) AS last_at
      FROM w JOIN wallet_entry e ON e.wallet_id = w.id
      LEFT JOIN wallet_grant g ON g.id = e.grant_id AND e.kind = 'grant'
      LEFT JOIN accounts_app by ON by.id = g.given_by_id
      GROUP BY 1, 2, 3
    ), over AS (
      SELECT r.id FROM w JOIN wallet_reservation r ON r.wallet_id = w.id, moment
      WHERE r.status = 'open' AND r.expires_at <= moment.t
    ), expired_left AS (
      SELECT g.id, g.remaining_micro AS amount FROM w
      JOIN wallet_grant g ON g.wallet_id = w.id, moment
      WHERE g.has_credits AND g.expires_at <= moment.t
      UNION ALL
      SELECT g.id, d.amount_micro - d.returned_micro
      FROM over JOIN wallet_draw d ON d.reservation_id = over.id
      JOIN wallet_grant g ON g.id = d.grant_id, moment
      WHERE g.expires_at <= moment.t
    )
    SELECT 'booked' AS part, kind, source, app, amount, times, first_at, last_at,
      NULL::uuid AS job_id
    FROM booked WHERE amount <> 0
    UNION ALL
    SELECT 'reserved', NULL, NULL, a.slug, r.amount_micro, 1, NULL, r.expires_at, r.id
    FROM w JOIN wallet_reservation r ON r.wallet_id = w.id
    JOIN accounts_app a ON a.id = r.app_id, moment
    WHERE r.status = 'open' AND r.expires_at > moment.t
    UNION ALL
    SELECT 'due', NULL, NULL, NULL, coalesce(sum(amount), 0), count(DISTINCT id), NULL,
      NULL, NULL
    FROM expired_left
    UNION ALL
    SELECT 'balance', NULL, NULL, NULL, b.available_micro - b.debt_micro, b.debt_micro,
      NULL, NULL, NULL
    FROM ledger.balance(%(account)s, NULL) b
    ORDER BY part, first_at, last_at, kind, app
"""

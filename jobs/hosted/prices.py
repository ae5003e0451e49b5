"""Prices of hosted work: what it reserves, what is free this month, what it costs.

A price is a row that staff edit: app, action, unit, credits a unit, and free units a
calendar month (UTC), for one plan or for all others. A missing row means the price in
`SEEDS`. Work that costs 0 books nothing and needs no balance.

Free units are held like credits: a run that waits or works holds its own, a run that
succeeded keeps them, and a run that failed or was cancelled frees them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from django.db import transaction

from accounts.credentials.principals import AppInactive
from accounts.models import App, User
from accounts.partners import consents, first_party
from focus.database.statements import tuples
from focus.money import MICRO
from jobs import lifecycle, usage
from jobs.models import Job, Price, Run
from wallet import ledger

# What each app and action costs until staff change it: unit, micro-credits, free units.
SEEDS: Mapping[tuple[str, str], tuple[str, int, int]] = {
    ("reviv", "restore"): ("photo", 0, 0),
    ("reviv", "unlock"): ("photo", 1 * MICRO, 0),
    ("cosmiv", "montage"): ("montage", 0, 0),
    ("clipforge", "detect"): ("minute", 1 * MICRO, 600),
    ("clipforge", "export"): ("export", 1 * MICRO, 100),
}


@dataclass(frozen=True, slots=True)
class Terms:
    """The price of one unit of an action for an account, and the free units a month."""

    unit: str
    unit_micro: int
    free_units_a_month: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Units of work with their price. `free_units` of them cost nothing this month.

    The columns of the same names in `Run` keep them.
    """

    units: int
    free_units: int
    unit_micro: int

    @property
    def micro(self) -> int:
        return (self.units - self.free_units) * self.unit_micro

    @property
    def columns(self) -> dict[str, int]:
        return {
            "units": self.units,
            "free_units": self.free_units,
            "unit_micro": self.unit_micro,
        }


@dataclass(frozen=True, slots=True)
class Opened:
    """A started Focus job, and the units that its run must store (`hold.columns`)."""

    job: Job
    hold: Hold


@dataclass(frozen=True, slots=True)
class UnitCharge:
    """A charge without a job. Without a price there is no movement.

    `balance_micro` is what the app may spend after it.
    """

    movement_id: UUID | None
    amount_micro: int
    balance_micro: int


def _no_plan(*, account_id: UUID) -> str:
    return ""


_plan_of: Callable[..., str] = _no_plan


def read_plans_by(plan_of: Callable[..., str]) -> None:
    """Set the function that returns the slug of an account's plan.

    It takes `account_id`. Payments know the plans, and this package may not import
    them, so the project connects the two when it starts.
    """
    global _plan_of
    _plan_of = plan_of


def terms(*, app_slug: str, action: str, account_id: UUID) -> Terms:
    """Return an action's price for the account's plan.

    Takes one query, and one more where the action has a price for some plan alone.
    Raises `KeyError` for an action that has no price.
    """
    unit, unit_micro, free = SEEDS[app_slug, action]
    rows = {
        row.plan: row
        for row in Price.objects.filter(
            app__slug=app_slug, app__owner=None, action=action
        )
    }
    found = rows.pop("", None)
    if rows:
        found = rows.get(_plan_of(account_id=account_id), found)
    if found is None:
        return Terms(unit, unit_micro, free)
    return Terms(found.unit, found.credits_micro, found.free_units_a_month)


def estimate(*, app_slug: str, action: str, units: int, account_id: UUID) -> int:
    """Return the micro-credits that this work would cost now. Holds nothing."""
    price = terms(app_slug=app_slug, action=action, account_id=account_id)
    free = _left(price, app_slug, action, account_id) if units else 0
    return Hold(units, min(units, free), price.unit_micro).micro


def hold(*, app_slug: str, action: str, units: int, account_id: UUID) -> Hold:
    """Decide how many units are free, for a run that this transaction writes.

    Where the action has free units, locks the wallet until the transaction ends, so
    that parallel starts see each other's runs and cannot pass the month's free units.
    The caller must store `hold.columns` in its run before the commit.
    """
    price = terms(app_slug=app_slug, action=action, account_id=account_id)
    free = 0
    if units and price.free_units_a_month:
        ledger.lock(account_id=account_id)
        free = _left(price, app_slug, action, account_id)
    return Hold(units, min(units, free), price.unit_micro)


@transaction.atomic
def start(
    *,
    account_id: UUID,
    app_slug: str,
    action: str,
    units: int,
    metadata: dict[str, Any],
    ttl_seconds: int | None = None,
) -> Opened:
    """Start the Focus job of hosted work: hold its units and reserve their price.

    The person's request for the work is the person's consent to the app, so it is
    recorded with the job. The caller writes the run in the same transaction, with
    `opened.hold.columns`.

    Raises `InsufficientCredits`, `BudgetExceeded`, `AppInactive`, `TokenEnded` for a
    closed account, and `ProductUnavailable`. Then nothing is written. Locks the wallet,
    then the consent.
    """
    app = first_party.app(app_slug)
    held = hold(app_slug=app_slug, action=action, units=units, account_id=account_id)
    outcome = lifecycle.start(
        account_id=account_id,
        app=app,
        action=action,
        estimate_micro=held.micro,
        metadata=metadata,
        actor=f"user:{account_id}",
        ttl_seconds=ttl_seconds,
        hosted=True,
    )
    _let_in(account_id, app)
    return Opened(outcome.job, held)


def charge_of(run: Run, *, units: int | None = None) -> int:
    """Return what a run's outcome costs: its units at the price of its start.

    `units` is the measured amount of work where it differs from what the run holds. The
    run then keeps that many, and no more free ones; more than it holds is not charged.
    Writes the run's row where the units change, so the caller holds its lock.
    """
    if units is not None and units < run.units:
        run.units, run.free_units = units, min(units, run.free_units)
        run.save(update_fields=["units", "free_units"])
    return Hold(run.units, run.free_units, run.unit_micro).micro


@transaction.atomic
def charge_once(
    *, account_id: UUID, app_slug: str, action: str, key: str, reason: str
) -> UnitCharge:
    """Charge one unit of an action without a job, once per `key` for ever.

    For work that is paid after it was done, such as the unlock of a photo: the caller
    locks its own row, calls this, and writes what was paid for, in one transaction.
    `key` is the action, a colon, and an id that cannot be guessed: the app may have
    been a partner's before, which chose its own keys. The month's free units do not
    apply. The person's request is the person's consent to the app.

    Raises `InsufficientCredits` (facts `required` and `available`, in credits),
    `BudgetExceeded`, `AppInactive`, `TokenEnded`, `ProductUnavailable`, and
    `DuplicateRequest` for a key that has charged before. Then nothing is charged. Locks
    the wallet, then the consent.
    """
    app = first_party.app(app_slug)
    if not app.is_live:
        raise AppInactive("This app is inactive.")
    price = terms(app_slug=app_slug, action=action, account_id=account_id)
    if price.unit_micro == 0:
        balance = ledger.balance(account_id=account_id, app_id=app.pk)
        return UnitCharge(None, 0, balance.credits_micro)
    charged = usage.charge(
        account_id=account_id,
        app=app,
        amount_micro=price.unit_micro,
        reason=reason,
        key=key,
        actor=f"user:{account_id}",
        hosted=True,
    )
    _let_in(account_id, app)
    return UnitCharge(charged.movement_id, price.unit_micro, charged.balance_micro)


def _let_in(account_id: UUID, app: App) -> None:
    """Record the consent after the wallet's lock, in the order of every other call."""
    user = User.objects.get(pk=account_id)
    consents.grant(user=user, app_id=app.pk, after_movement=True)


def _left(price: Terms, app_slug: str, action: str, account_id: UUID) -> int:
    if price.free_units_a_month == 0:
        return 0
    params = {"account": account_id, "app": app_slug, "action": action}
    [[held]] = tuples(_FREE_UNITS_HELD, params)
    return max(0, price.free_units_a_month - int(held))


# A run counts in the month in which it ended well, and until then in each.
_FREE_UNITS_HELD: LiteralString = """
    SELECT coalesce(sum(r.free_units), 0)
    FROM jobs_run r JOIN jobs_job j ON j.id = r.job_id
    JOIN accounts_app a ON a.id = j.app_id
    WHERE r.account_id = %(account)s AND a.slug = %(app)s AND j.action = %(action)s
      AND (r.state IN ('queued', 'running') OR r.state = 'done' AND r.finished_at
        >= date_trunc('month', ledger.now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')
"""

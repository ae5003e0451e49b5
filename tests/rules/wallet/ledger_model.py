"""A model of the ledger in plain Python, which the property test compares it with.

Integers are micro-credits, `now` is seconds, an app is a letter. The model has no
entries and no locks, only the expected balances.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Grant:
    number: int
    left: int
    priority: int
    expires: int | None
    paid: bool
    app: str | None
    size: int = 0
    clawed: int = 0

    def rank(self):
        never = self.expires is None
        return (
            self.app is None,
            self.priority,
            never,
            self.expires or 0,
            self.paid,
            self.number,
        )


@dataclass
class Reservation:
    app: str
    amount: int
    expires: int
    draws: list[tuple[Grant, int]]
    month: int
    state: str = "open"


@dataclass
class Job:
    """A job's start and its end by now, also without a reservation."""

    began: int
    ends: int


@dataclass
class ClawBack:
    grant: Grant
    amount: int
    owed: int
    draws: list[tuple[Grant, int]]
    reinstated: bool = False


@dataclass
class Model:
    limit: int = 0
    now: int = 0
    debt: int = 0
    grants: list[Grant] = field(default_factory=list)
    holds: dict[int, Reservation] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    late_settled: set[int] = field(default_factory=set)
    claw_backs: list[ClawBack] = field(default_factory=list)
    # The hours at which a new month begins.
    months: list[int] = field(default_factory=list)
    budgets: dict[str, int] = field(default_factory=dict)
    spent: Counter[tuple[str, int]] = field(default_factory=Counter)
    # The apps with a live consent.
    consents: set[str] = field(default_factory=set)
    account_open: bool = True
    # Apps that are inactive, or owned by a closed account.
    dead_apps: set[str] = field(default_factory=set)

    def pass_time(self, seconds):
        """Expire reservations and grants by time alone, without a sweep."""
        self.now += seconds
        self._catch_up()

    def available(self):
        return sum(grant.left for grant in self.grants)

    def reserved(self):
        return sum(hold.amount for hold in self.holds.values() if hold.state == "open")

    def covered(self, app):
        mine = [grant.left for grant in self.grants if grant.app in (None, app)]
        return sum(mine) - self.debt

    def month(self):
        return sum(begins <= self.now for begins in self.months)

    def room(self, app):
        """Return the rest of the app's budget this month; a huge number without one."""
        if app not in self.budgets:
            return 10**9
        return max(0, self.budgets[app] - self.spent[app, self.month()])

    def spendable(self, app):
        return min(self.covered(app), self.room(app))

    def forbidden(self, app, by_person=False):
        if not by_person and not (self.account_open and app in self.consents):
            return "not granted"
        if not self.account_open:
            return "closed"
        return "inactive" if app in self.dead_apps else None

    def refusal(self, app, amount):
        if amount > self.covered(app):
            return "insufficient"
        return "limit" if amount > self.room(app) else None

    def grant(self, amount, *, priority, expires, paid, app, adjustment=False):
        repaid = min(self.debt, amount) if paid or adjustment else 0
        self.debt -= repaid
        number = len(self.grants)
        self.grants.append(
            Grant(number, amount - repaid, priority, expires, paid, app, amount)
        )
        self._catch_up()

    def reserve(self, job, app, amount, ttl, by_person=False):
        if refused := self.forbidden(app, by_person):
            return refused
        if amount and (refused := self.refusal(app, amount)):
            return refused
        self.jobs[job] = Job(self.now, self.now + ttl)
        if amount:
            draws = self._draw(app, amount)
            month = self.month()
            self.holds[job] = Reservation(app, amount, self.now + ttl, draws, month)
            self.spent[app, month] += amount
        return "ok"

    def extend(self, job, app, ttl, longest):
        """Return ("ok", end, changed) or the refusal."""
        hold, times = self.holds.get(job), self.jobs[job]
        if hold and hold.state in ("settled", "released"):
            return "already"
        if times.ends <= self.now:
            return "expired"
        if refused := self.forbidden(app):
            return refused
        # The real clock is a moment later than the model's.
        if self.now + ttl >= times.began + longest:
            return "too long"
        changed = self.now + ttl >= times.ends
        if changed:
            times.ends = self.now + ttl
            if hold:
                hold.expires = times.ends
        return ("ok", times.ends, changed)

    def settle(self, job, app, cost, policy):
        """Return ("ok", charged, returned, uncovered, late) or the refusal."""
        hold = self.holds.get(job)
        if (hold and hold.state in ("settled", "released")) or job in self.late_settled:
            return "already"
        held = hold.amount if hold and hold.state == "open" else 0
        late = hold is not None and hold.state == "expired"
        kept = min(cost, held)
        fresh = min(cost - kept, max(0, self.spendable(app))) if cost > held else 0
        if self.forbidden(app):
            fresh, policy = 0, "held"
        uncovered = cost - kept - fresh
        owed = 0
        if policy == "overflow":
            room = self.room(app) - fresh
            owed = min(uncovered, max(0, self.limit - self.debt), room)
            uncovered -= owed
        if policy == "reject" and uncovered:
            return self.refusal(app, cost - held)
        if held:
            assert hold
            hold.state = "settled"
            self._give_back(hold, held - kept)
        self._draw(app, fresh)
        self.debt += owed
        self.spent[app, self.month()] += fresh + owed
        charged = kept + fresh + owed
        if not held and charged:
            self.late_settled.add(job)
        self._catch_up()
        return ("ok", charged, held - kept, uncovered, late)

    def release(self, job):
        hold = self.holds.get(job)
        if hold is None:
            return ("ok", 0)
        if hold.state in ("settled", "released"):
            return "already"
        if hold.state == "expired":
            return ("ok", 0)
        hold.state = "released"
        self._give_back(hold, hold.amount)
        self._catch_up()
        return ("ok", hold.amount)

    def consume(self, app, amount, by_person=False):
        if refused := self.forbidden(app, by_person):
            return refused
        if refused := self.refusal(app, amount):
            return refused
        self._draw(app, amount)
        self.spent[app, self.month()] += amount
        return "ok"

    def take_back(self, amount):
        if amount > self.available() - self.debt:
            return "insufficient"
        self._draw(None, amount, anything=True)
        return "ok"

    def claw_back(self, number, amount):
        """Return ("ok", taken, owed) or the refusal."""
        grant = self.grants[number]
        if not grant.paid:
            return "unknown"
        if amount > grant.size - grant.clawed:
            return "exceeds"
        order = sorted(
            self.grants,
            key=lambda other: (
                other is not grant,
                other.app not in (None, grant.app),
                other.rank(),
            ),
        )
        draws = []
        owed = amount
        for other in order:
            part = min(owed, other.left)
            if part:
                other.left -= part
                owed -= part
                draws.append((other, part))
        self.debt += owed
        grant.clawed += amount
        self.claw_backs.append(ClawBack(grant, amount, owed, draws))
        return ("ok", amount - owed, owed)

    def reinstate(self, number):
        """Return credits to their grants, forgive debt, and grant repaid debt anew."""
        back = self.claw_backs[number]
        if back.reinstated:
            return "already"
        back.reinstated = True
        back.grant.clawed -= back.amount
        for grant, part in back.draws:
            grant.left += part
        forgiven = min(back.owed, self.debt)
        self.debt -= forgiven
        if fresh := back.owed - forgiven:
            old = back.grant
            self.grants.append(
                Grant(
                    len(self.grants),
                    fresh,
                    old.priority,
                    old.expires,
                    True,
                    old.app,
                    fresh,
                )
            )
        self._catch_up()
        return "ok"

    def _draw(self, app, amount, *, anything=False):
        draws = []
        for grant in sorted(self.grants, key=Grant.rank):
            if anything or grant.app in (None, app):
                part = min(amount, grant.left)
                if part:
                    grant.left -= part
                    amount -= part
                    draws.append((grant, part))
        assert amount == 0
        return draws

    def _give_back(self, hold, amount):
        self.spent[hold.app, hold.month] -= amount
        for grant, drawn in reversed(hold.draws):
            part = min(amount, drawn)
            grant.left += part
            amount -= part
        assert amount == 0

    def _catch_up(self):
        for hold in self.holds.values():
            if hold.state == "open" and hold.expires <= self.now:
                hold.state = "expired"
                self._give_back(hold, hold.amount)
        for grant in self.grants:
            if grant.expires is not None and grant.expires <= self.now:
                grant.left = 0

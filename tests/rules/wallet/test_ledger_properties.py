"""Property test: for every order of calls, the ledger agrees with the model.

After each call the test compares every app's balance and every grant with the model. So
a refusal must be right and must have changed nothing.
"""

import uuid
from datetime import timedelta

from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts.credentials.principals import AppInactive, TokenEnded
from accounts.models import App, User
from accounts.partners import consents
from accounts.partners.consents import AppNotGranted
from accounts.signin import closing
from tests.rules.wallet.ledger_model import Model
from wallet import invariants, ledger
from wallet.models import Grant

# The model's unit of time. Real time passes too, but never an hour per example.
HOUR = 3600
MONTH_ENDS_IN = 4
LONGEST = 7 * 24
_UNTIL_A_MONTH_ENDS = f"""
    SELECT extract(epoch FROM date_trunc('month', now() AT TIME ZONE 'UTC')
      + interval '1 month' - interval '{MONTH_ENDS_IN} h' + interval '30 min'
      - now() AT TIME ZONE 'UTC')::text
"""
amounts = st.integers(0, 30)
costs = amounts | st.integers(40, 120)
some = st.integers(1, 30)
app = st.sampled_from("ab")
job = st.integers(0, 5)
hours = st.integers(1, 6)
# A closed account or app is opened again soon.
mostly = st.sampled_from([True, True, False])
policies = st.sampled_from(["cap", "reject", "overflow"])
grants = st.tuples(
    st.just("grant"),
    some,
    st.sampled_from([0, 50]),
    st.none() | hours,
    st.booleans(),
    st.none() | app,
)
wishes = st.lists(
    st.one_of(
        grants,
        st.tuples(st.just("reserve"), app, amounts, hours, st.booleans()),
        st.tuples(st.just("work"), app, amounts, costs, policies),
        st.tuples(st.just("extend"), job, hours | st.integers(160, 170)),
        st.tuples(st.just("settle"), job, costs, policies),
        st.tuples(st.just("release"), job),
        st.tuples(st.just("consume"), app, some, st.booleans()),
        st.tuples(st.just("let"), app, mostly),
        st.tuples(st.just("open"), mostly),
        st.tuples(st.just("live"), app, mostly, st.booleans()),
        st.tuples(st.just("adjust"), some, st.booleans()),
        st.tuples(st.just("claw_back"), st.integers(0, 4), some),
        st.tuples(st.just("reinstate"), st.integers(0, 3)),
        st.tuples(st.just("budget"), app, st.none() | amounts),
        st.tuples(st.just("wait"), st.integers(1, 4)),
        st.tuples(st.just("sweep")),
    ),
    min_size=5,
    max_size=30,
)


class TheLedgerAgreesWithTheModel(TestCase):
    def tearDown(self):
        self.offset = "0"
        self._set_clock(0)

    # A database call takes longer than Hypothesis likes an example to.
    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.integers(0, 20),
        st.booleans(),
        st.lists(grants, min_size=2, max_size=5),
        wishes,
    )
    def test_every_order_of_calls_agrees_with_the_model(
        self, limit, in_debt, given_first, wishes
    ):
        self._begin(limit)
        if in_debt and limit:
            self.do_reserve("a", 0, 1)
            self.do_settle(0, limit, "overflow")
        for verb, *payload in [*given_first, *wishes]:
            getattr(self, f"do_{verb}")(*payload)
            self.compare()
        self.do_sweep()
        assert invariants.violations() == []

    def _begin(self, limit):
        # A month ends soon: half an hour from any time at which something happens.
        self.model = Model(limit=limit, months=[MONTH_ENDS_IN])
        self.account = User.objects.create(email=None)
        self.apps = {
            slug: App.objects.create(
                slug=slug, name=slug, owner=User.objects.create(email=None)
            )
            for slug in "ab"
        }
        for slug in "ab":
            self.do_let(slug, True)
        self.jobs = []
        # The start and the end by now of each job.
        self.times = []
        # One for each of the model's grants.
        self.grant_keys = []
        self.claw_back_keys = []
        self.count = 0
        self.offset = "0"
        with connection.cursor() as cursor:
            cursor.execute(_UNTIL_A_MONTH_ENDS)
            (self.offset,) = cursor.fetchone()
            self._set_clock(0)
            cursor.execute("SELECT ledger.now()")
            (self.start,) = cursor.fetchone()
        ledger.expire(account_id=self.account.pk)
        ledger.set_overdraft_limit(
            account_id=self.account.pk, limit_micro=limit, actor="staff:test"
        )

    def do_grant(self, amount, priority, lasts, paid, restricted):
        expires = None if lasts is None else self.model.now + lasts
        self.model.grant(
            amount, priority=priority, expires=expires, paid=paid, app=restricted
        )
        ledger.grant(
            account_id=self.account.pk,
            amount_micro=amount,
            source="purchase" if paid else "promo",
            category="paid" if paid else "promotional",
            priority=priority,
            expires_at=expires and self.start + timedelta(hours=expires),
            only_for=self.apps.get(restricted),
            actor="test",
            key=self._key(),
        )
        self.grant_keys.append(f"{self.account.pk}:{self.count}")

    def do_let(self, app, yes):
        """Grant or revoke the consent for an app."""
        if yes and self.model.account_open:
            consents.grant(user=self.account, app_id=self.apps[app].pk)
            self.model.consents.add(app)
        elif not yes:
            consents.revoke(user=self.account, app_id=self.apps[app].pk)
            self.model.consents.discard(app)

    def do_open(self, yes):
        """Close the account, or open it again."""
        (closing.reopen if yes else closing.close)(user=self.account, actor="test")
        self.model.account_open = yes

    def do_live(self, app, yes, owner):
        """Toggle an app, or its owner's account."""
        row = self.apps[app]
        assert row.owner is not None
        if owner:
            switch = closing.reopen if yes else closing.close
            switch(user=row.owner, actor="test")
            row.owner.is_active = yes
        else:
            row.active = yes
            App.objects.filter(pk=row.pk).update(active=yes)
        live = row.active and row.owner.is_active
        (self.model.dead_apps.discard if live else self.model.dead_apps.add)(app)

    def do_reserve(self, app, amount, ttl, by_person=False):
        job_id = uuid.uuid4()
        said = self._said(
            ledger.reserve,
            app=self.apps[app],
            job_id=job_id,
            amount_micro=amount,
            ttl_seconds=ttl * HOUR,
            by_person=by_person,
        )
        expected = self.model.reserve(len(self.jobs), app, amount, ttl, by_person)
        if expected == "ok":
            self.jobs.append((job_id, app))
            self.times.append([self._now(), said.expires_at])
            late_by = said.expires_at - self._time() - timedelta(hours=ttl)
            assert timedelta(0) <= late_by < timedelta(minutes=10)
        else:
            assert said == expected

    def do_extend(self, job, ttl):
        if not 0 <= job < len(self.jobs):
            return
        job_id, app = self.jobs[job]
        began, ends = self.times[job]
        said = self._said(
            ledger.extend,
            app=self.apps[app],
            job_id=job_id,
            began_at=began,
            ends_at=ends,
            ttl_seconds=ttl * HOUR,
        )
        expected = self.model.extend(job, app, ttl, LONGEST)
        if isinstance(said, str):
            assert said == expected
            return
        assert ("ok", said.changed) == expected[::2]
        at = self.start + timedelta(hours=expected[1])
        assert timedelta(0) <= said.expires_at - at < timedelta(minutes=10)
        self.times[job][1] = said.expires_at

    def do_work(self, app, estimate, cost, policy):
        self.do_reserve(app, estimate, 1)
        self.do_settle(len(self.jobs) - 1, cost, policy)

    def do_settle(self, job, cost, policy):
        if not 0 <= job < len(self.jobs):
            return
        job_id, app = self.jobs[job]
        self.apps[app].overage_policy = policy
        said = self._said(
            ledger.settle, app=self.apps[app], job_id=job_id, cost_micro=cost
        )
        if not isinstance(said, str):
            said = (
                "ok",
                said.charged_micro,
                said.returned_micro,
                said.uncovered_micro,
                said.late,
            )
        assert said == self.model.settle(job, app, cost, policy)

    def do_release(self, job):
        if not 0 <= job < len(self.jobs):
            return
        job_id, app = self.jobs[job]
        said = self._said(ledger.release, app=self.apps[app], job_id=job_id)
        if not isinstance(said, str):
            said = ("ok", said.returned_micro)
        assert said == self.model.release(job)

    def do_consume(self, app, amount, by_person):
        said = self._said(
            ledger.consume,
            app=self.apps[app],
            amount_micro=amount,
            reason="",
            key=self._key(),
            by_person=by_person,
        )
        expected = self.model.consume(app, amount, by_person)
        assert said == expected or expected == "ok"

    def do_adjust(self, amount, give):
        said = self._said(
            ledger.adjust,
            amount_micro=amount if give else -amount,
            reason="",
            key=self._key(),
        )
        if give:
            self.grant_keys.append(f"{self.account.pk}:{self.count}")
            self.model.grant(
                amount, priority=50, expires=None, paid=False, app=None, adjustment=True
            )
        else:
            expected = self.model.take_back(amount)
            assert said == expected or expected == "ok"

    def do_claw_back(self, number, amount):
        keys = [key for key in self.grant_keys if key]
        if number >= len(keys):
            return
        key = self._key()
        said = self._said(
            ledger.claw_back,
            purchase_key=keys[number],
            amount_micro=amount,
            reason="",
            key=key,
        )
        if not isinstance(said, str):
            said = ("ok", said.taken_micro, said.owed_micro)
            self.claw_back_keys.append(key)
        assert said == self.model.claw_back(self.grant_keys.index(keys[number]), amount)

    def do_reinstate(self, number):
        if number >= len(self.claw_back_keys):
            return
        said = self._said(
            ledger.reinstate,
            claw_back_key=self.claw_back_keys[number],
            reason="",
            key=self._key(),
        )
        expected = self.model.reinstate(number)
        assert said == expected or expected == "ok"
        # A grant that a reinstatement made was booked under no key of its own.
        missing = len(self.model.grants) - len(self.grant_keys)
        self.grant_keys.extend([None] * missing)

    def do_budget(self, app, limit):
        if limit is None:
            self.model.budgets.pop(app, None)
        else:
            self.model.budgets[app] = limit
        _, now = ledger.set_budget(
            account_id=self.account.pk, app=self.apps[app], limit_micro=limit
        )
        assert now.spent_micro == self.model.spent[app, self.model.month()]

    def do_wait(self, hours):
        self.model.pass_time(hours)
        self._set_clock(self.model.now)

    def do_sweep(self):
        """Book what is due, so that every grant can be compared."""
        ledger.expire(account_id=self.account.pk)
        rows = Grant.objects.filter(wallet__account=self.account).order_by("pk")
        left = [row.remaining_micro for row in rows]
        assert left == [grant.left for grant in self.model.grants]

    def compare(self):
        """Compare each app's balance as of now, before any sweep."""
        for slug, row in self.apps.items():
            now = ledger.balance(account_id=self.account.pk, app_id=row.pk)
            assert (now.available_micro, now.reserved_micro, now.debt_micro) == (
                self.model.available(),
                self.model.reserved(),
                self.model.debt,
            )
            assert now.credits_micro == self.model.spendable(slug)
        spending = ledger.spending(account_id=self.account.pk)
        nothing = ledger.Spending(None, 0)
        for slug, row in self.apps.items():
            month = spending.get(row.pk, nothing)
            assert month.limit_micro == self.model.budgets.get(slug)
            assert month.spent_micro == self.model.spent[slug, self.model.month()]

    def _said(self, call, **payload):
        before = ledger.balance(account_id=self.account.pk)
        try:
            return call(account_id=self.account.pk, actor="test", **payload)
        except ledger.InsufficientCredits:
            said = "insufficient"
        except ledger.BudgetExceeded:
            said = "limit"
        except AppNotGranted:
            said = "not granted"
        except AppInactive:
            said = "inactive"
        except TokenEnded:
            said = "closed"
        except ledger.AlreadyResolved:
            said = "already"
        except ledger.ReservationExpired:
            said = "expired"
        except ledger.TtlTooLong:
            said = "too long"
        except ledger.AlreadyReinstated:
            said = "already"
        except ledger.UnknownPurchase:
            said = "unknown"
        except ledger.ExceedsPurchase:
            said = "exceeds"
        assert ledger.balance(account_id=self.account.pk) == before
        return said

    def _key(self):
        self.count += 1
        return f"{self.account.pk}:{self.count}"

    def _time(self):
        return self.start + timedelta(hours=self.model.now)

    def _now(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT ledger.now()")
            return cursor.fetchone()[0]

    def _set_clock(self, hours):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('focus.clock_offset', %s, false)",
                [f"{self.offset}s {hours}h"],
            )

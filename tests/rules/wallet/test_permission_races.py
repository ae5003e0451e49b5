"""A consent that ends during a charge takes effect before it or after it.

Two connections and the database's own locks decide; no test measures time.
"""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections, transaction

from accounts.models import Consent, User
from accounts.partners import apps as partner_apps
from accounts.partners import consents, tools
from accounts.signin import closing
from focus.errors import DomainError
from focus.money import MICRO
from jobs import lifecycle, tool_purchases, usage
from jobs.invariants import ALL
from jobs.models import Job
from tests.processes import until
from tests.rules.wallet.test_races import make_due
from wallet import invariants, ledger
from wallet.models import Entry, Wallet

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _adds_up(transactional_db):
    yield
    assert invariants.violations(among=ALL) == []


@pytest.fixture
def owner(db):
    return User.objects.create_user("vendor@example.com", "vendor's password")


@pytest.fixture
def app(alice, owner, give, grant_consent):
    """A vendor's tool that alice lets take her credits."""
    offer = partner_apps.Offer(price_micro=25 * MICRO, url="https://your-tool.com")
    app = partner_apps.create(slug="tool", name="Your Tool", owner=owner, offer=offer)
    give(alice, 100)
    grant_consent(alice, app)
    return app


def start(alice, app, estimate=5, by_app=True):
    return lifecycle.start(
        account_id=alice.pk,
        app=app,
        action="render",
        estimate_micro=estimate * MICRO,
        metadata={},
        actor="app:tool",
        by_app=by_app,
    ).job


def complete(job, app, cost):
    return lifecycle.complete(
        job_id=job.pk,
        caller=lifecycle.Caller("app:tool", app_id=app.pk),
        cost_micro=cost * MICRO,
        metadata={},
    )


def consume(alice, app):
    return usage.charge(
        account_id=alice.pk,
        app=app,
        amount_micro=MICRO,
        reason="image",
        key="one",
        actor="app:tool",
    )


def consume_many(alice, app):
    charge = ledger.Charge(alice.pk, MICRO, "image", str(uuid.uuid4()))
    (answer,) = ledger.consume_many(app=app, actor="app:tool", charges=[charge])
    if isinstance(answer, DomainError):
        raise answer
    return answer


# The acts that end an app's permission to take alice's credits.
ENDINGS = {
    "revoked": lambda alice, app: consents.revoke(user=alice, app_id=app.pk),
    "account closed": lambda alice, app: closing.close(user=alice, actor="test"),
    "app switched off": lambda alice, app: tools.set_active(
        owner=app.owner, app_id=app.pk, active=False
    ),
    "owner closed": lambda alice, app: closing.close(user=app.owner, actor="test"),
}


def beside_a_held_wallet(alice, call, ending):
    """`call` waits for the wallet while `ending` is committed; then it goes on."""
    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            Wallet.objects.select_for_update(no_key=True).get(account=alice)
            waiting = pool.submit(on_its_own, call)
            until(lambda: waiters() == 1)
            pool.submit(on_its_own, ending).result(60)
        return waiting.result(60)


def on_its_own(call):
    """Return the outcome of a call on this thread's connection."""
    try:
        return call()
    except DomainError as refusal:
        return refusal.code
    finally:
        connections.close_all()


def waiters():
    """Return the number of connections that wait for a lock now."""
    with connection.cursor() as cursor:
        # Else a transaction goes on seeing what it saw first.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0]


def taken(alice):
    """Return the credits that apps took from alice's wallet."""
    entries = Entry.objects.filter(wallet__account=alice, credit__startswith="revenue:")
    return sum(entries.values_list("amount_micro", flat=True)) / MICRO


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("estimate", "late", "charged"), [(5, False, 5), (0, False, 0), (5, True, 0)]
)
def test_a_settlement_that_waited_sees_the_end(
    alice, app, ending, estimate, late, charged
):
    job = start(alice, app, estimate)
    if late:
        make_due(job)
    outcome = beside_a_held_wallet(
        alice, lambda: complete(job, app, 90), lambda: ENDINGS[ending](alice, app)
    )
    assert outcome.job.status == "completed"
    assert outcome.job.charged_micro == charged * MICRO == taken(alice) * MICRO
    assert outcome.job.uncovered_micro == (90 - charged) * MICRO
    assert outcome.job.late == late


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failure_that_is_charged_takes_what_is_reserved(alice, app, ending):
    job = start(alice, app)
    caller = lifecycle.Caller("app:tool", app_id=app.pk)
    outcome = beside_a_held_wallet(
        alice,
        lambda: lifecycle.fail(
            job_id=job.pk, caller=caller, refund=False, fail_reason=""
        ),
        lambda: ENDINGS[ending](alice, app),
    )
    assert (outcome.job.charged_micro, taken(alice)) == (5 * MICRO, 5)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("path", [start, consume, consume_many])
def test_a_new_charge_by_the_app_is_refused(alice, app, ending, path):
    outcome = beside_a_held_wallet(
        alice, lambda: path(alice, app), lambda: ENDINGS[ending](alice, app)
    )
    of_the_app = ending in ("app switched off", "owner closed")
    assert outcome == ("app_inactive" if of_the_app else "app_not_granted")
    assert (
        Entry.objects.filter(wallet__account=alice).exclude(kind="grant").count() == 0
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_persons_purchase_needs_an_open_account_and_a_live_app(alice, app, ending):
    purchase = tool_purchases.create(user=alice, tool_id=app.pk)
    outcome = beside_a_held_wallet(
        alice,
        lambda: tool_purchases.process(user=alice, purchase_id=purchase.pk),
        lambda: ENDINGS[ending](alice, app),
    )
    if ending == "revoked":
        # Buying it is a new consent.
        assert outcome.purchase.movement_id is not None
        assert Consent.objects.get(user=alice).revoked_at is None
    else:
        assert outcome in ("app_inactive", "invalid_token")
        assert taken(alice) == 0


@pytest.mark.parametrize("ending", ["revoked", "account closed"])
def test_an_end_waits_for_the_charge_that_was_decided_before_it(alice, app, ending):
    job = start(alice, app)
    decided, go_on = threading.Event(), threading.Event()

    def charge():
        with transaction.atomic():
            complete(job, app, 90)
            decided.set()
            go_on.wait(60)

    with ThreadPoolExecutor(2) as pool:
        charging = pool.submit(on_its_own, charge)
        assert decided.wait(60)
        end = pool.submit(on_its_own, lambda: ENDINGS[ending](alice, app))
        until(lambda: waiters() == 1)
        assert not end.done()
        go_on.set()
        charging.result(60)
        end.result(60)
    assert taken(alice) == 90
    later = start_by_hand(alice, app)
    assert complete(later, app, 9).job.charged_micro == 0


def start_by_hand(alice, app):
    """A job with nothing reserved, as one that was started before the end."""
    job = Job(
        account=alice,
        app=app,
        action="render",
        reserved_micro=0,
        expires_at="2999-01-01T00:00Z",
    )
    job.save(force_insert=True)
    return job


def test_buying_again_and_settling_at_once_do_not_deadlock(alice, app, give):
    """Both write to the wallet, and one of them to the consent."""
    give(alice, 1000)
    for _ in range(6):
        job = start(alice, app, 1)
        consents.revoke(user=alice, app_id=app.pk)
        purchase = tool_purchases.create(user=alice, tool_id=app.pk)
        with ThreadPoolExecutor(2) as pool:
            bought = pool.submit(
                on_its_own,
                lambda purchase=purchase: tool_purchases.process(
                    user=alice, purchase_id=purchase.pk
                ),
            )
            settled = pool.submit(on_its_own, lambda job=job: complete(job, app, 3))
            assert bought.result(60).purchase.paid_at is not None
            assert settled.result(60).job.charged_micro in (MICRO, 3 * MICRO)


def test_a_purchase_waits_for_a_revocation_that_came_before_it(alice, app):
    """The purchase is consent, so the later of the two decides whether the app may act.

    Without the lock, the purchase would read the consent as it was before.
    """
    purchase = tool_purchases.create(user=alice, tool_id=app.pk)
    revoked, go_on = threading.Event(), threading.Event()

    def revoke():
        with transaction.atomic():
            consents.revoke(user=alice, app_id=app.pk)
            revoked.set()
            go_on.wait(60)

    with ThreadPoolExecutor(2) as pool:
        revoking = pool.submit(on_its_own, revoke)
        assert revoked.wait(60)
        buying = pool.submit(
            on_its_own,
            lambda: tool_purchases.process(user=alice, purchase_id=purchase.pk),
        )
        until(lambda: waiters() == 1 or buying.done())
        go_on.set()
        revoking.result(60)
        assert buying.result(60).purchase.paid_at is not None
    assert Consent.objects.get(user=alice, app=app).revoked_at is None

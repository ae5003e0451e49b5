"""An app is live while it is switched on and its owner's account is open."""

import re
from pathlib import Path

import pytest

from accounts.credentials import app_keys
from accounts.models import App, User
from accounts.models.apps import LIVE
from accounts.partners import apps as partner_apps
from accounts.partners import origins, redirects, tools
from accounts.signin import closing
from focus.database.statements import tuples
from focus.errors import DomainError
from focus.money import MICRO
from jobs import tool_purchases
from wallet import starters

pytestmark = pytest.mark.django_db
ORIGIN = "https://tool.example.com"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def vendor(db):
    return User.objects.create_user("vendor@example.com", "vendor's password")


@pytest.fixture
def app(vendor):
    offer = partner_apps.Offer(price_micro=5 * MICRO, url=f"{ORIGIN}/callback")
    return partner_apps.create(
        slug="tool", owner=vendor, offer=offer, allowed_origins=[ORIGIN]
    )


def bought(app, user, give):
    give(user, 20)
    checkout = tool_purchases.create(user=user, tool_id=app.pk)
    return tool_purchases.process(user=user, purchase_id=checkout.pk)


# Each place returns whether the app works there.
@pytest.fixture
def places(app, alice, give):
    key = app_keys.issue(app=app, name="server").secret
    paid = bought(app, alice, give)
    open_checkout = tool_purchases.create(user=alice, tool_id=app.pk)
    return {
        "its key": lambda: works(app_keys.find, secret=key),
        "its name": lambda: works(partner_apps.find_active, app.slug),
        "a job": lambda: works(
            partner_apps.find_with_consent, app.slug, user_id=alice.pk
        ),
        "its pages' cookies": lambda: origins.may_use_cookies(ORIGIN),
        "a redirect": lambda: redirects.allowed_url(f"{ORIGIN}/x") is not None,
        "the list of tools": lambda: app in tools.offered(),
        "a new checkout": lambda: works(
            tool_purchases.create, user=alice, tool_id=app.pk
        ),
        "a paid checkout": lambda: works(
            tool_purchases.process, user=alice, purchase_id=paid.purchase.pk
        ),
        "an open checkout": lambda: works(
            tool_purchases.process, user=alice, purchase_id=open_checkout.pk
        ),
        "a visitor's token": lambda: works(tool_purchases.verify, token=paid.token),
    }


def works(call, *args, **options):
    try:
        call(*args, **options)
    except DomainError:
        return False
    return True


ENDS = {
    "switched off": (
        lambda app: tools.set_active(owner=app.owner, app_id=app.pk, active=False),
        lambda app: tools.set_active(owner=app.owner, app_id=app.pk, active=True),
    ),
    "its owner's account is closed": (
        lambda app: closing.close(user=app.owner, actor="test"),
        lambda app: closing.reopen(user=app.owner, actor="test"),
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_app_that_is_not_live_is_refused_everywhere(app, places, end):
    close, reopen = ENDS[end]
    close(app)
    assert [place for place, is_open in places.items() if is_open()] == []
    reopen(app)
    assert [place for place, is_open in places.items() if not is_open()] == []


def test_all_four_forms_of_the_rule_agree(alice, vendor):
    closed = User.objects.create_user("closed@example.com", "a password")
    closing.close(user=closed, actor="test")
    for active in (True, False):
        for owner in (None, vendor, closed):
            name = f"{active}-{owner}"
            App.objects.create(slug=name, name=name, active=active, owner=owner)
    live = set(App.objects.live().values_list("slug", flat=True))
    assert live == {"True-None", "True-vendor@example.com"}
    assert live == {app.slug for app in App.objects.all() if app.is_live}
    for condition in (LIVE, "ledger.is_live(a)"):
        rows = tuples(f"SELECT a.slug FROM accounts_app a WHERE {condition}", {})
        assert live == {slug for (slug,) in rows}


# Files that read or change the switch itself.
SWITCH = {
    "accounts/models/apps.py",
    "accounts/partners/tools.py",
    "wallet/sql/16_permission.sql",
}


def test_no_other_code_reads_the_switch_alone():
    asks = re.compile(r"\b(app|a)\.active\b|App\.objects\.filter\([^)]*active=True")
    found = {
        str(file.relative_to(ROOT))
        for part in ("accounts", "focus", "jobs", "payments", "wallet")
        for kind in ("*.py", "*.sql")
        for file in (ROOT / part).rglob(kind)
        if "migrations" not in file.parts and asks.search(file.read_text())
    }
    assert found == SWITCH


def test_users_still_see_their_history_with_the_app(app, alice, give, vendor):
    bought(app, alice, give)
    closing.close(user=vendor, actor="test")
    assert [one.app for one in tool_purchases.owned(user=alice)] == [app]
    assert [met.app for met in starters.memberships(account_id=alice.pk)] == [app]

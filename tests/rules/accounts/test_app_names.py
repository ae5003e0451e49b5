"""Tool names that look like another app's wait for the staff's approval."""

import pytest
from django.test import Client

from accounts.credentials.principals import AppInactive
from accounts.models import App, SecurityEvent, User
from accounts.partners import app_names, tools
from accounts.partners import apps as partner_apps
from focus.money import MICRO
from jobs import tool_purchases

pytestmark = pytest.mark.django_db
OFFER = partner_apps.Offer(price_micro=5 * MICRO, url="https://your-tool.com/callback")

LIKE_VIDEO = [
    "Focus Video",
    "focus video",
    "FOCUS  VIDEO",
    "FocusVideo",
    "Focus-Video!",
    "F\u043ecus Vide\u043e",  # Cyrillic o
    "Focus V1deo",
    "Focus Vldeo",
    "Focus Vide0",
    "\uff26\uff4f\uff43\uff55\uff53 Video",  # full width
    "\U0001d405ocus Video",  # mathematical bold F
    "F\u00f3cus Video",
    "Focus\u200bVideo",  # zero width space
    "F\u03bfcus Video",  # Greek omicron
]
OFFICIAL = [
    "Official tools",
    "The OFFICIAL one",
    "0fficial",
    "Offici\u0430l",
    "O f f i c i a l",
]
OF_ITS_OWN = ["Your Tool", "Videos", "Focus Video Editor", "\u0424\u043e\u0442\u043e"]


@pytest.fixture
def vendor(db):
    return User.objects.create_user("vendor@example.com", "vendor's password")


def publish(owner, name, slug="a-tool"):
    tools.publish(owner=owner, slug=slug, name=name, offer=OFFER)
    return App.objects.get(slug=slug)


@pytest.mark.parametrize("name", LIKE_VIDEO + OFFICIAL)
def test_a_name_that_looks_like_another_waits(vendor, video, alice, name):
    app = publish(vendor, name)
    assert app.name_needs_approval
    assert app not in tools.offered()
    with pytest.raises(AppInactive):
        tool_purchases.create(user=alice, tool_id=app.pk)


@pytest.mark.parametrize("name", OF_ITS_OWN)
def test_a_distinct_name_is_for_sale_at_once(vendor, video, name):
    app = publish(vendor, name)
    assert not app.name_needs_approval
    assert app in tools.offered()


def test_a_slug_that_looks_like_another_waits(vendor, video):
    assert publish(vendor, "Nice", slug="vide0").name_needs_approval
    assert not publish(vendor, "Nicer", slug="nicer").name_needs_approval


def test_a_vendors_own_tools_may_be_alike(vendor, bob):
    publish(vendor, "Photo Fix", slug="one")
    assert not publish(vendor, "photo fix", slug="two").name_needs_approval
    assert publish(bob, "Photo-Fix", slug="three").name_needs_approval


def test_a_new_name_stops_the_sale_and_an_open_checkout(
    vendor, video, alice, bob, give
):
    give(alice, 50)
    give(bob, 50)
    app = publish(vendor, "Nice")
    paid = tool_purchases.create(user=alice, tool_id=app.pk)
    tool_purchases.process(user=alice, purchase_id=paid.pk)
    checkout = tool_purchases.create(user=bob, tool_id=app.pk)
    tools.change(owner=vendor, app_id=app.pk, name="F0cus Video", offer=OFFER)
    with pytest.raises(AppInactive):
        tool_purchases.process(user=bob, purchase_id=checkout.pk)
    # Existing buyers can still open the tool.
    assert tool_purchases.process(user=alice, purchase_id=paid.pk).token
    tools.change(owner=vendor, app_id=app.pk, name="Nice again", offer=OFFER)
    assert not App.objects.get(pk=app.pk).name_needs_approval


def test_an_unchanged_name_stays_approved(vendor, video):
    app = publish(vendor, "Official Nice")
    App.objects.filter(pk=app.pk).update(name_needs_approval=False)
    tools.change(owner=vendor, app_id=app.pk, name="Official Nice", offer=OFFER)
    assert not App.objects.get(pk=app.pk).name_needs_approval
    tools.change(owner=vendor, app_id=app.pk, name="Official Nicer", offer=OFFER)
    assert App.objects.get(pk=app.pk).name_needs_approval


def test_texts_that_look_alike_have_one_skeleton():
    assert app_names.skeleton("paypal") == app_names.skeleton("p\u0430yp\u0430I")
    assert app_names.skeleton("modern") == app_names.skeleton("rnodem")
    assert app_names.skeleton("") == app_names.skeleton(" -") == ""
    assert app_names.skeleton("photo") != app_names.skeleton("video")


def test_a_vendor_sets_which_keys_settle_users_jobs(vendor):
    app = publish(vendor, "Nice")
    for wanted in (True, True, False):
        tools.set_settling(owner=vendor, app_id=app.pk, key_only=wanted)
        assert App.objects.get(pk=app.pk).settle_with_app_key_only == wanted
    kinds = SecurityEvent.objects.filter(kind="app_changed", user=vendor)
    assert kinds.count() == 2


def test_staff_approve_a_name_in_the_admin(vendor, staff, alice):
    app = publish(vendor, "Official tools")
    client = Client()
    client.force_login(staff)
    page = f"/admin/accounts/app/{app.pk}/change/"
    shown = client.get(page).context["adminform"].form
    form = {name: shown[name].value() for name in shown.fields}
    form = {k: v for k, v in form.items() if v is not None and v is not False}
    del form["name_needs_approval"]
    answer = client.post(page, form)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    app.refresh_from_db()
    assert not app.name_needs_approval
    assert app in tools.offered()
    event = SecurityEvent.objects.get(kind="app_name_approved")
    assert (event.user, event.facts["name"]) == (vendor, "Official tools")
    assert tool_purchases.create(user=alice, tool_id=app.pk)

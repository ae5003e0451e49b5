"""Products of ours: their apps, and what an older database makes of them."""

import importlib
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.credentials import app_keys
from accounts.models import App, AppKey, SecurityEvent, User
from accounts.partners import apps as partner_apps
from accounts.partners import first_party
from focus.errors import NotFound
from jobs.hosted import prices
from jobs.models import Price

pytestmark = pytest.mark.django_db
SLUGS = ["reviv", "cosmiv", "clipforge"]


def migrate() -> None:
    """Run the data of the two migrations, as on a database of an older release."""
    for name in (
        "accounts.migrations.0022_first_party_apps",
        "jobs.migrations.0011_run_units_and_prices",
    ):
        importlib.import_module(name).seed(apps, None)


def test_migrate_writes_the_apps_and_prices_that_the_rules_know() -> None:
    migrate()
    migrate()
    assert sorted(App.objects.values_list("slug", "name")) == sorted(
        first_party.APPS.items()
    )
    for app in App.objects.all():
        assert (app.owner, app.family, app.is_tool) == (None, True, False)
        assert app.starter_credits_micro == 0
        assert app == first_party.app(app.slug)
    rows = {
        (row.app.slug, row.action): (
            row.unit,
            row.credits_micro,
            row.free_units_a_month,
        )
        for row in Price.objects.select_related("app")
    }
    assert rows == prices.SEEDS


def test_a_missing_app_is_made_like_the_migrated_one() -> None:
    made = {slug: vars(first_party.app(slug)) for slug in SLUGS}
    App.objects.all().delete()
    migrate()
    for slug in SLUGS:
        migrated = vars(App.objects.get(slug=slug))
        same = set(migrated) - {"_state", "id", "created_at"}
        assert {k: made[slug][k] for k in same} == {k: migrated[k] for k in same}


def test_a_partners_app_stays_the_partners(
    bob: User, capsys: pytest.CaptureFixture[str]
) -> None:
    app = App.objects.create(
        slug="cosmiv", name="Cosmic", owner=bob, starter_credits_micro=5
    )
    before = App.objects.filter(pk=app.pk).values().get()
    migrate()
    assert App.objects.filter(pk=app.pk).values().get() == before
    assert "A partner owns the app 'cosmiv'" in capsys.readouterr().out
    assert not Price.objects.filter(app=app).exists()
    with pytest.raises(first_party.ProductUnavailable) as off:
        first_party.app("cosmiv")
    assert off.value.facts == {"app": "cosmiv"}
    assert first_party.app("reviv").family


def test_an_app_of_the_operator_becomes_the_products() -> None:
    app = App.objects.create(
        slug="reviv",
        name="Our photos",
        origins=["https://reviv.example.com"],
        is_tool=True,
        tool_url="https://reviv.example.com/cb",
        max_ttl_seconds=60,
        settle_with_app_key_only=True,
    )
    migrate()
    app.refresh_from_db()
    assert first_party.app("reviv") == app
    assert (app.family, app.is_tool, app.settle_with_app_key_only) == (
        True,
        False,
        False,
    )
    assert (app.max_ttl_seconds, app.origins) == (86_400, ["https://reviv.example.com"])


def test_the_operator_takes_a_partners_app_over(
    bob: User, capsys: pytest.CaptureFixture[str]
) -> None:
    app = App.objects.create(
        slug="reviv",
        name="Bob's",
        owner=bob,
        origins=["https://bob.example.com"],
        is_tool=True,
        tool_url="https://bob.example.com",
    )
    key = app_keys.issue(app=app, name="x").key
    for _ in range(2):
        call_command("take_over_app", "reviv")
    assert "Reviv" in capsys.readouterr().out
    assert first_party.app("reviv") == app
    app.refresh_from_db()
    assert (app.name, app.owner, app.origins, app.is_tool) == (
        "Reviv",
        None,
        [],
        False,
    )
    key.refresh_from_db()
    assert key.revoked_at is not None
    [event] = SecurityEvent.objects.filter(kind="app_taken_over")
    assert (event.user, event.facts) == (bob, {"app": "reviv"})


def test_no_other_app_can_be_taken_over(tool: App) -> None:
    for slug in ("tool", "reviv"):
        with pytest.raises(NotFound):
            first_party.take_over(slug=slug, actor="test")
    with pytest.raises(CommandError):
        call_command("take_over_app", "tool")
    with pytest.raises(CommandError):
        call_command("take_over_app", "reviv")


def test_no_other_app_gets_a_products_slug(bob: User) -> None:
    for slug in SLUGS:
        with pytest.raises(partner_apps.SlugTaken):
            partner_apps.create(slug=slug, owner=bob)
        with pytest.raises(CommandError):
            call_command("create_app", slug)
    assert not App.objects.exists()


@pytest.fixture
def as_staff(staff: User, client: Client) -> Client:
    client.force_login(staff)
    return client


def test_staff_switch_a_product_and_edit_its_pages(as_staff: Client) -> None:
    app = first_party.app("reviv")
    page = f"/admin/accounts/app/{app.pk}/change/"
    form: dict[str, Any] = {
        "name": "Reviv",
        "origins": "https://reviv.example.com",
        # None of these can be set.
        "slug": "mine",
        "owner": str(User.objects.get().pk),
        "starter_credits": "5",
        "overage_policy": "overflow",
        "settle_with_app_key_only": "on",
        "max_ttl_seconds": "60",
        "is_tool": "on",
        "tool_url": "https://reviv.example.com",
        "price": "3",
    }
    answer = as_staff.post(page, form, follow=True)
    assert "Reviv refuses new work from now on" in answer.content.decode()
    now = App.objects.get()
    assert (now.active, now.origins) == (False, ["https://reviv.example.com"])
    kept = vars(first_party.app("reviv"))
    for name in set(vars(app)) - {"_state", "active", "origins", "redirect_token"}:
        assert kept[name] == vars(app)[name], name
    answer = as_staff.post(page, form | {"active": "on"}, follow=True)
    assert "accepts new work again" in answer.content.decode()
    assert first_party.app("reviv").active


def test_staff_make_neither_a_products_app_nor_a_key(as_staff: Client) -> None:
    form = {
        "slug": "reviv",
        "name": "Mine",
        "starter_credits": "0",
        "starter_credits_at": "app",
        "overage_policy": "cap",
        "max_ttl_seconds": "86400",
        "duplicate_mode": "conflict",
    }
    answer = as_staff.post("/admin/accounts/app/add/", form)
    assert set(answer.context["adminform"].form.errors) == {"slug"}
    assert not App.objects.exists()
    app = first_party.app("reviv")
    answer = as_staff.post(
        "/admin/accounts/appkey/add/", {"app": str(app.pk), "name": "x"}
    )
    assert set(answer.context["adminform"].form.errors) == {"app"}
    assert not AppKey.objects.exists()

"""The ledger in the admin: every row is readable, and no role can edit one."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.db.models.signals import post_migrate
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import roles
from accounts.models import App, User
from jobs.models import Job
from tests.doors.staffroom import browser, complete, in_role, start
from wallet import ledger
from wallet.models import Draw, Entry, Grant, Reservation, Wallet

MODELS = [Wallet, Entry, Grant, Reservation, Draw, Job]


@pytest.fixture
def as_staff(staff: User) -> Client:
    return browser(staff)


@pytest.fixture
def wallet(alice: User, video: App, give: Callable[..., Any]) -> Wallet:
    """20 credits: one job was charged 3, and another has reserved 4."""
    give(alice, 20, reason="welcome")
    complete(start(alice, video, 5), 3)
    start(alice, video, 4)
    return Wallet.objects.get(account=alice)


def _page(model: type[Any], row: Any = None, what: str = "") -> str:
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    return f"{base}{row.pk}/{what}/" if row else base


def _everything() -> list[Any]:
    return [list(model._default_manager.order_by("pk").values()) for model in MODELS]


# Every role asks Django for the permissions of each page.
@pytest.mark.parametrize("model", MODELS)
def test_no_role_may_add_change_or_delete(
    model: type[Any], staff: User, rf: Any
) -> None:
    request = rf.get("/")
    request.user = staff
    page = admin.site._registry[model]
    assert page.has_view_permission(request)
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)
    assert not page.has_delete_permission(request)
    assert page.get_actions(request) == {}
    assert page.list_editable == ()


@pytest.mark.parametrize("model", MODELS)
def test_no_post_changes_a_row(
    model: type[Any], as_staff: Client, wallet: Wallet
) -> None:
    row = model.objects.order_by("pk").first()
    before = _everything()
    filled = {
        **{field.attname: "1" for field in model._meta.concrete_fields},
        "_save": "Save",
        "available_micro": "999000000",
        "amount_micro": "999000000",
    }
    for place in (
        _page(model, what=""),
        f"{_page(model)}add/",
        _page(model, row, "change"),
        _page(model, row, "delete"),
    ):
        assert as_staff.post(place, filled).status_code in (200, 403), place
    bulk = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    as_staff.post(_page(model), bulk)
    assert _everything() == before


@pytest.mark.parametrize("model", MODELS)
def test_a_page_has_no_form_to_change_a_row(
    model: type[Any], as_staff: Client, wallet: Wallet
) -> None:
    row = model.objects.order_by("pk").first()
    listed = as_staff.get(_page(model)).content.decode()
    shown = as_staff.get(_page(model, row, "change")).content.decode()
    for word in ("delete_selected", "addlink", "deletelink", "_save", "_addanother"):
        assert word not in listed
        assert word not in shown
    assert as_staff.get(f"{_page(model)}add/").status_code == 403
    assert as_staff.get(_page(model, row, "delete")).status_code == 403


@pytest.mark.parametrize("model", [Entry, Grant, Reservation, Draw, Job])
def test_the_history_page_says_that_rows_have_no_edit_history(
    model: type[Any], as_staff: Client, wallet: Wallet
) -> None:
    row = model.objects.order_by("pk").first()
    answer = as_staff.get(_page(model, row, "history"), follow=True)
    assert answer.redirect_chain == [(_page(model, row, "change"), 302)]
    assert "These rows cannot be edited" in answer.content.decode()


def test_entries_are_shown_in_words(as_staff: Client, wallet: Wallet) -> None:
    page = as_staff.get("/admin/wallet/entry/").content.decode()
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "reserved → revenue of video" in text
    assert "Focus → available" in text
    assert "alice@example.com" in text
    assert "20000000" not in text


@pytest.mark.parametrize(
    "term",
    [
        "alice@example.com",
        "ALICE@EXAMPLE.COM",
        "ali",
        "{account}",
        "{job}",
        "{movement}",
        "give:{account}:1",
    ],
)
def test_entries_are_found_by_email_ids_and_keys(
    term: str, as_staff: Client, wallet: Wallet, bob: User, give: Callable[..., Any]
) -> None:
    give(bob, 7)
    entry = Entry.objects.filter(wallet=wallet, kind="charge").get()
    known = {
        "account": wallet.account_id,
        "job": entry.job_id,
        "movement": entry.movement_id,
    }
    found = as_staff.get("/admin/wallet/entry/", {"q": term.format(**known)})
    rows = found.context["cl"].result_list
    assert rows
    assert {row.wallet_id for row in rows} == {wallet.pk}


@pytest.mark.parametrize("model", MODELS)
def test_every_list_is_searched_by_email(
    model: type[Any], as_staff: Client, wallet: Wallet, bob: User
) -> None:
    mine = as_staff.get(_page(model), {"q": "alice@"}).context["cl"].result_list
    assert len(mine) >= 1
    theirs = as_staff.get(_page(model), {"q": "bob@example.com"})
    assert len(theirs.context["cl"].result_list) == 0
    assert (
        as_staff.get(_page(model), {"q": "%_'\"\\ 99999999999999999999"}).status_code
        == 200
    )


def test_entries_are_filtered_by_kind_app_and_date(
    as_staff: Client, wallet: Wallet, video: App
) -> None:
    def kinds(**query: Any) -> list[str]:
        answer = as_staff.get("/admin/wallet/entry/", query)
        return sorted(entry.kind for entry in answer.context["cl"].result_list)

    assert kinds(kind__exact="charge") == ["charge"]
    assert "grant" not in kinds(app__id__exact=video.pk)
    today = timezone.now()
    day = {"year": today.year, "month": today.month, "day": today.day}
    assert len(kinds(**{f"booked_at__{part}": n for part, n in day.items()})) == 5
    assert kinds(booked_at__year=today.year - 1) == []


def test_the_calendar_offers_the_days_from_the_first_row_to_the_last(
    as_staff: Client, wallet: Wallet, time_passes: Callable[[int], None], alice: User
) -> None:
    time_passes(400 * 86_400)
    ledger.expire(account_id=alice.pk)
    first, last = timezone.now(), timezone.now() + timedelta(days=400)
    page = as_staff.get("/admin/wallet/entry/").content.decode()
    for year in range(first.year, last.year + 1):
        assert f"booked_at__year={year}" in page
    query = {"booked_at__year": first.year, "booked_at__month": first.month}
    page = as_staff.get("/admin/wallet/entry/", query).content.decode()
    assert f"booked_at__day={first.day}" in page


@pytest.mark.parametrize("model", MODELS)
def test_a_list_needs_as_many_queries_for_many_rows_as_for_few(
    model: type[Any],
    as_staff: Client,
    wallet: Wallet,
    alice: User,
    video: App,
    give: Callable[..., Any],
) -> None:
    as_staff.get(_page(model))
    with CaptureQueriesContext(
        connection,
    ) as few:
        as_staff.get(_page(model))
    for number in range(4):
        person = User.objects.create_user(f"person{number}@example.com")
        give(person, 9)
        start(person, video, 1)
    with CaptureQueriesContext(connection) as many:
        as_staff.get(_page(model))
    assert len(many) == len(few)


def test_an_overdue_job_is_shown_as_expired(
    as_staff: Client, wallet: Wallet, time_passes: Callable[[int], None]
) -> None:
    running = Job.objects.get(status="started")
    time_passes(7200)
    listed = as_staff.get("/admin/jobs/job/", {"status": "expired"})
    assert [job.pk for job in listed.context["cl"].result_list] == [running.pk]
    assert (
        not as_staff.get("/admin/jobs/job/", {"status": "started"})
        .context["cl"]
        .result_list
    )
    page = as_staff.get(_page(Job, running, "change")).content.decode()
    assert f"/admin/wallet/entry/?job_id={running.pk}" in page


PAGES = [
    "/admin/wallet/wallet/",
    "/admin/wallet/entry/",
    "/admin/wallet/grant/",
    "/admin/wallet/reservation/",
    "/admin/wallet/draw/",
    "/admin/jobs/job/",
    "/admin/accounts/user/",
    "/admin/accounts/securityevent/",
    "/admin/wallet/wallet/{wallet}/change/",
    "/admin/wallet/wallet/{wallet}/history/",
    "/admin/wallet/wallet/{wallet}/explain/",
    "/admin/wallet/wallet/{wallet}/statement.csv",
    "/admin/wallet/wallet/of/{newcomer}/",
]
ADJUST = "/admin/wallet/wallet/{wallet}/adjust/"
OVERDRAFT = "/admin/wallet/wallet/{wallet}/overdraft/"
MAY = {
    "": [],
    "viewer": PAGES,
    "support": [*PAGES, ADJUST],
    "finance": [*PAGES, ADJUST, OVERDRAFT],
    "superuser": [*PAGES, ADJUST, OVERDRAFT],
}


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("place", [*PAGES, ADJUST, OVERDRAFT])
def test_each_role_opens_its_pages_and_no_other(
    role: str, place: str, wallet: Wallet, bob: User
) -> None:
    where = place.format(wallet=wallet.pk, newcomer=bob.pk)
    answer = browser(in_role(role)).get(where)
    assert answer.status_code == (200 if place in MAY[role] else 403)


@pytest.mark.parametrize("place", [*PAGES, ADJUST, OVERDRAFT, "/admin/"])
def test_customers_and_anonymous_visitors_have_no_access(
    place: str, wallet: Wallet, bob: User, alice: User
) -> None:
    where = place.format(wallet=wallet.pk, newcomer=bob.pk)
    client = Client()
    assert client.get(where).status_code == 302
    client.force_login(alice)
    assert client.get(where, follow=True).status_code == 403


def test_migrate_restores_the_roles(db: None) -> None:
    support = Group.objects.get(name="support")
    support.permissions.add(Permission.objects.get(codename="change_app"))
    Group.objects.get(name="finance").delete()
    for _ in range(2):
        post_migrate.send(sender=roles.last_app(), app_config=roles.last_app())
    codenames = {
        group.name: {
            permission.codename
            for permission in group.permissions.exclude(codename__startswith="view_")
        }
        for group in Group.objects.all()
    }
    assert codenames["viewer"] == set()
    assert codenames["support"] == {
        "adjust_wallet",
        "change_delivery",
        "change_endpoint",
        "change_personalaccesstoken",
        "change_session",
        "change_run",
        "change_storedfile",
        "change_toolpurchase",
        "change_topuprule",
        "change_user",
    }
    assert codenames["finance"] == codenames["support"] | {
        "adjust_without_limit",
        "set_overdraft_limit",
        "change_app",
        "add_pack",
        "change_pack",
        "change_plan",
        "add_price",
        "change_price",
        "delete_price",
        "change_stripeevent",
        "change_drift",
    }
    assert Group.objects.get(name="viewer").permissions.filter(
        content_type__app_label="wallet"
    ).count() == len(list(apps.get_app_config("wallet").get_models()))

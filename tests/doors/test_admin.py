"""The ledger in the admin: everything to read, nothing to change, for anybody."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.db.models.signals import post_migrate
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import audit, roles
from accounts.models import App, SecurityEvent, User
from focus.money import MICRO
from jobs import lifecycle
from jobs.models import Job
from wallet import invariants, ledger
from wallet.models import Draw, Entry, Grant, Reservation, Wallet

MODELS = [Wallet, Entry, Grant, Reservation, Draw, Job]


@pytest.fixture
def staff_in(db: None) -> Callable[[str], Client]:
    """A browser in which a member of this role is signed in ("" for none)."""

    def signs_in(role: str) -> Client:
        person = User.objects.create_user(f"{role or 'nobody'}@staff.example.com")
        person.is_staff = True
        person.is_superuser = role == "superuser"
        person.save()
        if role in roles.ROLES:
            person.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(person)
        return client

    return signs_in


@pytest.fixture
def as_staff(staff: User) -> Client:
    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture
def wallet(alice: User, video: App, give: Callable[..., Any]) -> Wallet:
    """20 credits, of which one job was charged 3 and another holds 4."""
    give(alice, 20, reason="welcome")
    done = _start(alice, video, 5)
    lifecycle.complete(
        job_id=done.pk,
        caller=lifecycle.Caller("app:video", app_id=video.pk),
        cost_micro=3 * MICRO,
        metadata={},
    )
    _start(alice, video, 4)
    return Wallet.objects.get(account=alice)


def _start(user: User, app: App, amount: int) -> Job:
    return lifecycle.start(
        account_id=user.pk,
        app=app,
        action="render",
        estimate_micro=amount * MICRO,
        metadata={},
        actor="app:video",
    ).job


def _page(model: type[Any], row: Any = None, what: str = "") -> str:
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    return f"{base}{row.pk}/{what}/" if row else base


def _everything() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in MODELS]


# Django's own list of what a page may do, asked of every role.
@pytest.mark.parametrize("model", MODELS)
def test_nobody_may_add_change_or_delete_not_even_a_superuser(
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
def test_a_page_offers_no_way_to_change(
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
def test_the_history_says_that_there_is_none(
    model: type[Any], as_staff: Client, wallet: Wallet
) -> None:
    row = model.objects.order_by("pk").first()
    answer = as_staff.get(_page(model, row, "history"), follow=True)
    assert answer.redirect_chain == [(_page(model, row, "change"), 302)]
    assert "Nobody edits this" in answer.content.decode()


# --- reading


def test_entries_read_like_sentences(as_staff: Client, wallet: Wallet) -> None:
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
def test_entries_are_found_by_what_people_have(
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


def test_the_calendar_offers_the_days_between_the_first_row_and_the_last(
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
def test_a_list_asks_as_often_for_many_rows_as_for_few(
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
        somebody = User.objects.create_user(f"somebody{number}@example.com")
        give(somebody, 9)
        _start(somebody, video, 1)
    with CaptureQueriesContext(connection) as many:
        as_staff.get(_page(model))
    assert len(many) == len(few)


def test_a_job_reads_as_time_has_it(
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


# --- the wallet page


def test_the_wallet_page_is_true_by_time(
    as_staff: Client, wallet: Wallet, time_passes: Callable[[int], None]
) -> None:
    page = as_staff.get(_page(Wallet, wallet, "change"))
    assert page.context["balance"] == "13"
    assert page.context["reserved"] == "4"
    time_passes(7200)
    page = as_staff.get(_page(Wallet, wallet, "change"))
    assert page.context["balance"] == "17"
    assert page.context["reserved"] == "0"
    assert page.context["reservations"] == []


def test_the_wallet_page_shows_what_expires_and_what_is_restricted(
    as_staff: Client, wallet: Wallet, alice: User, video: App, give: Callable[..., Any]
) -> None:
    give(
        alice, 2, only_for=video, expires_at=timezone.now() + timedelta(days=3, hours=1)
    )
    page = as_staff.get(_page(Wallet, wallet, "change"))
    assert page.context["next_expiry"] == {"amount": "2", "in": "in 3 days"}
    assert "promotion, only for video" in page.content.decode()
    assert [grant["left"] for grant in page.context["grants"]] == ["2", "13"]
    assert [grant["held"] for grant in page.context["grants"]] == ["", "4"]


def test_the_statement_is_paged_newest_first(
    as_staff: Client, alice: User, give: Callable[..., Any]
) -> None:
    for _ in range(120):
        give(alice, 1)
    wallet = Wallet.objects.get(account=alice)
    place = _page(Wallet, wallet, "change")
    first = as_staff.get(place).context
    assert [row["entry"].seq for row in first["rows"]] == list(range(120, 70, -1))
    assert first["rows"][0]["balance"] == "120"
    second = as_staff.get(place, {"before": first["page"].older}).context
    assert [row["entry"].seq for row in second["rows"]] == list(range(70, 20, -1))
    third = as_staff.get(place, {"before": second["page"].older}).context
    assert [row["entry"].seq for row in third["rows"]] == list(range(20, 0, -1))
    assert third["page"].older is None
    back = as_staff.get(place, {"before": third["page"].newer}).context
    assert back["rows"][0]["entry"].seq == 70
    for odd in ("0", "-1", "x", "9" * 30, "٣"):
        assert as_staff.get(place, {"before": odd}).status_code == 200


def test_the_curve_is_drawn_without_any_script(
    as_staff: Client, wallet: Wallet
) -> None:
    for days in ("7", "30", "365", "all", "nonsense"):
        page = as_staff.get(_page(Wallet, wallet, "change"), {"days": days})
        text = page.content.decode()
        assert '<path class="line" d="M' in text
        assert "nan" not in re.findall(r'<svg class="f-chart".*?</svg>', text, re.S)[0]


def test_a_wallet_that_holds_nothing_has_a_page(as_staff: Client, alice: User) -> None:
    ledger.expire(account_id=alice.pk)
    page = as_staff.get(_page(Wallet, Wallet.objects.get(), "change"))
    assert page.status_code == 200
    assert "Nothing has been booked" in page.content.decode()


def test_the_statement_downloads_as_csv(
    as_staff: Client, wallet: Wallet, alice: User, give: Callable[..., Any]
) -> None:
    give(alice, 1, reason="=HYPERLINK(1)")
    answer = as_staff.get(f"/admin/wallet/wallet/{wallet.pk}/statement.csv")
    body: Any = answer
    lines = b"".join(body.streaming_content).decode().splitlines()
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert lines[0].startswith("seq,booked_at,movement_id,kind,from,to,amount")
    assert len(lines) == 1 + wallet.seq + 1
    assert ",grant,issuance,available,20,20,0,0,20,,," in lines[1]
    assert lines[-1].endswith(",'=HYPERLINK(1)")
    assert SecurityEvent.objects.filter(kind="statement_exported", user=alice).exists()


def test_the_balance_is_explained(as_staff: Client, wallet: Wallet) -> None:
    page = as_staff.get(f"/admin/wallet/wallet/{wallet.pk}/explain/").content.decode()
    assert "charged by video for jobs" in page
    assert "The balance is 13: these lines explain all of it." in page


def test_the_chain_is_verified_and_that_is_on_record(
    as_staff: Client, wallet: Wallet, staff: User, alice: User
) -> None:
    place = f"/admin/wallet/wallet/{wallet.pk}/verify/"
    answer = as_staff.post(place, follow=True)
    assert (
        "The chain is whole: 12 invariants hold over 5 entries"
        in answer.content.decode()
    )
    Wallet.objects.filter(pk=wallet.pk).update(available_micro=99 * MICRO)
    answer = as_staff.post(place, follow=True)
    assert "the wallet shows what its last entry left" in answer.content.decode()
    events = SecurityEvent.objects.filter(kind="wallet_verified", user=alice)
    assert [event.actor for event in events] == [str(staff)] * 2
    assert as_staff.get(place).status_code == 302
    assert events.count() == 2


def test_verifying_one_wallet_does_not_blame_it_for_another(
    wallet: Wallet, bob: User, give: Callable[..., Any]
) -> None:
    give(bob, 1)
    Wallet.objects.filter(account=bob).update(available_micro=99)
    assert list(invariants.violations(wallet_id=wallet.pk)) == []
    assert {broken.wallet_id for broken in invariants.violations()} == {
        Wallet.objects.get(account=bob).pk
    }


def test_staff_actions_are_listed(
    as_staff: Client, wallet: Wallet, alice: User, staff: User
) -> None:
    audit.record("credits_adjusted", user=alice, actor=str(staff), amount="5")
    page = as_staff.get(_page(Wallet, wallet, "history")).content.decode()
    assert "credits adjusted" in page
    assert "amount: 5" in page


# --- who may


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
    role: str, place: str, staff_in: Callable[[str], Client], wallet: Wallet, bob: User
) -> None:
    where = place.format(wallet=wallet.pk, newcomer=bob.pk)
    answer = staff_in(role).get(where)
    assert answer.status_code == (200 if place in MAY[role] else 403)


@pytest.mark.parametrize("place", [*PAGES, ADJUST, OVERDRAFT, "/admin/"])
def test_people_and_strangers_are_sent_away(
    place: str, wallet: Wallet, bob: User, alice: User
) -> None:
    where = place.format(wallet=wallet.pk, newcomer=bob.pk)
    client = Client()
    assert client.get(where).status_code == 302
    client.force_login(alice)
    assert client.get(where, follow=True).status_code == 403


def test_buttons_are_offered_to_those_who_may_press_them(
    staff_in: Callable[[str], Client], wallet: Wallet
) -> None:
    offered = {}
    for role in ("viewer", "support", "finance"):
        page = staff_in(role).get(_page(Wallet, wallet, "change")).content.decode()
        offered[role] = [word for word in ("/adjust/", "/overdraft/") if word in page]
    assert offered == {
        "viewer": [],
        "support": ["/adjust/"],
        "finance": ["/adjust/", "/overdraft/"],
    }


def test_roles_are_made_again_as_declared(db: None) -> None:
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
        "change_personalaccesstoken",
        "change_session",
        "change_user",
    }
    assert codenames["finance"] == codenames["support"] | {
        "adjust_without_limit",
        "set_overdraft_limit",
        "change_app",
    }
    assert Group.objects.get(name="viewer").permissions.filter(
        content_type__app_label="wallet"
    ).count() == len(["wallet", "entry", "grant", "reservation", "draw"])


# --- the first page


def test_the_first_page_shows_the_state_of_things(
    as_staff: Client, wallet: Wallet
) -> None:
    invariants.check(actor="system:beat")
    shown = as_staff.get("/admin/").context["focus"]
    assert shown["totals"]["outstanding"] == "17"
    assert shown["totals"]["reserved"] == "4"
    assert shown["earned"] == [{"app": "video", "amount": "3", "share": 100}]
    counted = {row["status"]: row["count"] for row in shown["jobs"]}
    assert counted == {"started": "1", "completed": "1", "failed": "0", "expired": "0"}
    assert shown["check"]["state"] == "good"
    assert set(shown["alive"]) >= {"database", "redis", "celery", "beat"}


def test_the_first_page_names_a_broken_wallet(as_staff: Client, wallet: Wallet) -> None:
    Wallet.objects.filter(pk=wallet.pk).update(available_micro=1)
    invariants.check(actor="system:beat")
    page = as_staff.get("/admin/").content.decode()
    assert "Look at it" in page
    assert f"in wallet {wallet.pk}." in page


def test_staff_without_a_role_see_no_figures(staff_in: Callable[[str], Client]) -> None:
    page = staff_in("").get("/admin/").content.decode()
    assert "You have no role yet" in page
    assert "Credits outstanding" not in page

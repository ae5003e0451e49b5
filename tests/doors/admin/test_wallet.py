"""The wallet page and the dashboard of the staff site."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts import audit
from accounts.models import App, SecurityEvent, User
from focus.money import MICRO
from tests.doors.staffroom import browser, complete, in_role, start
from wallet import anchors, invariants, ledger, verifications
from wallet.models import Wallet


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


def _place(wallet: Wallet, what: str = "change/") -> str:
    return f"/admin/wallet/wallet/{wallet.pk}/{what}"


def test_the_wallet_page_excludes_expired_credits(
    as_staff: Client, wallet: Wallet, time_passes: Callable[[int], None]
) -> None:
    page = as_staff.get(_place(wallet))
    assert page.context["balance"] == "13"
    assert page.context["reserved"] == "4"
    time_passes(7200)
    page = as_staff.get(_place(wallet))
    assert page.context["balance"] == "17"
    assert page.context["reserved"] == "0"
    assert page.context["reservations"] == []


def test_the_wallet_page_shows_expiring_and_restricted_credits(
    as_staff: Client, wallet: Wallet, alice: User, video: App, give: Callable[..., Any]
) -> None:
    give(
        alice, 2, only_for=video, expires_at=timezone.now() + timedelta(days=3, hours=1)
    )
    page = as_staff.get(_place(wallet))
    assert page.context["next_expiry"] == {"amount": "2", "in": "in 3 days"}
    assert "promotional credits, only for video" in page.content.decode()
    assert [grant["left"] for grant in page.context["grants"]] == ["2", "13"]
    assert [grant["held"] for grant in page.context["grants"]] == ["", "4"]


def test_the_wallet_page_shows_spending_and_limits_of_apps(
    as_staff: Client, wallet: Wallet, alice: User, video: App
) -> None:
    page = as_staff.get(_place(wallet))
    assert [row["spent"] for row in page.context["spenders"]] == ["7"]
    assert [row["limit"] for row in page.context["spenders"]] == [""]
    ledger.set_budget(account_id=alice.pk, app=video, limit_micro=7 * MICRO)
    page = as_staff.get(_place(wallet))
    (row,) = page.context["spenders"]
    assert (row["app"], row["limit"], row["used_up"]) == (video, "7", True)


def test_the_statement_describes_a_refund_in_words(
    as_staff: Client, wallet: Wallet, alice: User, give: Callable[..., Any]
) -> None:
    give(alice, 50, source="purchase", category="paid", key="bought")
    complete(start(alice, App.objects.get(), 60), 60)
    ledger.claw_back(
        account_id=alice.pk,
        purchase_key="bought",
        amount_micro=50 * MICRO,
        actor="stripe",
        reason="disputed",
        key="lost",
    )
    ledger.reinstate(
        account_id=alice.pk,
        claw_back_key="lost",
        actor="stripe",
        reason="won",
        key="won",
    )
    page = as_staff.get(_place(wallet))
    told = [(row["kind"], row["sign"]) for row in page.context["rows"]]
    assert told[:4] == [
        ("reinstate", "+"),
        ("reinstate", "+"),
        ("claw back", "−"),
        ("claw back", "−"),
    ]
    assert "Stripe" in page.content.decode()


def test_the_statement_is_paged_newest_first(
    as_staff: Client, alice: User, give: Callable[..., Any]
) -> None:
    for _ in range(120):
        give(alice, 1)
    wallet = Wallet.objects.get(account=alice)
    place = _place(wallet)
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
        page = as_staff.get(_place(wallet), {"days": days})
        text = page.content.decode()
        assert '<path class="line" d="M' in text
        assert "nan" not in re.findall(r'<svg class="f-chart".*?</svg>', text, re.S)[0]


def test_an_empty_wallet_has_a_page(as_staff: Client, alice: User) -> None:
    ledger.expire(account_id=alice.pk)
    page = as_staff.get(_place(Wallet.objects.get()))
    assert page.status_code == 200
    assert "No entries." in page.content.decode()


def test_the_statement_downloads_as_csv(
    as_staff: Client, wallet: Wallet, alice: User, give: Callable[..., Any]
) -> None:
    give(alice, 1, reason="=HYPERLINK(1)")
    answer = as_staff.get(_place(wallet, "statement.csv"))
    body: Any = answer
    lines = b"".join(body.streaming_content).decode().splitlines()
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert lines[0].startswith("seq,booked_at,movement_id,kind,from,to,amount")
    assert len(lines) == 1 + wallet.seq + 1
    assert ",grant,issuance,available,20,20,0,0,20,,," in lines[1]
    assert lines[-1].endswith(",'=HYPERLINK(1)")
    assert SecurityEvent.objects.filter(kind="statement_exported", user=alice).exists()


def test_the_balance_is_explained(as_staff: Client, wallet: Wallet) -> None:
    page = as_staff.get(_place(wallet, "explain/")).content.decode()
    assert "charged by video for jobs" in page
    assert "The balance is 13: these lines explain all of it." in page


@pytest.mark.django_db(transaction=True)
def test_a_worker_verifies_the_chain_and_the_audit_records_it(
    as_staff: Client, wallet: Wallet, staff: User, alice: User
) -> None:
    place = _place(wallet, "verify/")
    assert as_staff.get(place).status_code == 302
    answer = as_staff.post(place, follow=True)
    assert "Waiting for a worker" in answer.content.decode()
    assert answer["Refresh"] == "2"
    assert verifications.run_due() == 1
    answer = as_staff.get(place)
    entries = wallet.seq
    assert "<h3>OK</h3>" in answer.content.decode()
    told = f"{len(invariants.EVERY)} invariants hold over {entries} entries"
    assert told in answer.content.decode()
    assert "Refresh" not in answer
    Wallet.objects.filter(pk=wallet.pk).update(available_micro=99 * MICRO)
    as_staff.post(place)
    verifications.run_due()
    page = as_staff.get(place).content.decode()
    assert "the wallet shows what its last entry left" in page
    events = SecurityEvent.objects.filter(kind="wallet_verified", user=alice)
    assert [event.actor for event in events] == [str(staff)] * 2


def test_a_verification_reports_only_its_own_wallet(
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
    page = as_staff.get(_place(wallet, "history/")).content.decode()
    assert "Credits adjusted" in page
    assert "amount: 5" in page


def test_buttons_depend_on_permissions(wallet: Wallet) -> None:
    offered = {}
    for role in ("viewer", "support", "finance"):
        page = browser(in_role(role)).get(_place(wallet)).content.decode()
        offered[role] = [word for word in ("/adjust/", "/overdraft/") if word in page]
    assert offered == {
        "viewer": [],
        "support": ["/adjust/"],
        "finance": ["/adjust/", "/overdraft/"],
    }


def test_the_dashboard_shows_figures_and_services(
    as_staff: Client, wallet: Wallet
) -> None:
    invariants.check(actor="system:beat")
    answer = as_staff.get("/admin/")
    assert ">Failed tasks</a>" in answer.content.decode()
    assert "Failed_tasks" not in answer.content.decode()
    shown = answer.context["focus"]
    assert shown["totals"]["outstanding"] == "17"
    assert shown["totals"]["reserved"] == "4"
    assert shown["earned"] == [{"app": "video", "amount": "3", "share": 100}]
    counted = {row["status"]: row["count"] for row in shown["jobs"]}
    assert counted == {"started": "1", "completed": "1", "failed": "0", "expired": "0"}
    assert shown["check"]["state"] == "good"
    assert set(shown["alive"]) >= {"database", "redis", "celery", "beat"}


def test_the_dashboard_names_a_broken_wallet(as_staff: Client, wallet: Wallet) -> None:
    Wallet.objects.filter(pk=wallet.pk).update(available_micro=1)
    invariants.check(actor="system:beat")
    page = as_staff.get("/admin/").content.decode()
    assert "Problem found" in page
    assert f"in wallet {wallet.pk}." in page


def test_staff_without_a_role_see_no_figures(db: None) -> None:
    page = browser(in_role("")).get("/admin/").content.decode()
    assert "You have no role yet" in page
    assert "Credits outstanding" not in page


def test_an_anchors_file_is_downloaded_and_verifies(
    as_staff: Client, wallet: Wallet, tmp_path: Path
) -> None:
    anchors.make()
    listed = as_staff.get("/admin/wallet/anchor/").content.decode()
    assert "/admin/wallet/anchor/1.txt" in listed
    answer: Any = as_staff.get("/admin/wallet/anchor/1.txt")
    assert 'filename="anchor-1.txt"' in answer["Content-Disposition"]
    file = tmp_path / "anchor"
    file.write_bytes(b"".join(answer.streaming_content))
    call_command("verify_anchor", file, database=True)
    assert as_staff.get("/admin/wallet/anchor/2.txt").status_code == 404

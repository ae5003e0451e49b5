"""Adjustments in the admin: form, preview, and one booking for repeated requests."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.contrib.messages import get_messages
from django.db import connections
from django.test import Client

from accounts.models import App, SecurityEvent, User
from focus.money import MICRO
from tests.doors.staffroom import browser, complete, in_role, start
from wallet import invariants, ledger
from wallet.models import Adjustment, Entry, Grant, Wallet

NOTE = "render came out green, ticket 7"


@pytest.fixture
def wallet(alice: User, give: Callable[..., Any]) -> Wallet:
    give(alice, 10)
    return Wallet.objects.get(account=alice)


@pytest.fixture
def support(db: None) -> User:
    return in_role("support")


@pytest.fixture
def finance(db: None) -> User:
    return in_role("finance")


@pytest.fixture(autouse=True)
def _adds_up(db: None) -> Any:
    yield
    assert list(invariants.violations()) == []


def _filled(amount: str = "5", **more: Any) -> dict[str, Any]:
    return {
        "amount": amount,
        "reason": "goodwill",
        "note": NOTE,
        "form_id": str(uuid.uuid4()),
        **more,
    }


def _send(person: User, wallet: Wallet, **filled: Any) -> Any:
    place = f"/admin/wallet/wallet/{wallet.pk}/adjust/"
    return browser(person).post(place, filled)


def _confirm(person: User, wallet: Wallet, amount: str = "5", **more: Any) -> Any:
    return _send(person, wallet, **_filled(amount, confirm="yes", **more))


def _messages(answer: Any) -> str:
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def _balance(wallet: Wallet) -> int:
    return ledger.balance(account_id=wallet.account_id).credits_micro // MICRO


def test_each_form_has_its_own_id(support: User, wallet: Wallet) -> None:
    place = f"/admin/wallet/wallet/{wallet.pk}/adjust/"
    pages = [browser(support).get(place) for _ in range(2)]
    ids = {page.context["form"]["form_id"].value() for page in pages}
    assert len(ids) == 2
    assert "Balance 10" in pages[0].content.decode()
    text = pages[0].content.decode()
    assert "You may adjust 100 credits in 24 hours; 100 are left." in text


def test_a_preview_books_nothing(support: User, wallet: Wallet) -> None:
    page = _send(support, wallet, **_filled("2.5"))
    assert (page.context["before"], page.context["after"]) == ("10", "12.5")
    assert "The credits become a new promotional grant" in page.content.decode()
    assert _balance(wallet) == 10
    assert Entry.objects.count() == 1
    assert not SecurityEvent.objects.filter(kind="credits_adjusted").exists()


def test_the_preview_of_a_negative_amount_names_the_grants(
    support: User, wallet: Wallet, alice: User, video: App, give: Callable[..., Any]
) -> None:
    give(alice, 3, only_for=video)
    first, own = Grant.objects.order_by("pk").values_list("pk", flat=True)
    page = _send(support, wallet, **_filled("-4"))
    assert page.context["effects"] == [
        f"3 come from grant {own}: promotional credits, only for video, 3 left.",
        f"1 come from grant {first}: promotional credits, 10 left.",
    ]
    _confirm(support, wallet, "-4")
    assert list(
        Grant.objects.order_by("pk").values_list("remaining_micro", flat=True)
    ) == [9 * MICRO, 0]


def test_a_confirmation_books_it_with_actor_reason_and_audit(
    support: User, wallet: Wallet, alice: User
) -> None:
    answer = _confirm(support, wallet, "5.25")
    assert answer.status_code == 302
    assert answer["Location"] == f"/admin/wallet/wallet/{wallet.pk}/change/"
    assert _messages(answer) == (
        "Gave 5.25 credits to alice@example.com: the balance went from 10 to 15.25."
    )
    entry = Entry.objects.get(wallet=wallet, seq=2)
    assert entry.amount_micro == 5_250_000
    assert entry.actor == f"staff:{support.pk}"
    assert entry.shown_reason == "goodwill"
    assert entry.grant is not None
    assert entry.grant.source == "adjustment"
    row = Adjustment.objects.get(movement_id=entry.movement_id)
    assert (row.note, row.customer_text) == (NOTE, "")
    event = SecurityEvent.objects.get(kind="credits_adjusted")
    assert event.user == alice
    assert event.actor == "support@staff.example.com"
    assert event.ip == "127.0.0.1"
    assert event.facts == {
        "staff_id": str(support.pk),
        "wallet": wallet.pk,
        "amount": "5.25",
        "reason": "goodwill",
        "note": NOTE,
        "movement_id": str(entry.movement_id),
        "adjustment": str(row.pk),
    }


def test_an_adjustment_without_an_audit_event_is_not_booked(
    support: User, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_words: Any, **_facts: Any) -> None:
        raise RuntimeError("the audit is full")

    monkeypatch.setattr("accounts.audit.record", broken)
    with pytest.raises(RuntimeError):
        _confirm(support, wallet, "5")
    assert _balance(wallet) == 10


def test_a_second_click_gets_the_first_result(support: User, wallet: Wallet) -> None:
    filled = _filled("5", confirm="yes")
    _send(support, wallet, **filled)
    answer = _send(support, wallet, **filled)
    assert _messages(answer) == (
        "Gave 5 credits to alice@example.com: the balance went from 10 to 15."
        " You sent the form more than once; it was booked once."
    )
    assert _balance(wallet) == 15
    assert SecurityEvent.objects.filter(kind="credits_adjusted").count() == 1


def test_a_used_form_does_not_book_another_amount(
    support: User, wallet: Wallet
) -> None:
    filled = _filled("-2", confirm="yes")
    _send(support, wallet, **filled)
    answer = _send(support, wallet, **{**filled, "amount": "7"})
    assert "Nothing was booked: this form was already used for -2" in _messages(answer)
    assert _balance(wallet) == 8


def test_a_used_form_does_not_book_on_another_wallet(
    support: User, wallet: Wallet, bob: User, give: Callable[..., Any]
) -> None:
    give(bob, 1)
    other = Wallet.objects.get(account=bob)
    for amount in ("5", "-1"):
        filled = _filled(amount, confirm="yes")
        _send(support, wallet, **filled)
        answer = _send(support, other, **filled)
        assert answer.status_code == 409
        assert "used for another account before" in answer.content.decode()
    assert _balance(other) == 1


def test_the_result_reports_a_balance_change_since_the_preview(
    support: User, wallet: Wallet, alice: User, give: Callable[..., Any]
) -> None:
    page = _send(support, wallet, **(filled := _filled("5")))
    give(alice, 100)
    seen = page.context["seen"]
    answer = _send(support, wallet, **filled, seen=seen, confirm="yes")
    assert _messages(answer) == (
        "Gave 5 credits to alice@example.com: the balance went from 110 to 115."
        " It had changed since the preview, which showed 10."
    )


def test_an_amount_above_the_balance_is_refused_and_books_nothing(
    support: User, wallet: Wallet, alice: User, video: App
) -> None:
    start(alice, video, 4)
    page = _send(support, wallet, **_filled("-6.5"))
    text = page.content.decode()
    assert "Not enough credits" in text
    assert "0.5 too few" in text
    assert 'name="confirm"' not in text
    answer = _confirm(support, wallet, "-6.5")
    assert answer.status_code == 409
    assert "not enough credits for this. Nothing was booked." in answer.content.decode()
    assert _balance(wallet) == 6
    assert not SecurityEvent.objects.filter(kind="credits_adjusted").exists()


def test_given_credits_repay_debt_first_and_the_preview_says_so(
    finance: User, wallet: Wallet, alice: User, video: App
) -> None:
    video.overage_policy = "overflow"
    video.save()
    place = f"/admin/wallet/wallet/{wallet.pk}/overdraft/"
    browser(finance).post(place, {"limit": "20", "note": "a trusted customer"})
    complete(start(alice, video, 1), 13)
    assert _balance(wallet) == -3
    page = _send(finance, wallet, **_filled("5"))
    assert "3 of the credits repay debt immediately." in page.content.decode()
    answer = _confirm(finance, wallet, "5")
    assert "went from -3 to 2." in _messages(answer)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("amount", "", "This field is required"),
        ("amount", "0", "Enter a number other than 0."),
        ("amount", "0.000", "Enter a number other than 0."),
        ("amount", "five", "must be a number such as"),
        ("amount", "1,5", "must be a number such as"),
        ("amount", "1e3", "must be a number such as"),
        ("amount", "NaN", "must be a number such as"),
        ("amount", "Infinity", "must be a number such as"),
        ("amount", "1_000", "must be a number such as"),
        ("amount", "٣", "must be a number such as"),
        ("amount", "0.0000001", "at most 6 decimals"),
        ("amount", "100.000001", "at most 100 credits"),
        ("amount", "-101", "at most 100 credits"),
        ("amount", "9" * 39, "must not exceed"),
        ("reason", "", "This field is required"),
        ("reason", "bribe", "Select a valid choice"),
        ("note", "", "This field is required"),
        ("note", "ok", "at least 5 characters"),
        ("note", "x" * 401, "at most 400 characters"),
        ("form_id", "", "This field is required"),
        ("form_id", "1", "Enter a valid UUID"),
    ],
)
def test_an_invalid_value_is_explained_beside_its_field(
    field: str, value: str, says: str, support: User, wallet: Wallet
) -> None:
    for more in ({}, {"confirm": "yes"}):
        page = _send(support, wallet, **{**_filled(), field: value, **more})
        assert page.status_code == 200
        assert says in page.context["form"].errors.as_text()
    assert _balance(wallet) == 10


@pytest.mark.parametrize(
    ("typed", "micro"),
    [("5", 5_000_000), ("+.5", 500_000), (" 0.000001 ", 1), ("1.10000000", 1_100_000)],
)
def test_amounts_are_exact(
    typed: str, micro: int, support: User, wallet: Wallet
) -> None:
    _confirm(support, wallet, typed)
    assert Entry.objects.get(wallet=wallet, seq=2).amount_micro == micro


def test_edit_returns_to_the_filled_form(support: User, wallet: Wallet) -> None:
    filled = _filled("3")
    page = _send(support, wallet, **filled, edit="yes")
    assert page.context["form"]["amount"].value() == "3"
    assert page.context["form"]["form_id"].value() == filled["form_id"]


def test_limits_depend_on_the_role(
    support: User, finance: User, staff: User, wallet: Wallet, settings: Any
) -> None:
    settings.STAFF_ADJUST_LIMIT_CREDITS = 20
    assert "at most 20 credits" in str(
        _confirm(support, wallet, "20.000001").context["form"].errors
    )
    assert _confirm(support, wallet, "20").status_code == 302
    assert _confirm(finance, wallet, "1000").status_code == 302
    assert _confirm(staff, wallet, "-1000").status_code == 302
    assert _balance(wallet) == 30


def test_staff_without_the_role_at_confirmation_cannot_adjust(
    support: User, wallet: Wallet
) -> None:
    filled = _filled("5")
    _send(support, wallet, **filled)
    support.groups.clear()
    support.groups.add(Group.objects.get(name="viewer"))
    assert _send(support, wallet, **filled, confirm="yes").status_code == 403
    assert _balance(wallet) == 10


def test_a_viewer_cannot_adjust(wallet: Wallet, bob: User) -> None:
    viewer = in_role("viewer")
    assert _confirm(viewer, wallet).status_code == 403
    place = f"/admin/wallet/wallet/{wallet.pk}/overdraft/"
    filled = {"limit": "5", "note": "just because"}
    assert browser(viewer).post(place, filled).status_code == 403
    assert browser(viewer).post(f"/admin/wallet/wallet/of/{bob.pk}/").status_code == 403
    assert _balance(wallet) == 10
    assert not Wallet.objects.filter(account=bob).exists()


def test_a_form_without_the_csrf_token_is_refused(
    support: User, wallet: Wallet
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(support)
    place = f"/admin/wallet/wallet/{wallet.pk}/adjust/"
    assert client.post(place, _filled(confirm="yes")).status_code == 403
    assert _balance(wallet) == 10


def test_setting_the_overdraft_limit_is_audited(finance: User, wallet: Wallet) -> None:
    client = browser(finance)
    place = f"/admin/wallet/wallet/{wallet.pk}/overdraft/"
    assert "Now 0 · debt 0" in client.get(place).content.decode()
    for _ in range(2):
        answer = client.post(place, {"limit": "12.5", "note": "a trusted customer"})
        assert answer.status_code == 302
    wallet.refresh_from_db()
    assert wallet.overdraft_limit_micro == 12_500_000
    event = SecurityEvent.objects.get(kind="overdraft_limit_set")
    assert event.facts["limit_before"] == "0"
    assert event.facts["limit"] == "12.5"
    for wrong in ("-1", "x", ""):
        page = client.post(place, {"limit": wrong, "note": "a trusted customer"})
        assert page.context["form"].errors["limit"]


def test_support_cannot_set_an_overdraft_limit(support: User, wallet: Wallet) -> None:
    place = f"/admin/wallet/wallet/{wallet.pk}/overdraft/"
    filled = {"limit": "5", "note": "just because"}
    assert browser(support).post(place, filled).status_code == 403


def test_staff_open_a_wallet_for_an_account_without_one(
    support: User, bob: User
) -> None:
    client = browser(support)
    listed = client.get("/admin/wallet/wallet/", {"q": "bob@example.com"})
    assert f"/admin/wallet/wallet/of/{bob.pk}/" in listed.content.decode()
    place = f"/admin/wallet/wallet/of/{bob.pk}/"
    assert "No wallet yet" in client.get(place).content.decode()
    assert not Wallet.objects.exists()
    answers = [client.post(place) for _ in range(2)]
    wallet = Wallet.objects.get(account=bob)
    assert {answer["Location"] for answer in answers} == {
        f"/admin/wallet/wallet/{wallet.pk}/change/"
    }
    assert SecurityEvent.objects.filter(kind="wallet_opened").count() == 1
    assert client.get(f"/admin/wallet/wallet/of/{uuid.uuid4()}/").status_code == 404
    _confirm(support, wallet, "5")
    assert _balance(wallet) == 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("amount", ["5", "-5"])
def test_twenty_clicks_at_once_book_once(
    amount: str, alice: User, give: Callable[..., Any]
) -> None:
    give(alice, 10)
    wallet = Wallet.objects.get(account=alice)
    support = in_role("support")
    filled = _filled(amount, confirm="yes")
    gate = threading.Barrier(20, timeout=30)

    def click(client: Client) -> Any:
        try:
            gate.wait()
            return client.post(f"/admin/wallet/wallet/{wallet.pk}/adjust/", filled)
        finally:
            connections.close_all()

    browsers = [browser(support) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(click, browsers))
    assert {answer.status_code for answer in answers} == {302}
    assert sum("more than once" in _messages(answer) for answer in answers) == 19
    assert Entry.objects.filter(wallet=wallet).count() == 2
    assert _balance(wallet) == 10 + int(amount)
    assert SecurityEvent.objects.filter(kind="credits_adjusted").count() == 1

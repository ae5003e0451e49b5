"""Approval by a second person, and the texts that a customer reads."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from accounts.audit import Visitor
from accounts.models import App, SecurityEvent, User
from accounts.signin import closing, sessions
from focus.money import MICRO
from tests.doors.browsing import Browser
from tests.doors.staffroom import browser, in_role
from wallet import adjustments, invariants, ledger
from wallet.models import Adjustment, Entry, Wallet

NOTE = "render came out green, ticket 7"
TEXT = "We are sorry about your render"
STAFF_ADDRESS, STAFF_BROWSER = "203.0.113.77", "Staff-Browser/9"


@pytest.fixture
def wallet(alice: User, give: Callable[..., Any]) -> Wallet:
    give(alice, 10)
    return Wallet.objects.get(account=alice)


@pytest.fixture
def asker(db: None) -> User:
    return in_role("finance")


@pytest.fixture
def approver(db: None) -> User:
    return in_role("superuser")


@pytest.fixture(autouse=True)
def _adds_up(db: None) -> Any:
    yield
    assert list(invariants.violations()) == []


def confirm(person: User, wallet: Wallet, amount: str, **more: Any) -> Any:
    filled = {
        "amount": amount,
        "reason": "fraud",
        "note": NOTE,
        "customer_text": TEXT,
        "form_id": str(uuid.uuid4()),
        "confirm": "yes",
        **more,
    }
    client = browser(person)
    client.defaults |= {"HTTP_USER_AGENT": STAFF_BROWSER, "REMOTE_ADDR": STAFF_ADDRESS}
    return client.post(f"/admin/wallet/wallet/{wallet.pk}/adjust/", filled)


def said(answer: Any) -> str:
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def balance(wallet: Wallet) -> int:
    return ledger.balance(account_id=wallet.account_id).credits_micro // MICRO


def test_the_remaining_daily_limit_is_shown_beside_the_field(
    wallet: Wallet,
) -> None:
    support = in_role("support")
    form = {"form_id": str(uuid.uuid4())}
    assert confirm(support, wallet, "60", **form).status_code == 302
    place = f"/admin/wallet/wallet/{wallet.pk}/adjust/"
    preview = {
        "amount": "60",
        "reason": "goodwill",
        "note": NOTE,
        "form_id": uuid.uuid4(),
    }
    page = browser(support).post(place, preview)
    assert "40 are left" in page.context["form"].errors.as_text()
    # A repetition of the form that used the limit is accepted.
    assert "booked once" in said(confirm(support, wallet, "60", **form))
    answer = confirm(support, wallet, "60")
    assert answer.status_code == 409
    assert "40 are left. Ask finance for more. Nothing was booked." in said(answer)
    assert balance(wallet) == 70


def test_staff_cannot_adjust_their_own_wallet(
    approver: User, asker: User, give: Callable[..., Any]
) -> None:
    for person in (asker, approver):
        give(person, 1)
        own = Wallet.objects.get(account=person)
        assert confirm(person, own, "5").status_code == 403
        assert balance(own) == 1
    place = f"/admin/wallet/wallet/{own.pk}/overdraft/"
    answer = browser(approver).post(place, {"limit": "5", "note": "just because"})
    assert "your own wallet" in said(answer)
    own.refresh_from_db()
    assert own.overdraft_limit_micro == 0


class TestTheSecondPerson:
    def test_a_large_amount_is_requested_and_then_approved(
        self, asker: User, approver: User, wallet: Wallet
    ) -> None:
        place = f"/admin/wallet/wallet/{wallet.pk}/adjust/"
        form = {"amount": "5000", "reason": "goodwill", "note": NOTE}
        form |= {"form_id": str(uuid.uuid4())}
        preview = browser(asker).post(place, form).content.decode()
        assert "Another person must approve it within seven days." in preview
        assert "Request approval" in preview
        answer = browser(asker).post(place, {**form, "confirm": "yes"})
        assert "Another person must approve this request." in said(answer)
        page = answer["Location"]
        assert balance(wallet) == 10

        mine = browser(asker).get(page).content.decode()
        assert (
            "You requested this adjustment, so another person must approve it." in mine
        )
        assert "Approve and book" not in mine
        assert "Withdraw" in mine
        refused = browser(asker).post(page, {"approve": "yes"})
        assert "another person must approve it. Nothing changed." in said(refused)

        theirs = browser(approver).get(page).content.decode()
        assert "Approve and book" in theirs
        on_wallet = browser(approver).get(f"/admin/wallet/wallet/{wallet.pk}/change/")
        shown = on_wallet.content.decode()
        assert "An adjustment of +5,000 credits is waiting for approval." in shown
        # The server ignores an amount in the approval form.
        filled = {"approve": "yes", "amount": "9000000", "amount_micro": "9"}
        booked = browser(approver).post(page, filled)
        assert said(booked) == (
            "Approved and booked: +5,000 credits. The balance went from 10 to 5,010."
        )
        again = browser(approver).post(page, {"approve": "yes"})
        assert said(again) == "This request is booked. Nothing changed."
        assert balance(wallet) == 5010

    def test_reject_and_withdraw(
        self, asker: User, approver: User, wallet: Wallet
    ) -> None:
        for person in (approver, asker):
            page = confirm(asker, wallet, "5000")["Location"]
            assert said(browser(person).post(page, {"reject": "y"})) == (
                "The request is closed. Nothing was booked."
            )
        assert {row.state for row in Adjustment.objects.all()} == {"rejected"}
        assert balance(wallet) == 10

    @pytest.mark.parametrize("role", ["viewer", "support"])
    def test_a_lesser_role_may_read_but_not_decide(
        self, role: str, asker: User, wallet: Wallet
    ) -> None:
        page = confirm(asker, wallet, "5000")["Location"]
        client = browser(in_role(role))
        text = client.get(page).content.decode()
        assert NOTE in text
        assert 'name="approve"' not in text
        for act in ("approve", "reject"):
            answer = client.post(page, {act: "yes"})
            assert "You may not approve adjustments." in said(answer)
        assert balance(wallet) == 10
        assert browser(in_role("")).get(page).status_code == 403

    def test_the_list_filters_by_state(self, asker: User, wallet: Wallet) -> None:
        confirm(asker, wallet, "5000")
        confirm(asker, wallet, "5")
        client = browser(asker)
        for state, count in (("pending", 1), ("booked", 1), ("expired", 0), ("", 2)):
            listed = client.get("/admin/wallet/adjustment/", {"state": state})
            assert len(listed.context["cl"].result_list) == count
        row = Adjustment.objects.get(state="pending")
        for term in (row.pk, "alice@", str(asker), wallet.account_id):
            listed = client.get("/admin/wallet/adjustment/", {"q": str(term)})
            assert row in listed.context["cl"].result_list

    def test_an_unknown_request_is_not_found(self, asker: User, wallet: Wallet) -> None:
        for pk in (uuid.uuid4(), "x"):
            page = f"/admin/wallet/adjustment/{pk}/change/"
            assert browser(asker).get(page).status_code == 404
            assert browser(asker).post(page, {"approve": "y"}).status_code == 404

    def test_a_form_without_the_csrf_token_is_refused(
        self, asker: User, approver: User, wallet: Wallet
    ) -> None:
        page = confirm(asker, wallet, "5000")["Location"]
        client = Client(enforce_csrf_checks=True)
        client.force_login(approver)
        assert client.post(page, {"approve": "yes"}).status_code == 403
        assert balance(wallet) == 10


class TestWhatTheCustomerReads:
    @pytest.fixture
    def customer(self, alice: User) -> Browser:
        client = Browser()
        assert client.sign_in().status_code == 302
        return client

    def test_the_customer_reads_the_customer_text_and_never_the_note(
        self, asker: User, wallet: Wallet, customer: Browser
    ) -> None:
        confirm(asker, wallet, "5")
        confirm(asker, wallet, "6", customer_text="")
        form = browser(asker).get(f"/admin/wallet/wallet/{wallet.pk}/adjust/")
        assert "Visible to staff only" in form.content.decode()
        assert "The customer sees it under Activity" in form.content.decode()
        overview = customer.get("/").content.decode()
        assert TEXT in overview
        csv = browser(asker).get(f"/admin/wallet/wallet/{wallet.pk}/statement.csv")
        statement = b"".join(csv.streaming_content).decode()  # type: ignore[attr-defined]
        assert TEXT in statement
        for shown in (overview, statement, customer.get("/security").content.decode()):
            for secret in (NOTE, "fraud", "Fraud", str(asker.pk), str(asker)):
                assert secret not in shown
        ours = browser(asker).get(f"/admin/wallet/wallet/{wallet.pk}/change/")
        assert NOTE in ours.content.decode()
        assert TEXT in ours.content.decode()

    def test_notes_from_before_the_customer_text_stay_internal(
        self, asker: User, wallet: Wallet, customer: Browser
    ) -> None:
        """Entries cannot change, so the customer's page hides their old reasons."""
        for actor in (f"staff:{asker.pk}", "shell:root"):
            ledger.adjust(
                account_id=wallet.account_id,
                amount_micro=MICRO,
                actor=actor,
                reason=f"fraud: {NOTE}",
                key=f"adjust:{uuid.uuid4()}",
            )
        assert NOTE not in customer.get("/").content.decode()
        client = browser(asker)
        csv = client.get(f"/admin/wallet/wallet/{wallet.pk}/statement.csv")
        assert NOTE not in b"".join(csv.streaming_content).decode()  # type: ignore[attr-defined]

    def test_the_customer_sees_no_ip_browser_or_internal_event_of_staff(
        self,
        alice: User,
        approver: User,
        asker: User,
        wallet: Wallet,
        customer: Browser,
        video: App,
    ) -> None:
        client = browser(approver)
        client.defaults |= {
            "HTTP_USER_AGENT": STAFF_BROWSER,
            "REMOTE_ADDR": STAFF_ADDRESS,
        }
        base = f"/admin/wallet/wallet/{wallet.pk}"
        client.post(f"{base}/verify/")
        client.get(f"{base}/statement.csv")
        client.post(f"{base}/overdraft/", {"limit": "5", "note": NOTE})
        request = confirm(asker, wallet, "5000")["Location"]
        client.post(request, {"approve": "yes"})
        other = sessions.begin(
            user=alice, client="phone", access_seconds=60, methods=["pwd"]
        )
        bulk = {"action": "revoke", "_selected_action": [str(other.session.pk)]}
        client.post("/admin/accounts/session/", bulk)
        assert SecurityEvent.objects.filter(user=alice, ip=STAFF_ADDRESS).count() >= 5

        page = customer.get("/security").content.decode()
        for secret in (STAFF_ADDRESS, STAFF_BROWSER, str(approver), NOTE):
            assert secret not in page
        for internal in (
            "Wallet verified",
            "Statement exported",
            "Overdraft",
            "Adjustm",
        ):
            assert internal not in page
        assert page.count("by Focus staff") == 2
        assert "Staff adjusted your credits" in page
        assert "Session signed out" in page
        # The customer still sees their own events.
        assert "127.0.0.1" in page

    def test_many_internal_events_do_not_displace_the_customers_events(
        self, alice: User, wallet: Wallet, approver: User, customer: Browser
    ) -> None:
        client = browser(approver)
        for _ in range(25):
            client.post(f"/admin/wallet/wallet/{wallet.pk}/verify/")
        assert "Signed in" in customer.get("/security").content.decode()

    def test_a_closure_by_staff_shows_no_ip(
        self, alice: User, approver: User, customer: Browser
    ) -> None:
        seen = Visitor(ip=STAFF_ADDRESS, user_agent=STAFF_BROWSER)
        closing.close(user=alice, actor=str(approver), visitor=seen)
        closing.reopen(user=alice, actor=str(approver), visitor=seen)
        again = Browser()
        again.sign_in()
        page = again.get("/security").content.decode()
        assert "Account reopened" in page
        assert STAFF_ADDRESS not in page


def test_hashed_data_contains_no_free_text(asker: User, wallet: Wallet) -> None:
    confirm(asker, wallet, "5")
    entry = Entry.objects.get(wallet=wallet, seq=2)
    assert (entry.reason, entry.shown_reason) == ("", "fraud")
    assert adjustments.find_booked(wallet.account, str(entry.key))

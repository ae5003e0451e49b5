"""Buying tools and managing one's own tools in the browser."""

import re
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.credentials import app_keys
from accounts.models import App, AppKey, Mail, Session, User
from accounts.partners import apps as partner_apps
from accounts.partners import consents
from focus.money import MICRO
from jobs import tool_purchases, usage
from jobs.models import ToolPurchase
from tests.doors.browsing import Browser
from wallet import ledger

pytestmark = pytest.mark.django_db


@pytest.fixture
def alices(alice: User) -> Browser:
    browser = Browser()
    assert browser.sign_in().status_code == 302
    return browser


@pytest.fixture
def bobs(bob: User) -> Browser:
    browser = Browser()
    form = {"email": "bob@example.com", "password": "bob's password"}
    assert browser.sign_in(**form).status_code == 302
    return browser


def left(user: User) -> float:
    return ledger.balance(account_id=user.pk).available_micro / MICRO


class TestBuying:
    def test_an_anonymous_visitor_sees_the_list_and_signs_in_to_buy(
        self, tool: App
    ) -> None:
        browser = Browser()
        page = browser.get("/tools").content.decode()
        assert "Your Tool" in page
        assert "25 credits" in page
        answer = browser.fill("/tools", {}, f"/tools/{tool.pk}/buy")
        assert answer["Location"].startswith("/signin?")

    def test_from_the_list_to_the_tool(
        self, alices: Browser, alice: User, tool: App, give: Any
    ) -> None:
        give(alice, 100)
        answer = alices.fill("/tools", {}, f"/tools/{tool.pk}/buy")
        where = answer["Location"]
        assert re.fullmatch(r"/purchases/[0-9a-f-]{36}", where)
        shown = alices.get(where)
        page = shown.content.decode()
        for said in ("25 credits, once", "100; after purchase 75", "your-tool.com"):
            assert said in page
        # The POST redirects to the tool, and browsers check form-action on redirects.
        policy = shown["Content-Security-Policy"]
        assert "form-action 'self' https://your-tool.com;" in policy
        assert left(alice) == 100
        paid = alices.fill(where, {})
        assert paid.status_code == 302
        target = urlsplit(paid["Location"])
        assert paid["Location"].startswith("https://your-tool.com?lang=en&token=")
        assert (paid["Cache-Control"], paid["Referrer-Policy"]) == (
            "no-store",
            "no-referrer",
        )
        (token,) = parse_qs(target.query)["token"]
        seen = APIClient().post("/api/v1/verify-user", {"token": token}).json()
        assert seen["user_id"] == str(alice.pk)
        # A second click, a reload and the account page charge nothing more.
        assert alices.fill(where, {}).status_code == 302
        home = alices.get("/")
        assert f'action="{where}"' in home.content.decode()
        assert "https://your-tool.com" in home["Content-Security-Policy"]
        assert alices.fill("/", {}, where).status_code == 302
        assert left(alice) == 75
        assert f'href="{where}"' in alices.get("/tools").content.decode()

    def test_a_purchase_without_enough_credits_is_refused(
        self, alices: Browser, alice: User, tool: App, give: Any
    ) -> None:
        give(alice, 30)
        where = alices.fill("/tools", {}, f"/tools/{tool.pk}/buy")["Location"]
        App.objects.update(price_micro=1)
        ledger.adjust(
            account_id=alice.pk,
            amount_micro=-10 * MICRO,
            actor="t",
            reason="t",
            key="t",
        )
        assert "do not have enough" in alices.get(where).content.decode()
        answer = alices.fill("/tools", {}, where)
        assert answer.status_code == 400
        assert "There are not enough credits" in answer.content.decode()
        assert left(alice) == 20

    def test_a_purchase_of_another_account_is_not_found(
        self, bobs: Browser, alice: User, tool: App
    ) -> None:
        purchase = tool_purchases.create(user=alice, tool_id=tool.pk)
        for where in (purchase.pk, uuid.uuid4()):
            assert bobs.get(f"/purchases/{where}").status_code == 404
            assert bobs.fill("/tools", {}, f"/purchases/{where}").status_code == 404

    def test_an_expired_purchase_and_a_disabled_tool_charge_nothing(
        self, alices: Browser, alice: User, tool: App, give: Any
    ) -> None:
        give(alice, 100)
        purchase = tool_purchases.create(user=alice, tool_id=tool.pk)
        ToolPurchase.objects.update(expires_at=timezone.now())
        answer = alices.fill("/tools", {}, f"/purchases/{purchase.pk}")
        assert (answer.status_code, left(alice)) == (400, 100)
        assert "Nothing was charged" in answer.content.decode()
        page = alices.get("/tools").content.decode()
        App.objects.update(active=False)
        assert "Your Tool" in page
        assert "Your Tool" not in alices.get("/tools").content.decode()
        answer = alices.fill("/vendor", {}, f"/tools/{tool.pk}/buy")
        assert answer.status_code == 400
        answer = alices.fill("/vendor", {}, f"/tools/{uuid.uuid4()}/buy")
        assert answer.status_code == 404

    def test_a_purchase_needs_the_csrf_token(
        self, alices: Browser, alice: User, tool: App, give: Any
    ) -> None:
        give(alice, 100)
        purchase = tool_purchases.create(user=alice, tool_id=tool.pk)
        assert alices.post(f"/purchases/{purchase.pk}").status_code == 403
        assert left(alice) == 100


OFFER = {
    "name": "My Tool",
    "slug": "my-tool",
    "price": "2.5",
    "url": "https://my-tool.com/cb",
}


class TestVendor:
    def test_a_vendor_says_whether_each_checkout_is_charged(
        self, alices: Browser, alice: User
    ) -> None:
        alices.fill("/vendor", OFFER | {"sold_per_use": "on"})
        app = App.objects.get(owner=alice)
        assert app.sold_per_use
        page = alices.get(f"/vendor/{app.pk}").content.decode()
        assert 'name="sold_per_use" checked' in page
        assert "each time" in alices.get("/tools").content.decode()
        changed = {name: OFFER[name] for name in ("name", "price", "url")}
        alices.fill(f"/vendor/{app.pk}", changed)
        app.refresh_from_db()
        assert not app.sold_per_use

    def test_a_vendor_chooses_who_settles_jobs_that_users_start(
        self, alices: Browser, alice: User
    ) -> None:
        alices.fill("/vendor", OFFER)
        app = App.objects.get(owner=alice)
        place = f"/vendor/{app.pk}/settling"
        for sent, wanted in (({"settle_with_app_key_only": "on"}, True), ({}, False)):
            alices.fill(f"/vendor/{app.pk}", sent, place)
            app.refresh_from_db()
            assert app.settle_with_app_key_only == wanted
            page = alices.get(f"/vendor/{app.pk}").content.decode()
            ticked = 'name="settle_with_app_key_only" checked' in page
            assert ticked == wanted

    def test_an_imitating_name_is_waiting_for_approval(
        self, alices: Browser, alice: User, video: App
    ) -> None:
        alices.fill("/vendor", OFFER | {"name": "F0cus Video"})
        app = App.objects.get(owner=alice)
        page = alices.get(f"/vendor/{app.pk}").content.decode()
        assert "Wait until our staff approve the name" in page
        assert "waiting for approval" in alices.get("/vendor").content.decode()
        assert "F0cus Video" not in alices.get("/tools").content.decode()

    def test_publishing_shows_the_key_once(self, alices: Browser, alice: User) -> None:
        answer = alices.fill("/vendor", OFFER)
        page = answer.content.decode()
        secret = re.findall(r"sk-tool-\w{38}", page)
        assert (answer.status_code, len(secret)) == (200, 1)
        assert answer["Cache-Control"] == "no-store"
        key = app_keys.find(secret=secret[0])
        app = key.app
        assert (app.owner, app.slug, app.price_micro) == (alice, "my-tool", 2_500_000)
        assert app.tool_url == "https://my-tool.com/cb"
        for where in ("/vendor", f"/vendor/{app.pk}"):
            assert secret[0] not in alices.get(where).content.decode()
        mail = Mail.objects.get()
        assert mail.to == "alice@example.com"
        assert key.last4 in mail.body
        assert secret[0] not in mail.body
        # A repetition of the form finds the name taken and creates no second key.
        assert alices.fill("/vendor", OFFER).status_code == 400
        assert AppKey.objects.count() == 1

    @pytest.mark.parametrize(
        "wrong",
        [
            {"slug": "No Such"},
            {"slug": ""},
            {"price": "-1"},
            {"price": "much"},
            {"price": "NaN"},
            {"price": "1e9"},
            {"price": "0.0000001"},
            {"url": ""},
            {"url": "http://my-tool.com"},
            {"url": "https://my-tool.com/?token=1"},
            {"url": "https://a@my-tool.com/"},
        ],
        ids=str,
    )
    def test_an_invalid_tool_is_not_published(
        self, alices: Browser, wrong: dict[str, str]
    ) -> None:
        answer = alices.fill("/vendor", OFFER | wrong)
        page = answer.content.decode()
        assert answer.status_code == 400
        assert 'id="problem" class="note error" role="alert" >' in page
        # The form keeps the typed values.
        assert 'value="My Tool"' in page
        assert not App.objects.exists()

    def test_an_account_has_twenty_at_most(self, alices: Browser, alice: User) -> None:
        for n in range(20):
            partner_apps.create(slug=f"a{n}", owner=alice)
        answer = alices.fill("/vendor", OFFER)
        assert "20 tools at most" in answer.content.decode()
        assert App.objects.count() == 20

    @pytest.fixture
    def mine(self, alice: User, tool: App) -> App:
        tool.owner = alice
        tool.save()
        return tool

    def test_a_rotated_key_works_during_the_overlap(
        self, alices: Browser, mine: App
    ) -> None:
        old = app_keys.issue(app=mine, name="server")
        where = f"/vendor/{mine.pk}"
        place = f"{where}/keys/{old.key.pk}/rotate"
        for wrong in ("7", "-1", "", "x", "9" * 30):
            answer = alices.fill(where, {"overlap_seconds": wrong}, place)
            assert answer.status_code == 302
        answer = alices.fill(where, {"overlap_seconds": "3600"}, place)
        (new,) = re.findall(r"sk-tool-\w{38}", answer.content.decode())
        for secret in (old.secret, new):
            assert app_keys.find(secret=secret).app == mine
        # A second click finds the key already replaced.
        assert alices.fill(where, {"overlap_seconds": "0"}, place).status_code == 302
        assert AppKey.objects.count() == 2
        assert Mail.objects.filter(subject__contains="rotated").count() == 1

    def test_keys_are_revoked_and_created(self, alices: Browser, mine: App) -> None:
        where = f"/vendor/{mine.pk}"
        page = alices.fill(where, {"name": " my  server "}, f"{where}/keys").content
        (secret,) = re.findall(r"sk-tool-\w{38}", page.decode())
        key = app_keys.find(secret=secret)
        assert key.name == "my server"
        alices.fill(where, {}, f"{where}/keys/{key.pk}/revoke")
        key.refresh_from_db()
        assert key.revoked_at
        for _ in range(12):
            alices.fill(where, {}, f"{where}/keys")
        assert AppKey.objects.filter(revoked_at=None).count() == 10

    def test_a_name_that_postgresql_cannot_store_creates_no_key(
        self, alices: Browser, mine: App
    ) -> None:
        page = f"/vendor/{mine.pk}"
        assert alices.fill(page, {"name": " a\0b "}, f"{page}/keys").status_code == 400
        assert not mine.appkey_set.exists()

    def test_a_sign_in_without_user_verification_creates_no_key(
        self, alices: Browser, mine: App
    ) -> None:
        page = f"/vendor/{mine.pk}"
        key = app_keys.issue(app=mine, name="server").key
        tool = {"slug": "mine", "price": "1", "url": "https://mine.example.com"}
        Session.objects.update(methods=["pop"])
        alices.fill(page, {"name": "x"}, f"{page}/keys")
        form = {"overlap_seconds": "0"}
        alices.fill(page, form, f"{page}/keys/{key.pk}/rotate")
        alices.fill("/vendor", tool)
        assert AppKey.objects.get() == key
        Session.objects.update(methods=["pop", "mfa"])
        assert alices.fill(page, {"name": "x"}, f"{page}/keys").status_code == 200

    def test_switching_off_and_on(self, alices: Browser, mine: App) -> None:
        where = f"/vendor/{mine.pk}"
        for active, state in (("0", False), ("0", False), ("1", True)):
            alices.fill(where, {"active": active}, f"{where}/switch")
            mine.refresh_from_db()
            assert mine.active is state
        # The owner cannot enable an app that support disabled.
        App.objects.update(active=False, paused_by_owner=False)
        alices.fill(where, {"active": "1"}, f"{where}/switch")
        mine.refresh_from_db()
        assert not mine.active

    def test_changing_the_offer(self, alices: Browser, mine: App) -> None:
        form = {**OFFER, "duplicate_mode": "replay"}
        assert alices.fill(f"/vendor/{mine.pk}", form).status_code == 302
        mine.refresh_from_db()
        assert (mine.name, mine.price_micro) == ("My Tool", 2_500_000)
        assert (mine.duplicate_mode, mine.slug) == ("replay", "tool")
        answer = alices.fill(f"/vendor/{mine.pk}", form | {"price": "x"})
        assert answer.status_code == 400

    def test_usage(
        self, alices: Browser, mine: App, alice: User, bob: User, give: Any
    ) -> None:
        give(bob, 100)
        purchase = tool_purchases.create(user=bob, tool_id=mine.pk)
        tool_purchases.process(user=bob, purchase_id=purchase.pk)
        for n in range(3):
            usage.charge(
                account_id=bob.pk,
                app=mine,
                amount_micro=500_000,
                reason="used",
                key=str(n),
                actor="test",
            )
        page = alices.get(f"/vendor/{mine.pk}").content.decode()
        told = re.findall(r"<dd>([^<]+)</dd>", page)
        assert told[:3] == ["26.5", "3", "1"]
        assert len(re.findall("<rect", page)) == 60
        # The vendor does not see the buyer's identity.
        assert "bob@example.com" not in page

    def test_apps_of_another_account_are_not_found(
        self, bobs: Browser, mine: App, alice: User
    ) -> None:
        key = app_keys.issue(app=mine, name="server").key
        theirs = f"/vendor/{mine.pk}"
        assert bobs.get(theirs).status_code == 404
        forms: dict[str, dict[str, str]] = {
            theirs: OFFER,
            f"{theirs}/switch": {"active": "0"},
            f"{theirs}/keys": {"name": "x"},
            f"{theirs}/keys/{key.pk}/rotate": {"overlap_seconds": "0"},
            f"{theirs}/keys/{key.pk}/revoke": {},
        }
        for action, form in forms.items():
            assert bobs.fill("/vendor", form, action).status_code == 404, action
        # An own app's address gives no access to another app's key.
        own = partner_apps.create(
            slug="own", owner=User.objects.get(email="bob@example.com")
        )
        for act in ("rotate", "revoke"):
            action = f"/vendor/{own.pk}/keys/{key.pk}/{act}"
            form = {"overlap_seconds": "0"}
            assert bobs.fill("/vendor", form, action).status_code == 404
        mine.refresh_from_db()
        key.refresh_from_db()
        assert (mine.name, mine.active, key.revoked_at) == ("Your Tool", True, None)
        assert (AppKey.objects.count(), key.replaced_by) == (1, None)

    def test_an_anonymous_visitor_signs_in_first(self, mine: App) -> None:
        for where in ("/vendor", f"/vendor/{mine.pk}", f"/purchases/{uuid.uuid4()}"):
            assert Browser().get(where)["Location"].startswith("/signin?next=")


def test_a_revoked_permission_shows_on_the_account_page(
    alices: Browser, alice: User, tool: App, give: Any
) -> None:
    give(alice, 100)
    purchase = tool_purchases.create(user=alice, tool_id=tool.pk)
    token = tool_purchases.process(user=alice, purchase_id=purchase.pk).token
    alices.fill("/", {}, f"/apps/{tool.pk}/revoke")
    assert not consents.is_granted(user_id=alice.pk, app_id=tool.pk)
    answer = APIClient().post("/api/v1/verify-user", {"token": token})
    assert answer.status_code == 401

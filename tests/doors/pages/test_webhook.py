"""/webhooks: an account's endpoints and deliveries, and their buttons."""

import re
import uuid
from typing import Any

import pytest
from django.utils import timezone
from django.utils.html import escape
from standardwebhooks import Webhook

from accounts.models import SecurityEvent, User
from focus.outgoing.safe_http import PostResult
from jobs.models import Delivery, Endpoint
from jobs.pages import REASONS
from jobs.webhooks import delivery, endpoints
from jobs.webhooks.delivery import Sent, claim, record
from tests import webhooks
from tests.doors.browsing import Browser

pytestmark = pytest.mark.django_db

URL = "http://127.0.0.1:1099/hook"
State = Delivery.State


def signed_in(email: str, password: str) -> Browser:
    browser = Browser()
    answer = browser.sign_in(email=email, password=password)
    assert answer.status_code == 302
    return browser


@pytest.fixture
def alices(alice: User) -> Browser:
    return signed_in("alice@example.com", "alice's password")


@pytest.fixture
def bobs(bob: User) -> Browser:
    return signed_in("bob@example.com", "bob's password")


def add(browser: Browser, **more: Any) -> Any:
    form = {"url": URL, "event": ["job.created", "test"], **more}
    return browser.fill("/webhooks", form)


def secret_on(answer: Any) -> str:
    [secret] = re.findall(r"<code>(whsec_[^<]+)</code>", answer.content.decode())
    return str(secret).replace("&#x2B;", "+")


def answered(*, status: int, body: bytes = b"", error: str = "") -> dict[str, str]:
    """Deliver the next event to an endpoint with this response; return its headers."""
    Delivery.objects.filter(lease=None).update(due_at=timezone.now())
    [claimed] = claim(limit=1, in_trouble=1)
    made = delivery._headers(claimed)
    answer = PostResult(status or None, error, "127.0.0.1", 12, {}, body)
    record([Sent(claimed, answer, 0)])
    return {**made, "body": claimed.body.decode()}


class TestEndpoints:
    def test_an_anonymous_visitor_signs_in_first(self) -> None:
        for page in ("/webhooks", f"/webhooks/{uuid.uuid4()}"):
            assert Browser().get(page)["Location"].startswith("/signin?next=%2Fwebhook")

    def test_an_endpoint_is_added_and_its_secret_shown_once(
        self, alices: Browser, alice: User
    ) -> None:
        answer = add(alices, others="x.to.come  y")
        assert answer.status_code == 200
        assert answer["Cache-Control"] == "no-store"
        secret, row = secret_on(answer), Endpoint.objects.get()
        assert (row.account, row.url) == (alice, URL)
        assert row.events == ["job.created", "test", "x.to.come", "y"]
        again = add(alices, event=["job.failed"])
        assert again["Location"] == f"/webhooks/{row.pk}"
        row.refresh_from_db()
        assert row.events[-1] == "job.failed"
        for page in ("/webhooks", f"/webhooks/{row.pk}", f"/webhooks/{row.pk}?state=x"):
            shown = alices.get(page).content.decode()
            assert URL in shown
            assert "whsec_" not in shown
        # Focus signs with the secret that the page showed.
        alices.fill(f"/webhooks/{row.pk}", {}, f"/webhooks/{row.pk}/test")
        sent = answered(status=200)
        Webhook(secret).verify(sent["body"], sent)

    @pytest.mark.parametrize(
        ("form", "says"),
        [
            ({"url": "http://10.0.0.1/"}, "address"),
            ({"url": "ftp://example.com"}, "must begin with https://"),
            ({"url": "https://u:p@example.com/"}, "user name"),
            ({"url": "https://example.com/" + "x" * 3000}, "at most"),
            ({"url": ""}, "url"),
            ({"event": []}, "Choose at least one event"),
            ({"event": ["x" * 101]}, "1 to 100 visible"),
            ({"others": "naïve"}, "1 to 100 visible"),
            ({"others": " ".join(f"e{n}" for n in range(60))}, "at most 50"),
        ],
    )
    def test_an_invalid_endpoint_is_explained_and_the_form_kept(
        self, alices: Browser, form: dict[str, Any], says: str
    ) -> None:
        answer = add(alices, **form)
        assert answer.status_code == 400
        assert says in answer.content.decode()
        assert not Endpoint.objects.exists()

    def test_forms_need_the_csrf_token(self, alices: Browser, alice: User) -> None:
        row = webhooks.register_endpoint(alice)
        [sent] = webhooks.send_test_events(row)
        assert alices.post("/webhooks", {"url": URL}).status_code == 403
        for action in (*ACTIONS, "rotate", "test", "recover"):
            assert alices.post(f"/webhooks/{row.pk}/{action}").status_code == 403
            assert alices.get(f"/webhooks/{row.pk}/{action}").status_code == 405
        where = f"/webhooks/deliveries/{sent.pk}/resend"
        assert alices.post(where).status_code == 403
        assert Endpoint.objects.get().deleted_at is None

    @pytest.mark.usefixtures("real_limits")
    def test_forms_are_rate_limited(self, alices: Browser, alice: User) -> None:
        row = webhooks.register_endpoint(alice)
        for _ in range(105):
            alices.fill(f"/webhooks/{row.pk}", {}, f"/webhooks/{row.pk}/test")
        assert Delivery.objects.count() == 100
        assert "Rate limit" in alices.get(f"/webhooks/{row.pk}").content.decode()
        answer = add(alices)
        assert answer.status_code == 429
        assert int(answer["Retry-After"]) >= 1

    def test_endpoints_of_another_account_are_not_found(
        self, bobs: Browser, alice: User
    ) -> None:
        row = webhooks.register_endpoint(alice)
        [sent] = webhooks.send_test_events(row)
        before = Endpoint.objects.values().get()
        one, two = f"/webhooks/{row.pk}", f"/webhooks/deliveries/{sent.pk}"
        for page in (one, two, f"/webhooks/{uuid.uuid4()}"):
            assert bobs.get(page).status_code == 404
        wheres = [f"{one}/{it}" for it in (*ACTIONS, "rotate", "test", "recover")]
        for where in (*wheres, f"{two}/resend"):
            assert bobs.fill("/webhooks", {}, where).status_code == 404, where
        assert Endpoint.objects.values().get() == before
        assert Delivery.objects.count() == 1
        page = bobs.get("/webhooks").content.decode()
        assert str(sent.pk) not in page
        assert row.url not in page

    def test_an_endpoint_is_paused_enabled_and_deleted(
        self, alices: Browser, alice: User
    ) -> None:
        row = webhooks.register_endpoint(alice)
        page = f"/webhooks/{row.pk}"
        alices.fill(page, {}, f"{page}/disable")
        assert "You paused it." in alices.get(page).content.decode()
        alices.fill(page, {}, f"{page}/test")
        assert "enable it first" in alices.get(page).content.decode()
        alices.fill(page, {}, f"{page}/enable")
        assert "You paused it." not in alices.get(page).content.decode()
        answer = alices.fill(page, {}, f"{page}/delete")
        assert answer["Location"] == "/webhooks"
        assert alices.get(page).status_code == 404
        kinds = SecurityEvent.objects.filter(
            kind__startswith="webhook", user=alice
        ).order_by("pk")
        assert [it.kind.removeprefix("webhook_endpoint_") for it in kinds] == [
            "made",
            "disabled",
            "enabled",
            "deleted",
        ]

    @pytest.mark.parametrize("because", Endpoint.Disabled.values)
    def test_a_paused_endpoint_shows_the_reason(
        self, alices: Browser, alice: User, because: str
    ) -> None:
        row = webhooks.register_endpoint(
            alice, disabled_at=timezone.now(), disabled_because=because
        )
        for page in ("/webhooks", f"/webhooks/{row.pk}"):
            shown = alices.get(page).content.decode()
            assert escape(REASONS[because]) in shown
            assert "nable" in shown

    def test_a_secret_is_rotated(self, alices: Browser, alice: User) -> None:
        row = webhooks.register_endpoint(alice)
        page = f"/webhooks/{row.pk}"
        answer = alices.fill(page, {}, f"{page}/rotate")
        assert answer["Cache-Control"] == "no-store"
        new = secret_on(answer)
        assert "Promote now" in alices.get(page).content.decode()
        alices.fill(page, {}, f"{page}/cancel")
        alices.fill(page, {}, f"{page}/promote")
        assert "no new secret to promote" in alices.get(page).content.decode()
        newer = secret_on(alices.fill(page, {}, f"{page}/rotate"))
        assert newer != new
        alices.fill(page, {}, f"{page}/promote")
        webhooks.send_test_events(row)
        sent = answered(status=200)
        Webhook(newer).verify(sent["body"], sent)
        assert "X-Signature-Next" not in sent


ACTIONS = ("enable", "disable", "promote", "cancel", "delete")


class TestDeliveries:
    def test_an_attempt_is_shown_and_its_response_is_escaped(
        self, alices: Browser, alice: User
    ) -> None:
        [sent] = webhooks.send_test_events(webhooks.register_endpoint(alice))
        answered(status=500, body=b"<script>alert(1)</script>\0\xff" + b"x" * 2000)
        answered(status=0, error="timeout")
        page = alices.get(f"/webhooks/deliveries/{sent.pk}").content.decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "x" * 900 in page
        assert "x" * 1000 not in page
        assert "12 ms" in page
        assert "timeout" in page
        assert f"evt_{sent.event_id.hex}" in page
        assert "&quot;event&quot;:&quot;test&quot;" in page

    def test_a_delivery_is_resent(self, alices: Browser, alice: User) -> None:
        [sent] = webhooks.send_test_events(webhooks.register_endpoint(alice))
        answered(status=400)
        assert webhooks.refreshed(sent).state == State.FAILED
        page = f"/webhooks/deliveries/{sent.pk}"
        assert alices.fill(page, {}, f"{page}/resend")["Location"] == page
        assert webhooks.refreshed(sent).state == State.PENDING
        answered(status=200)
        assert webhooks.refreshed(sent).state == State.SUCCEEDED
        assert Delivery.objects.count() == 1

    def test_failed_deliveries_are_replayed_all_or_by_period(
        self, alices: Browser, alice: User
    ) -> None:
        row = webhooks.register_endpoint(alice)
        old, new = webhooks.send_test_events(row, 2)
        Delivery.objects.filter(pk=old.pk).update(created_at="2026-01-01T12:00Z")

        def fail() -> None:
            Delivery.objects.update(
                state=State.FAILED, ended_at=timezone.now(), lease=None
            )

        def again(**form: str) -> set[Any]:
            fail()
            alices.fill(f"/webhooks/{row.pk}", form, f"/webhooks/{row.pk}/recover")
            pending = Delivery.objects.filter(state=State.PENDING)
            return set(pending.values_list("pk", flat=True))

        assert again() == {old.pk, new.pk}
        assert again(since="2026-01-01T12:01") == {new.pk}
        assert again(since="2026-01-01T11:59", until="2026-01-01T12:01") == {old.pk}
        assert again(until="0001-01-01T00:00") == set()
        assert again(until="\0") == set()
        for wrong in ("yesterday", "2026-02-31T12:00", "x" * 5000):
            assert again(until=wrong) == set()
            said = alices.get(f"/webhooks/{row.pk}").content.decode()
            assert "Enter a time in UTC" in said

    def test_the_newest_of_all_endpoints_come_first(
        self, alices: Browser, alice: User, bob: User
    ) -> None:
        rows = [webhooks.register_endpoint(alice, url=f"{URL}/{n}") for n in range(2)]
        made = [webhooks.send_test_events(row)[0] for row in (*rows, *rows)]
        webhooks.send_test_events(webhooks.register_endpoint(bob))
        endpoints.delete(user=alice, endpoint_id=rows[0].pk)
        page = alices.get("/webhooks").content.decode()
        shown = re.findall(r'href="/webhooks/deliveries/([0-9a-f-]{36})"', page)
        assert shown == [str(made[3].pk), str(made[1].pk)]

    def test_page_by_page_and_by_state(self, alices: Browser, alice: User) -> None:
        row = webhooks.register_endpoint(alice)
        made = webhooks.send_test_events(row, 30)
        page, seen = f"/webhooks/{row.pk}", []
        while page:
            html = alices.get(page).content.decode()
            seen += re.findall(r'href="/webhooks/deliveries/([0-9a-f-]{36})"', html)
            older = re.search(r'href="\?(cursor=[^"]+)">Older', html)
            page = f"/webhooks/{row.pk}?{older[1]}" if older else ""
        assert seen == [str(it.pk) for it in reversed(made)]
        none = alices.get(f"/webhooks/{row.pk}?state=failed").content.decode()
        assert "No failed deliveries." in none
        assert alices.get(f"/webhooks/{row.pk}?cursor=zz").status_code == 404


def test_the_guide_needs_no_sign_in(alices: Browser) -> None:
    for browser in (alices, Browser()):
        page = browser.get("/webhooks/guide").content.decode()
        assert "# receiver.py" in page
    assert 'href="/webhooks/guide"' in alices.get("/webhooks").content.decode()

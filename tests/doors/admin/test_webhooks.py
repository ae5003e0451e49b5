"""Staff read webhooks, usage and purchases, and use the actions of their role."""

from typing import Any

import pytest
from django.db.models import Model
from django.test import Client

from accounts import sealed
from accounts.models import App, Identity, MailboxProof, SecurityEvent, User
from accounts.recovery import mailbox
from focus.money import MICRO
from jobs import tool_purchases, usage
from jobs.models import Delivery, Endpoint, Event, ToolPurchase, Usage
from jobs.webhooks import endpoints
from tests import webhooks
from tests.doors.pages.test_webhook import answered
from tests.doors.staffroom import assert_only_views, browser, in_role, start

pytestmark = pytest.mark.django_db

ROLES = ["viewer", "support", "finance", "superuser"]
MODELS: list[type[Model]] = [
    Endpoint,
    Event,
    Delivery,
    Usage,
    ToolPurchase,
    Identity,
    MailboxProof,
]


def page(model: type[Model], row: Any = None) -> str:
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    return f"{base}{row.pk}/change/" if row else base


def does(staff: Client, model: type[Model], action: str, row: Any) -> str:
    """Run a list's action on `row` and return the page that follows."""
    form = {"action": action, "_selected_action": [row.pk]}
    return str(staff.post(page(model), form, follow=True).content.decode())


@pytest.fixture
def sold(alice: User, tool: App, give: Any) -> ToolPurchase:
    give(alice, 100)
    purchase = tool_purchases.create(user=alice, tool_id=tool.pk)
    tool_purchases.process(user=alice, purchase_id=purchase.pk)
    usage.charge(
        account_id=alice.pk,
        app=tool,
        amount_micro=MICRO,
        reason="one image",
        key="k-1",
        actor="t",
    )
    purchase.refresh_from_db()
    return purchase


@pytest.fixture
def sent(alice: User) -> Delivery:
    """A failed delivery with the endpoint's response."""
    [delivery] = webhooks.send_test_events(webhooks.register_endpoint(alice))
    answered(status=404, body=b"<b>no one</b> here")
    return webhooks.refreshed(delivery)


@pytest.mark.parametrize("role", ROLES)
def test_every_role_reads_all_pages_and_no_secret(
    role: str, sent: Delivery, sold: ToolPurchase, alice: User
) -> None:
    shown = endpoints.rotate(user=alice, endpoint_id=sent.endpoint_id)
    mailbox.request_reset(email="alice@example.com")
    mailbox.mail_due()
    Identity.objects.create(
        user=alice,
        provider="google",
        subject="1",
        created_at=sent.created_at,
        last_used_at=sent.created_at,
    )
    row = shown.endpoint
    old = sealed.unseal(bytes(row.secret), purpose="webhooks").decode()
    digest = bytes(MailboxProof.objects.get().digest or b"")
    staff = browser(in_role(role))
    for model in MODELS:
        [it] = model._default_manager.all()
        for where in (page(model), page(model, it)):
            answer = staff.get(where)
            assert answer.status_code == 200, where
            html = answer.content.decode()
            for secret in (old, shown.secret, "whsec_", digest.hex(), repr(digest)):
                assert secret not in html, where
    html = staff.get(page(Delivery, sent)).content.decode()
    assert "&lt;b&gt;no one&lt;/b&gt; here" in html
    html = staff.get(page(Event, sent.event)).content.decode()
    assert "{&quot;data&quot;:{&quot;endpoint_id&quot;" in html


@pytest.mark.parametrize("model", MODELS)
def test_no_role_adds_changes_or_deletes(
    model: type[Model], staff: User, rf: Any
) -> None:
    assert_only_views(model, staff, rf)


def test_search_finds_by_ids_emails_and_urls(
    sent: Delivery, sold: ToolPurchase, alice: User, video: App
) -> None:
    video.owner = alice
    video.save()
    endpoint = sent.endpoint
    endpoints.register(user=alice, url=endpoint.url, events=["job.created"])
    job = start(alice, video, 5)
    about = Delivery.objects.get(event__about=job.pk)
    staff = browser(in_role("viewer"))

    def found(model: type[Model], term: str, **more: str) -> set[Any]:
        answer = staff.get(page(model), {"q": term, **more})
        assert answer.status_code == 200
        return {row.pk for row in answer.context["cl"].result_list}

    both = {sent.pk, about.pk}
    assert found(Delivery, "127.0.0.1:1099") == both
    assert found(Delivery, str(endpoint.pk)) == both
    assert found(Delivery, f"evt_{sent.event_id.hex}") == {sent.pk}
    assert found(Delivery, str(sent.event_id)) == {sent.pk}
    assert found(Delivery, str(sent.pk)) == {sent.pk}
    assert found(Delivery, str(job.pk)) == {about.pk}
    assert found(Delivery, "", state__exact="failed") == {sent.pk}
    assert found(Delivery, "example.org") == found(Delivery, "evt_x") == set()
    assert found(Event, str(job.pk)) == {about.event_id}
    assert found(Event, "alice@example.com") == {about.event_id, sent.event_id}
    assert found(Event, "", type="test") == {sent.event_id}
    assert found(Endpoint, ":1099") == {endpoint.pk}
    assert found(Endpoint, "alice@") == found(Endpoint, str(alice.pk)) == {endpoint.pk}
    assert found(Usage, "k-1") == {Usage.objects.get().pk}
    assert found(ToolPurchase, str(alice.pk)) == {sold.pk}
    assert found(ToolPurchase, "alice@example.com") == {sold.pk}


def test_actions_depend_on_the_role_and_are_audited(
    sent: Delivery, alice: User
) -> None:
    endpoint = sent.endpoint

    def state() -> str:
        return str(webhooks.refreshed(sent).state)

    viewer, support = browser(in_role("viewer")), browser(in_role("support"))
    does(viewer, Delivery, "resend", sent)
    does(viewer, Endpoint, "replay", endpoint)
    does(viewer, Endpoint, "disable", endpoint)
    endpoint.refresh_from_db()
    assert (state(), endpoint.disabled_at) == ("failed", None)

    does(support, Delivery, "resend", sent)
    assert state() == "pending"
    answered(status=404)
    does(support, Endpoint, "replay", endpoint)
    assert state() == "pending"
    does(support, Endpoint, "disable", endpoint)
    endpoint.refresh_from_db()
    assert (state(), endpoint.disabled_because) == ("failed", "staff")
    assert "enable it first" in does(support, Delivery, "resend", sent)
    does(support, Endpoint, "enable", endpoint)
    endpoint.refresh_from_db()
    assert endpoint.disabled_at is None
    endpoints.delete(user=alice, endpoint_id=endpoint.pk)
    assert "There is no such endpoint" in does(support, Endpoint, "enable", endpoint)
    acted = SecurityEvent.objects.filter(actor="support@staff.example.com")
    assert [(it.kind, it.user) for it in acted.order_by("pk")] == [
        ("webhook_resent", alice),
        ("webhooks_replayed", alice),
        ("webhook_endpoint_disabled", alice),
        ("webhook_endpoint_enabled", alice),
    ]


def test_support_revokes_a_purchase(sold: ToolPurchase, alice: User) -> None:
    does(browser(in_role("viewer")), ToolPurchase, "revoke", sold)
    sold.refresh_from_db()
    assert sold.revoked_at is None
    does(browser(in_role("support")), ToolPurchase, "revoke", sold)
    sold.refresh_from_db()
    assert sold.revoked_at is not None
    event = SecurityEvent.objects.get(kind="purchase_revoked")
    assert (event.user, event.actor) == (alice, "support@staff.example.com")


def test_the_dashboard_counts_failed_and_overdue_deliveries(
    sent: Delivery, alice: User, rf: Any
) -> None:
    staff = browser(in_role("viewer"))

    def figures() -> dict[str, str]:
        answer = staff.get("/admin/")
        assert "Failed in the last 24 hours" in answer.content.decode()
        found: dict[str, str] = answer.context["focus"]["webhooks"]
        return found

    assert figures() == {"failed": "1", "overdue": "none"}
    [late] = webhooks.send_test_events(sent.endpoint)
    Delivery.objects.filter(pk=late.pk).update(due_at="2026-01-01T00:00Z")
    assert figures()["overdue"].startswith("by ")
    Delivery.objects.filter(pk=sent.pk).update(ended_at="2026-01-01T00:00Z")
    assert figures()["failed"] == "0"

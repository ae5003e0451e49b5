"""Every page in a real browser, wide and narrow: it fits, with no foreign request."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.utils import timezone

from accounts.credentials import app_keys, tokens, user_keys
from accounts.models import App, User
from accounts.partners import consents
from accounts.signin import devices
from focus.money import MICRO
from jobs import lifecycle, tool_purchases
from payments.models import Plan, Subscription
from tests import webhooks
from tests.browser.chromium import CHROMIUM, visit
from tests.doors.hosted_rows import every_state_of_hosted_work

PASSWORD = "alice's password"
LONG = "A name that is long enough to need more than one line of a narrow card"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here"),
]

# Finds elements outside the window or their card, except inside scrolling elements.
LEAVING = Path(__file__).with_name("leaving.js").read_text()


@pytest.fixture
def addresses(
    alice: User, tool: App, video: App, give: Any, tmp_path: Path
) -> list[str]:
    """Return the addresses of every page, for a person with one row of each kind."""
    alice.password = Argon2PasswordHasher().encode(PASSWORD, "salt for a test")
    alice.save()
    give(alice, 1_234_567)
    App.objects.update(name=LONG, owner=alice)
    consents.grant(user=alice, app_id=video.pk)
    bought = tool_purchases.create(user=alice, tool_id=tool.pk)
    tool_purchases.process(user=alice, purchase_id=bought.pk)
    started = lifecycle.start(
        account_id=alice.pk,
        app=video,
        action="render-in-a-very-high-resolution",
        estimate_micro=1_234 * MICRO,
        metadata={"description": LONG},
        actor="test",
    )
    lifecycle.complete(
        job_id=started.job.pk,
        caller=lifecycle.Caller("test", account_id=alice.pk),
        cost_micro=987_654_321,
        metadata={},
    )
    every_state_of_hosted_work(alice, folder=tmp_path)
    app_keys.issue(app=tool, name=LONG)
    tokens.issue(user=alice, name=LONG, scopes=["account:read", "jobs:write"])
    user_keys.issue(user=alice, name=LONG)
    endpoint = webhooks.register_endpoint(alice)
    Subscription.objects.create(
        account=alice,
        stripe_subscription_id="sub_test_none",
        plan=Plan.objects.get(slug="pro"),
        status="active",
        current_period_end=timezone.now(),
    )
    [delivery] = webhooks.send_test_events(endpoint)
    code = devices.format_user_code(devices.start(client_name=LONG).grant.user_code)
    return [
        "/",
        "/credits",
        "/tools",
        f"/purchases/{bought.pk}",
        f"/purchases/{UUID(int=0)}",
        "/apps",
        "/vendor",
        f"/vendor/{tool.pk}",
        "/security",
        "/security/password",
        "/webhooks",
        f"/webhooks/{endpoint.pk}",
        f"/webhooks/deliveries/{delivery.pk}",
        "/webhooks/guide",
        f"/device?user_code={code}",
        "/payment/cancelled",
        "/payment/success?session_id=cs_test_none",
        "/mailbox?code=none",
        "/forgot",
        "/api/docs",
        "/api/docs/",
        "/api/redoc/",
    ]


def _sign_in(page: Any, web: str) -> None:
    page.goto(f"{web}/signin")
    page.fill("#email", "alice@example.com")
    page.fill("#password", PASSWORD)
    page.press("#password", "Enter")
    page.wait_for_url(f"{web}/")


@pytest.mark.parametrize("width", [390, 1200])
def test_every_page_fits_and_requests_no_other_origin(
    web: str, addresses: list[str], width: int
) -> None:
    asked: list[str] = []
    wrong: dict[str, list[str]] = {}

    def look(page: Any, name: str) -> None:
        # Open closed parts: their buttons must fit too.
        page.evaluate("document.querySelectorAll('details').forEach(it => it.open = 1)")
        if leaving := page.evaluate(LEAVING):
            wrong[name] = leaving

    def acts(page: Any) -> None:
        page.set_viewport_size({"width": width, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        for path in ("/", "/signin", "/signin?create", "/signin?redirect_to=x"):
            page.goto(f"{web}{path}")
            look(page, path)
        _sign_in(page, web)
        for path in addresses:
            page.goto(f"{web}{path}")
            if "/api/" in path:
                page.wait_for_selector(".opblock, #redoc h1")
                page.wait_for_load_state("networkidle")
            look(page, path)
        page.goto(f"{web}{next(it for it in addresses if '/device' in it)}")
        page.click("button:has-text('Continue')")
        look(page, "the question about a device")
        page.click("button:has-text('Approve')")
        look(page, "the end of a device's question")

    # Chromium logs an error for pages with status 400 or 404.
    visit(acts, but="Failed to load resource")
    assert wrong == {}
    ours = (web, "data:", f"blob:{web}")
    assert [url for url in asked if not url.startswith(ours)] == []

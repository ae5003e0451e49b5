"""Changes of who may act for an account need a sign-in of the last 10 minutes."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.credentials import tokens, user_keys
from accounts.models import (
    App,
    AppKey,
    DeviceGrant,
    Identity,
    Passkey,
    PersonalAccessToken,
    Session,
    User,
    UserKey,
)
from accounts.partners import apps as partner_apps
from accounts.partners import consents, tools
from accounts.signin import devices, sessions
from focus.money import MICRO
from jobs import tool_purchases
from jobs.models import Endpoint, ToolPurchase
from jobs.webhooks import endpoints
from tests.doors.browsing import Browser
from wallet import budgets

HOOK = "https://hooks.example.com/x"


@pytest.fixture
def alices(alice: User) -> Browser:
    browser = Browser()
    assert browser.sign_in().status_code == 302
    return browser


def age(minutes: float) -> None:
    moved = timezone.now() - timedelta(minutes=minutes)
    Session.objects.filter(kind="browser").update(created_at=moved)


@pytest.fixture
def own(alice: User) -> dict[str, Any]:
    """Create one row of each kind that our forms can change."""
    offer = partner_apps.Offer(price_micro=0, url="https://mine.example/cb")
    key = tools.publish(owner=alice, slug="mine", name="Mine", offer=offer).key
    sold = partner_apps.create(slug="sold", offer=offer)
    hook = endpoints.register(user=alice, url=HOOK, events=["test"]).endpoint
    purchase = tool_purchases.create(user=alice, tool_id=sold.pk)
    other = partner_apps.create(slug="other")
    consents.grant(user=alice, app_id=other.pk)
    budgets.set_limit(user=alice, app=other, limit_micro=5 * MICRO)
    code = devices.start(client_name="cli").grant.user_code
    passkey = Passkey.objects.create(
        user=alice,
        name="x",
        credential_id=b"x",
        public_key=b"x",
        created_at=now(),
        backup_eligible=False,
        backed_up=False,
        user_verified=True,
    )
    identity = Identity.objects.create(
        user=alice, provider="google", subject="1", created_at=now(), last_used_at=now()
    )
    return {
        "key": key,
        "hook": hook,
        "purchase": purchase,
        "other": other,
        "code": code,
        "passkey": passkey,
        "identity": identity,
    }


def now() -> Any:
    return timezone.now()


def forms(own: dict[str, Any]) -> list[tuple[str, str, dict[str, str]]]:
    """Return page, address and form of each change of who may act for the account."""
    key, hook, other = own["key"], own["hook"], own["other"]
    vendor = f"/vendor/{key.app_id}"
    offer = {"name": "X", "price": "1", "url": "https://elsewhere.example/cb"}
    return [
        ("/security", "/tokens", {"name": "x", "scopes": "jobs:read", "days": "7"}),
        ("/security", "/keys", {"name": "x", "days": ""}),
        ("/security", f"/passkeys/{own['passkey'].pk}/remove", {}),
        ("/security", f"/identities/{own['identity'].pk}/unlink", {}),
        ("/security", "/identities/google/link", {}),
        ("/security", "/links/steam/connect", {}),
        (
            "/device",
            "/device",
            {"user_code": own["code"], "intent": "approve", "scopes": "jobs:read"},
        ),
        ("/vendor", "/vendor", {**offer, "slug": "new"}),
        (vendor, vendor, offer),
        (vendor, f"{vendor}/switch", {"active": "1"}),
        (vendor, f"{vendor}/keys", {"name": "x"}),
        (vendor, f"{vendor}/keys/{key.pk}/rotate", {"overlap_seconds": "0"}),
        ("/webhooks", "/webhooks", {"url": f"{HOOK}2", "event": "test"}),
        ("/webhooks", f"/webhooks/{hook.pk}/rotate", {}),
        ("/webhooks", f"/webhooks/{hook.pk}/enable", {}),
        ("/webhooks", f"/webhooks/{hook.pk}/promote", {}),
        ("/apps", f"/apps/{other.pk}/limit", {"limit": "6"}),
        ("/apps", f"/apps/{other.pk}/limit", {"limit": ""}),
        (
            f"/purchases/{own['purchase'].pk}",
            f"/purchases/{own['purchase'].pk}",
            {},
        ),
    ]


def counts() -> dict[str, Any]:
    kept: list[Any] = [
        PersonalAccessToken,
        UserKey,
        AppKey,
        App,
        Endpoint,
        Passkey,
        Identity,
    ]
    found: dict[str, Any] = {model.__name__: model.objects.count() for model in kept}
    found["approved"] = DeviceGrant.objects.filter(status="approved").count()
    found["bought"] = ToolPurchase.objects.filter(paid_at__isnull=False).count()
    found["secrets"] = list(Endpoint.objects.values_list("next_secret", flat=True))
    found["offers"] = list(App.objects.order_by("pk").values_list("tool_url", "active"))
    return found


def test_after_ten_minutes_each_form_redirects_to_the_sign_in(
    alices: Browser, alice: User, own: dict[str, Any]
) -> None:
    age(10.5)
    before = counts()
    for page, path, form in forms(own):
        referer = {"Referer": f"http://localhost:8000{page}"}
        alices.defaults |= {"HTTP_REFERER": referer["Referer"]}
        answer = alices.fill(page, form, path)
        wanted = f"/signin?again=1&next={page.replace('/', '%2F')}"
        assert (answer.status_code, answer.get("Location")) == (302, wanted), path
    assert counts() == before
    assert budgets.limit_of(user=alice, app=own["other"]) == 5 * MICRO


def test_within_ten_minutes_no_form_redirects(
    alices: Browser, own: dict[str, Any]
) -> None:
    age(9.5)
    for page, path, form in forms(own):
        answer = alices.fill(page, form, path)
        assert "again=1" not in answer.get("Location", ""), path
        assert answer.status_code in (200, 302, 400), path


def test_revoking_needs_no_second_proof(
    alices: Browser, alice: User, own: dict[str, Any]
) -> None:
    token = tokens.issue(user=alice, name="x", scopes=["jobs:read"]).token
    key = user_keys.issue(user=alice, name="x").key
    other = own["other"]
    age(60)
    for page, path, form in [
        ("/security", f"/tokens/{token.pk}/revoke", {}),
        ("/security", f"/keys/{key.pk}/revoke", {}),
        ("/apps", f"/apps/{other.pk}/limit", {"limit": "4"}),
        ("/apps", f"/apps/{other.pk}/revoke", {}),
        ("/webhooks", f"/webhooks/{own['hook'].pk}/disable", {}),
        ("/webhooks", f"/webhooks/{own['hook'].pk}/delete", {}),
        ("/vendor", f"/vendor/{own['key'].app_id}/switch", {"active": "0"}),
        ("/vendor", f"/vendor/{own['key'].app_id}/keys/{own['key'].pk}/revoke", {}),
    ]:
        answer = alices.fill(page, form, path)
        assert "again=1" not in answer.get("Location", ""), path
    token.refresh_from_db()
    assert token.revoked_at is not None
    assert not consents.is_granted(user_id=alice.pk, app_id=other.pk)


def test_signing_in_again_returns_to_the_form_and_is_enough(
    alices: Browser, alice: User
) -> None:
    age(60)
    before = alices.cookies["focus_session"].value
    page = alices.get("/signin?again=1&next=/security")
    assert "Sign in again" in page.content.decode()
    wrong = alices.sign_in_again(password="wrong", next="/security")
    assert wrong.status_code == 400
    assert "Sign in again" in wrong.content.decode()
    answer = alices.sign_in_again(next="/security")
    assert answer["Location"] == "/security"
    assert alices.cookies["focus_session"].value != before
    form = {"name": "x", "scopes": "jobs:read", "days": "7"}
    assert alices.fill("/security", form, "/tokens").status_code == 200
    assert PersonalAccessToken.objects.exists()


def test_a_foreign_referrer_is_not_followed(alices: Browser) -> None:
    age(60)
    alices.defaults |= {"HTTP_REFERER": "https://evil.example/security"}
    answer = alices.fill("/security", {"name": "x"}, "/keys")
    assert answer["Location"] == "/signin?again=1&next=%2F"


class TestApi:
    """A cookie and a token from a browser session are as old as their sign-in."""

    CALLS = [
        ("post", "/api/tokens", {"name": "x"}),
        ("post", "/api/auth/passkey/register/begin/", {}),
        ("put", "/api/apps/other/limit", {"limit": None}),
    ]

    @pytest.mark.parametrize("by", ["cookie", "token"])
    def test_credentials_of_an_old_sign_in_are_refused(
        self, alices: Browser, own: dict[str, Any], by: str
    ) -> None:
        client = APIClient()
        if by == "cookie":
            client.cookies["focus_session"] = alices.cookies["focus_session"].value
        else:
            token = alices.get("/api/sessionToken").json()["token"]
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        age(11)
        for method, path, body in self.CALLS:
            answer = getattr(client, method)(path, body)
            said = answer.content.decode()
            assert answer.status_code in (400, 403), (path, said)
            assert "a sign-in of the last 10 minutes" in said, (path, said)
        if by == "token":
            for path, body in [
                ("/v1/api-keys", {"name": "x"}),
                ("/v1/webhooks/endpoints", {"url": f"{HOOK}3", "events": ["test"]}),
            ]:
                answer = client.post(path, body)
                assert answer.status_code == 403, (path, answer.content)

    def test_a_stored_secret_is_not_repeated_to_an_old_sign_in(
        self, alices: Browser
    ) -> None:
        token = alices.get("/api/sessionToken").json()["token"]
        client = APIClient(headers={"Authorization": f"Bearer {token}"})
        again = {"Idempotency-Key": "one-key-of-mine"}
        for path in ("/v1/api-keys", "/api/tokens"):
            first = client.post(path, {"name": "x"}, headers=again)
            second = client.post(path, {"name": "x"}, headers=again)
            assert first.status_code == second.status_code == 201
            assert second.content == first.content
        age(11)
        for path in ("/v1/api-keys", "/api/tokens"):
            refused = client.post(path, {"name": "x"}, headers=again)
            assert refused.status_code == 403
            assert b"a sign-in of the last 10 minutes" in refused.content

    def test_tokens_and_keys_of_the_guides_need_no_second_proof(
        self, alice: User, own: dict[str, Any]
    ) -> None:
        """Bearer tokens of an API sign-in and API keys work at any age."""
        made = sessions.begin(
            user=alice, client="reviv", access_seconds=60, methods=["pwd"]
        )
        old = timezone.now() - timedelta(hours=5)
        Session.objects.filter(pk=made.session.pk).update(created_at=old)
        bearer = {"Authorization": f"Bearer {made.access_token}"}
        client = APIClient(headers=bearer)
        path = "/api/auth/passkey/register/begin/"
        assert client.post(path, {}).status_code == 200
        assert client.post("/v1/api-keys", {"name": "x"}).status_code == 201
        key = user_keys.issue(user=alice, name="x").secret
        by_key = APIClient(headers={"X-Api-Key": key})
        hook = {"url": f"{HOOK}/{uuid.uuid4()}", "events": ["test"]}
        assert by_key.post("/v1/webhooks/endpoints", hook).status_code == 201

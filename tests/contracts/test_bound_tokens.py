"""Tokens that are bound to an app: what they can do, and what ends them."""

from datetime import timedelta
from typing import Any

import jwt as pyjwt
import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.credentials import tokens
from accounts.links import linking
from accounts.models import App, Consent, Session, User
from accounts.partners import consents
from accounts.signin import sessions
from focus.money import MICRO
from tests.clerk import ISSUER, SIGNER, public_pem, session_token
from tests.contracts.thefocus.test_identity import in_browser
from wallet.models import Grant

PAGE = {"Origin": "https://video.example.com", "Sec-Fetch-Site": "same-site"}
JOB = {"app": "video", "action": "render", "cost_estimate": 5}


@pytest.fixture
def photo(db: None) -> App:
    """Another app, which the token is not bound to."""
    return App.objects.create(
        slug="photo",
        name="Photo",
        starter_credits_micro=7 * MICRO,
        origins=["https://photo.example.com"],
    )


@pytest.fixture
def browser(alice: User, video: App) -> APIClient:
    return in_browser(alice)


@pytest.fixture
def handed(browser: APIClient) -> APIClient:
    """The app's own caller, with what `sessionToken` gave to its page."""
    return bearer(browser.get("/api/sessionToken", headers=PAGE).json()["token"])


def bearer(token: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {token}"})


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["error"]) == (status, code), body
    return body


def test_session_token_on_an_apps_page_is_bound_to_the_app(browser: APIClient) -> None:
    def azp(headers: dict[str, str]) -> Any:
        token = browser.get("/api/sessionToken", headers=headers).json()["token"]
        claims = pyjwt.decode(token, options={"verify_signature": False})
        return claims.get("azp")

    assert azp(PAGE) == "video"
    assert azp({"Origin": "http://localhost:8000"}) is None
    assert azp({}) is None
    answer = browser.get(
        "/api/sessionToken", headers={"Origin": "https://evil.example"}
    )
    refused(answer, 403, "cross_site_request")


def test_the_guides_samples_run_with_a_bound_token(handed: APIClient) -> None:
    wallet = handed.get("/api/wallet").json()
    assert (wallet["account"]["credits"], wallet["apps"]) == (0, [])
    wallet = handed.get("/api/wallet?app=video").json()
    assert wallet["account"]["credits"] == 20
    assert wallet["app_grant"] == {
        "slug": "video",
        "starter_credits": 20,
        "granted": True,
    }
    started = handed.post("/api/jobs", JOB)
    assert started.status_code == 201
    job_id = started.json()["job_id"]
    assert handed.get(f"/api/jobs/{job_id}").status_code == 200
    kept = handed.post(f"/api/jobs/{job_id}/extend", {"ttl_seconds": 7200})
    assert (kept.status_code, kept.json()["credits_remaining"]) == (200, 15)
    done = handed.post("/api/jobs/complete", {"job_id": job_id, "actual_cost": 3})
    assert done.json()["credits_remaining"] == 17
    again = handed.post("/api/jobs", JOB).json()
    assert handed.post("/api/jobs/fail", {"job_id": again["job_id"]}).status_code == 200
    listed = handed.get("/api/jobs?app=video&limit=50").json()["jobs"]
    assert [job["status"] for job in listed] == ["failed", "completed"]


class TestAnotherApp:
    def test_is_refused(self, handed: APIClient, photo: App) -> None:
        body = refused(handed.get("/api/wallet?app=photo"), 403, "token_bound_to_app")
        assert body["app"] == "video"
        answer = handed.post("/api/jobs", {**JOB, "app": "photo"})
        refused(answer, 403, "token_bound_to_app")
        answer = handed.get("/api/wallet?app=nonsense")
        refused(answer, 403, "token_bound_to_app")
        assert not Consent.objects.exists()
        assert not Grant.objects.exists()

    def test_has_jobs_that_the_token_cannot_see(
        self, handed: APIClient, as_alice: APIClient, photo: App, give: Any, alice: User
    ) -> None:
        give(alice, 10)
        job = as_alice.post("/api/jobs", {**JOB, "app": "photo"}).json()["job_id"]
        own = handed.post("/api/jobs", JOB).json()["job_id"]
        for answer in (
            handed.get(f"/api/jobs/{job}"),
            handed.post("/api/jobs/complete", {"job_id": job}),
            handed.post("/api/jobs/fail", {"job_id": job}),
            handed.post(f"/api/jobs/{job}/extend", {"ttl_seconds": 60}),
            handed.get("/api/jobs?app=photo"),
        ):
            refused(answer, 403, "token_bound_to_app")
        listed = handed.get("/api/jobs").json()["jobs"]
        assert [each["id"] for each in listed] == [own]

    def test_of_another_user_answers_404(
        self, handed: APIClient, as_bob: APIClient, photo: App, give: Any, bob: User
    ) -> None:
        give(bob, 10)
        for app in ("photo", "video"):
            job = as_bob.post("/api/jobs", {**JOB, "app": app}).json()["job_id"]
            refused(handed.get(f"/api/jobs/{job}"), 404, "job_not_found")
            answer = handed.post("/api/jobs/fail", {"job_id": job})
            refused(answer, 404, "job_not_found")

    def test_is_not_in_the_wallet_view(
        self, handed: APIClient, as_alice: APIClient, photo: App
    ) -> None:
        as_alice.get("/api/wallet?app=photo")
        handed.get("/api/wallet?app=video")
        wallet = handed.get("/api/wallet").json()
        assert [app["slug"] for app in wallet["apps"]] == ["video"]
        slugs = {app["slug"] for app in as_alice.get("/api/wallet").json()["apps"]}
        assert slugs == {"video", "photo"}

    def test_shares_no_idempotency_keys_with_this_app(
        self, browser: APIClient, handed: APIClient, photo: App, give: Any, alice: User
    ) -> None:
        give(alice, 20)
        key = {"Idempotency-Key": "1"}
        own = handed.post("/api/jobs", JOB, headers=key)
        page = {"Origin": photo.origins[0]}
        token = browser.get("/api/sessionToken", headers=page).json()["token"]
        other = bearer(token)
        theirs = other.post("/api/jobs", {**JOB, "app": "photo"}, headers=key)
        assert (own.status_code, theirs.status_code) == (201, 201)
        # Another app's key cannot read the stored answer about a job of video either.
        second = {"Idempotency-Key": "2"}
        assert handed.post("/api/jobs", JOB, headers=second).status_code == 201
        answer = other.post("/api/jobs", JOB, headers=second)
        refused(answer, 403, "token_bound_to_app")
        again = handed.post("/api/jobs", JOB, headers=key)
        assert again["Idempotent-Replayed"] == "true"
        assert again.json() == own.json()


class TestNoWayUp:
    def test_creates_no_token_key_or_device_grant(self, handed: APIClient) -> None:
        for path, body in [
            ("/api/tokens", {"name": "x"}),
            ("/v1/api-keys", {"name": "x"}),
            ("/v1/webhooks/endpoints", {"url": "https://x.example", "events": []}),
            ("/api/device/complete", {"user_code": "BCDF-GHJK"}),
            ("/api/checkout/create", {"tool_id": "x"}),
            ("/api/auth/passkey/register/begin/", {}),
            ("/api/credits/purchase/", {}),
            ("/api/v2/billing/create-checkout-session", {}),
            ("/api/auth/logout/", {}),
        ]:
            answer = handed.post(path, body)
            assert answer.status_code in (403, 404), (path, answer.content)
            if answer.status_code == 403:
                assert "handed to the app video" in answer.content.decode(), path
        answer = handed.put("/api/apps/video/limit", {"limit": None})
        refused(answer, 403, "token_bound_to_app")
        refused(handed.delete("/api/apps/video"), 403, "token_bound_to_app")

    def test_is_not_exchanged_for_another_token(self, handed: APIClient) -> None:
        refused(handed.get("/api/sessionToken"), 403, "credential_not_accepted")

    def test_each_guide_refuses_in_its_own_format(self, handed: APIClient) -> None:
        said = "This credential was handed to the app video and only serves that app."
        assert handed.get("/v1/auth/me").json() == {
            "statusCode": 403,
            "message": said,
            "error": "Forbidden",
            "app": "video",
        }
        assert handed.get("/api/auth/me/").json() == {
            "error": {
                "code": "TOKEN_BOUND_TO_APP",
                "message": said,
                "details": {"app": "video"},
            }
        }
        assert handed.get("/api/v2/billing/subscription").json() == {
            "success": False,
            "error": {
                "code": "TOKEN_BOUND_TO_APP",
                "message": said,
                "data": {"app": "video"},
            },
        }
        assert handed.post("/api/checkout/create", {}).json() == {
            "error": "Token bound to app",
            "message": said,
            "app": "video",
        }

    def test_the_refresh_cookie_is_for_our_own_pages(
        self, alice: User, video: App
    ) -> None:
        made = sessions.begin(
            user=alice, client="reviv", access_seconds=60, methods=["pwd"]
        )
        client = APIClient()
        client.cookies["reviv_refresh"] = made.refresh_token
        answer = client.post("/api/auth/token/refresh/", headers=PAGE)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "CROSS_SITE_REQUEST"
        ours = {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
        answer = client.post("/api/auth/token/refresh/", headers=ours)
        assert answer.status_code == 200

    def test_signing_out_with_it_ends_nothing(
        self, browser: APIClient, handed: APIClient
    ) -> None:
        assert handed.post("/api/auth/logout/").status_code == 403
        assert Session.objects.get().revoked_at is None


class TestFamily:
    def test_only_family_apps_read_linked_accounts_tokens(
        self, handed: APIClient, video: App, as_alice: APIClient
    ) -> None:
        for path in ("/api/xToken", "/api/oauthToken/x"):
            refused(handed.get(path), 403, "token_bound_to_app")
        App.objects.update(family=True)
        for path in ("/api/xToken", "/api/oauthToken/x"):
            refused(handed.get(path), 404, "not_linked")
            refused(as_alice.get(path), 404, "not_linked")


class TestItsEnd:
    def test_when_the_user_revokes_the_app(
        self, browser: APIClient, handed: APIClient, alice: User, video: App
    ) -> None:
        handed.get("/api/wallet?app=video")
        consents.revoke(user=alice, app_id=video.pk)
        for answer in (
            handed.get("/api/wallet?app=video"),
            handed.get("/api/jobs"),
            handed.post("/api/jobs", JOB),
        ):
            refused(answer, 403, "app_not_granted")
        # The app's page cannot record a new consent by itself.
        for answer in (
            browser.get("/api/wallet?app=video", headers=PAGE),
            browser.post("/api/jobs", JOB, headers=PAGE),
        ):
            refused(answer, 401, "unauthenticated")
        answer = browser.get("/api/sessionToken", headers=PAGE)
        url = refused(answer, 401, "unauthenticated")["signin_url"]
        assert url.endswith("/signin?redirect_to=https%3A%2F%2Fvideo.example.com")
        assert Consent.objects.get().revoked_at is not None
        # The user's own act can.
        assert browser.get("/api/wallet?app=video").status_code == 200
        assert handed.post("/api/jobs", JOB).status_code == 201

    def test_when_the_app_is_switched_off(
        self, browser: APIClient, handed: APIClient, video: App
    ) -> None:
        App.objects.update(active=False)
        refused(handed.get("/api/jobs"), 403, "app_inactive")
        answer = browser.get("/api/jobs", headers=PAGE)
        refused(answer, 403, "cross_site_request")

    def test_when_the_account_is_closed_or_the_session_ends(
        self, handed: APIClient, alice: User
    ) -> None:
        sessions.revoke_all(user=alice)
        refused(handed.get("/api/jobs"), 401, "invalid_token")


class TestClerk:
    @pytest.fixture(autouse=True)
    def _by_pem(self, settings: Any, alice: User) -> None:
        settings.CLERK_ISSUER, settings.CLERK_JWT_KEY = ISSUER, public_pem(SIGNER)
        alice.clerk_id = "user_2ann"
        alice.save()

    def test_a_token_of_an_apps_page_is_bound(self, video: App, photo: App) -> None:
        client = bearer(session_token(SIGNER, azp="https://video.example.com"))
        assert client.get("/api/wallet?app=video").json()["account"]["credits"] == 20
        answer = client.get("/api/wallet?app=photo")
        refused(answer, 403, "token_bound_to_app")
        refused(client.get("/api/tokens"), 403, "token_bound_to_app")

    def test_a_clerk_token_ends_when_the_user_revokes_the_app(
        self, video: App, alice: User
    ) -> None:
        consents.grant(user=alice, app_id=video.pk)
        consents.revoke(user=alice, app_id=video.pk)
        client = bearer(session_token(SIGNER, azp="https://video.example.com"))
        refused(client.get("/api/wallet?app=video"), 403, "app_not_granted")
        assert Consent.objects.get().revoked_at is not None

    @pytest.mark.parametrize("origin", [{}, PAGE])
    def test_the_cookie_of_another_app_gives_an_app_nothing(
        self, video: App, photo: App, origin: dict[str, str]
    ) -> None:
        """The other app's server has the token and can send any Origin."""
        client = APIClient()
        theirs = session_token(SIGNER, azp="https://photo.example.com")
        client.cookies["__session"] = theirs
        answer = client.get("/api/sessionToken", headers=origin)
        if origin:
            refused(answer, 401, "unauthenticated")
            assert "signin_url" in answer.json()
        else:
            assert answer.json()["token"] == theirs
        video_only = client.get("/api/wallet?app=video", headers=origin)
        assert video_only.status_code == (401 if origin else 403)
        page = client.get("/signin?redirect_to=https://video.example.com/back")
        assert page.status_code == 200
        assert not Session.objects.exists()
        assert not Consent.objects.exists()

    def test_the_cookie_of_our_page_gives_an_app_a_token_of_its_own(
        self, video: App
    ) -> None:
        client = APIClient()
        client.cookies["__session"] = session_token(SIGNER, azp="http://localhost:8000")
        first, second = (
            client.get("/api/sessionToken", headers=PAGE).json()["token"]
            for _ in range(2)
        )
        for token in (first, second):
            claims = pyjwt.decode(token, options={"verify_signature": False})
            assert claims["azp"] == "video"
        # One session carries both tokens, and it ends soon.
        session = Session.objects.get()
        assert (session.client, session.methods) == ("video", ["clerk"])
        left = session.absolute_expires_at - timezone.now()
        assert left <= timedelta(minutes=30)
        assert bearer(first).get("/api/wallet?app=video").status_code == 200
        refused(bearer(first).get("/api/tokens"), 403, "token_bound_to_app")

    def test_impersonating_support_gets_no_token_of_ours(self, video: App) -> None:
        client = APIClient()
        client.cookies["__session"] = session_token(
            SIGNER, azp="http://localhost:8000", act={"sub": "user_admin"}
        )
        answer = client.get("/api/sessionToken", headers=PAGE)
        refused(answer, 403, "read_only")


def test_our_own_origin_stays_first_party_if_an_app_registers_it(
    alice: User, video: App
) -> None:
    App.objects.update(origins=["http://localhost:8000"])
    headers = {"Origin": "http://localhost:8000"}
    token = in_browser(alice).get("/api/sessionToken", headers=headers).json()["token"]
    assert bearer(token).get("/api/tokens").status_code == 200


def test_personal_access_tokens_are_not_bound(alice: User, video: App) -> None:
    """A token that no app received is not bound."""
    pat = tokens.issue(user=alice, name="x", scopes=["account:read"])
    assert bearer(pat.secret).get("/api/tokens").status_code == 200
    assert not linking.linked_accounts(user=alice).exists()

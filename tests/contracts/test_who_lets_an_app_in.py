"""Which requests grant an app consent and starter credits, and which only read."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.credentials import tokens
from accounts.models import App, Consent, SecurityEvent, User
from accounts.signin import sessions
from tests.clerk import GONE, ISSUER, SIGNER, public_pem, session_token
from tests.contracts.thefocus.test_identity import in_browser
from wallet.models import Grant

HERE = "http://localhost:8000"
JOB = {"app": "video", "action": "render", "cost_estimate": 5}


def bearer(token: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {token}"})


def pat(user: User, *scopes: str) -> APIClient:
    return bearer(tokens.issue(user=user, name="x", scopes=list(scopes)).secret)


def grants(client: APIClient, **headers: str) -> bool:
    """Return whether reading the wallet for `video` grants that app consent."""
    answer = client.get("/api/wallet?app=video", headers=headers)
    assert answer.status_code == 200, answer.content
    grant = answer.json()["app_grant"]
    assert grant["slug"] == "video"
    assert grant["starter_credits"] == 20
    let_in = Consent.objects.exists()
    assert grant["granted"] is let_in is Grant.objects.exists()
    assert let_in is SecurityEvent.objects.filter(kind="app_granted").exists()
    return let_in


class TestByToken:
    def test_a_read_only_token_grants_nothing(self, alice: User, video: App) -> None:
        assert not grants(pat(alice, "wallet:read"))
        assert not grants(pat(alice, "wallet:read", "jobs:read", "oauth:read"))

    def test_a_token_that_may_start_jobs_grants_consent(
        self, alice: User, video: App
    ) -> None:
        assert grants(pat(alice, "wallet:read", "jobs:write"))

    def test_our_own_sessions_grant_consent(self, alice: User, video: App) -> None:
        made = sessions.begin(
            user=alice, client="cosmiv", access_seconds=60, methods=["pwd"]
        )
        assert grants(bearer(made.access_token))

    @pytest.mark.parametrize("party", [HERE, GONE, "https://video.example.com"])
    def test_clerks_tokens_grant_consent_for_our_pages_and_that_apps(
        self, alice: User, video: App, settings: Any, party: str
    ) -> None:
        settings.CLERK_ISSUER, settings.CLERK_JWT_KEY = ISSUER, public_pem(SIGNER)
        assert grants(bearer(session_token(SIGNER, azp=party)))

    def test_an_impersonating_session_grants_nothing(
        self, video: App, settings: Any
    ) -> None:
        settings.CLERK_ISSUER, settings.CLERK_JWT_KEY = ISSUER, public_pem(SIGNER)
        token = session_token(SIGNER, azp=HERE, act={"sub": "user_admin"})
        client = bearer(token)
        answer = client.get("/api/wallet?app=video")
        assert answer.json()["app_grant"]["granted"] is False
        assert not Consent.objects.exists()


class TestByCookie:
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Accept": "*/*"},
            {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
            {"Origin": HERE, "Sec-Fetch-Site": "same-origin"},
            {"Origin": "https://video.example.com", "Sec-Fetch-Site": "same-site"},
            {"Referer": f"{HERE}/"},
        ],
        ids=str,
    )
    def test_requests_of_our_page_and_the_apps_grant_consent(
        self, alice: User, video: App, headers: dict[str, str]
    ) -> None:
        assert grants(in_browser(alice), **headers)

    @pytest.mark.parametrize(
        "headers",
        [
            # A link or an image on a page of a sibling site, or of an app without CORS.
            {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
            {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
            # A link in a mail program, or a typed URL.
            {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
            # A link on our own page.
            {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"},
            # A browser from before Sec-Fetch-Site.
            {"Referer": "https://video.example.com/"},
            {"Referer": "https://evil.example/"},
            {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
            {"Accept": "image/avif,image/webp,*/*"},
        ],
        ids=str,
    )
    def test_a_link_or_an_image_only_reads(
        self, alice: User, video: App, headers: dict[str, str]
    ) -> None:
        assert not grants(in_browser(alice), **headers)

    @pytest.mark.parametrize(
        ("headers", "error"),
        [
            ({"Sec-Fetch-Site": "cross-site"}, "cross_site_request"),
            ({"Origin": "https://evil.example"}, "cross_site_request"),
            ({"Origin": "null"}, "cross_site_request"),
            ({"Origin": "https://photo.example.com"}, "token_bound_to_app"),
            (
                {"Origin": "https://evil.example.com", "Sec-Fetch-Site": "same-site"},
                "cross_site_request",
            ),
        ],
        ids=str,
    )
    def test_another_page_is_refused(
        self, alice: User, video: App, headers: dict[str, str], error: str
    ) -> None:
        App.objects.create(slug="photo", origins=["https://photo.example.com"])
        answer = in_browser(alice).get("/api/wallet?app=video", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (403, error)
        assert not Consent.objects.exists()
        assert not Grant.objects.exists()

    def test_a_job_grants_consent_as_the_wallet_does(
        self, alice: User, video: App, give: Any
    ) -> None:
        give(alice, 10)
        client = in_browser(alice)
        refused = client.post("/api/jobs", JOB, headers={"Origin": "null"})
        assert refused.status_code == 403
        assert not Consent.objects.exists()
        page = {"Origin": "https://video.example.com"}
        assert client.post("/api/jobs", JOB, headers=page).status_code == 201
        assert Consent.objects.exists()

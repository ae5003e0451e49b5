"""What records a consent and gives starter credits, and what only reads."""

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


def meets(client: APIClient, **headers: str) -> bool:
    """Whether a look at the wallet for `video` lets that app in."""
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
    def test_one_that_may_only_read_reads(self, alice: User, video: App) -> None:
        assert not meets(pat(alice, "wallet:read"))
        assert not meets(pat(alice, "wallet:read", "jobs:read", "oauth:read"))

    def test_one_that_may_start_jobs_lets_the_app_in(
        self, alice: User, video: App
    ) -> None:
        assert meets(pat(alice, "wallet:read", "jobs:write"))

    def test_our_own_sign_ins_do(self, alice: User, video: App) -> None:
        made = sessions.begin(
            user=alice, client="cosmiv", access_seconds=60, methods=["pwd"]
        )
        assert meets(bearer(made.access_token))

    @pytest.mark.parametrize("party", [HERE, GONE, "https://video.example.com"])
    def test_clerks_does_for_our_pages_for_none_and_for_that_apps(
        self, alice: User, video: App, settings: Any, party: str
    ) -> None:
        settings.CLERK_ISSUER, settings.CLERK_JWT_KEY = ISSUER, public_pem(SIGNER)
        assert meets(bearer(session_token(SIGNER, azp=party)))

    def test_support_in_a_persons_place_does_not(
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
    def test_our_own_page_and_the_apps_let_it_in(
        self, alice: User, video: App, headers: dict[str, str]
    ) -> None:
        assert meets(in_browser(alice), **headers)

    @pytest.mark.parametrize(
        "headers",
        [
            # A link or an image on a page of a sibling, or of an app without CORS.
            {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
            {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
            # A link in a mail program, or an address that was typed.
            {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
            # A link on a page of ours.
            {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"},
            # A browser from before Sec-Fetch-Site.
            {"Referer": "https://video.example.com/"},
            {"Referer": "https://evil.example/"},
            {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
            {"Accept": "image/avif,image/webp,*/*"},
        ],
        ids=str,
    )
    def test_what_a_link_or_an_image_sends_only_reads(
        self, alice: User, video: App, headers: dict[str, str]
    ) -> None:
        assert not meets(in_browser(alice), **headers)

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

    def test_a_job_lets_the_app_in_as_the_wallet_does(
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

"""Allowing an app: the suggested monthly limit, and allowing a revoked app again."""

from datetime import timedelta
from typing import Any

import jwt as pyjwt
import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import App, Consent, Session, User
from accounts.partners import consents
from focus.money import MICRO
from tests.doors.browsing import Browser
from wallet import budgets

TARGET = "https://video.example.com/cb?a=1"
WISH = {"redirect_to": TARGET}


@pytest.fixture
def alices(alice: User) -> Browser:
    browser = Browser()
    assert browser.sign_in().status_code == 302
    return browser


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def limit_of(user: User, app: App) -> int | None:
    return budgets.limit_of(user=user, app=app)


def token_of(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 302, text(answer)
    base, _, token = answer["Location"].rpartition("&token=")
    assert base == TARGET
    claims: dict[str, Any] = pyjwt.decode(token, options={"verify_signature": False})
    return {**claims, "token": token}


class TestLandingToken:
    def test_it_is_bound_to_the_app(self, alice: User, video: App) -> None:
        claims = token_of(Browser().sign_in(**WISH))
        assert claims["azp"] == "video"
        client = APIClient(headers={"Authorization": f"Bearer {claims['token']}"})
        wallet = client.get("/api/wallet?app=video").json()
        assert wallet["account"]["credits"] == 20
        for path in ("/api/tokens", "/api/apps", "/api/sessions", "/v1/api-keys"):
            assert client.get(path).status_code == 403, path

    def test_our_own_front_end_gets_an_unbound_token(
        self, alices: Browser, settings: Any
    ) -> None:
        settings.FRONTEND_URL = "https://front.example"
        answer = alices.get("/signin", {"redirect_to": "https://front.example/x"})
        token = answer["Location"].rpartition("token=")[2]
        client = APIClient(headers={"Authorization": f"Bearer {token}"})
        assert client.get("/api/tokens").status_code == 200


class TestSuggestedLimit:
    def test_the_sign_in_for_an_app_suggests_one(self, alice: User, video: App) -> None:
        page = text(Browser().get("/signin", WISH))
        assert 'name="monthly_limit"' in page
        assert 'value="100"' in page
        assert "No limit" in page
        assert 'name="monthly_limit"' in text(Browser().get("/signin?create", WISH))

    def test_a_sign_in_for_our_own_pages_suggests_no_limit(
        self, settings: Any, db: None
    ) -> None:
        settings.FRONTEND_URL = "https://front.example"
        for payload in ({}, {"redirect_to": "https://front.example/x"}):
            assert 'id="monthly-limit"' not in text(Browser().get("/signin", payload))

    @pytest.mark.parametrize(
        ("form", "limit"),
        [
            ({"monthly_limit": "100"}, 100 * MICRO),
            ({"monthly_limit": " 0.5 "}, MICRO // 2),
            ({"monthly_limit": "100", "no_limit": "1"}, None),
            ({"monthly_limit": ""}, None),
            ({}, None),
        ],
        ids=str,
    )
    def test_the_first_sign_in_sets_what_the_person_chose(
        self, alice: User, video: App, form: dict[str, str], limit: int | None
    ) -> None:
        token_of(Browser().sign_in(**WISH, **form))
        assert limit_of(alice, video) == limit

    def test_creating_an_account_sets_the_limit_too(self, video: App) -> None:
        form = {
            "email": "new@example.com",
            "password": "password123",
            "intent": "create",
        }
        Browser().fill("/signin?create", {**form, **WISH, "monthly_limit": "7"})
        assert limit_of(User.objects.get(), video) == 7 * MICRO

    def test_a_later_sign_in_changes_nothing(self, alice: User, video: App) -> None:
        consents.grant(user=alice, app_id=video.pk)
        token_of(Browser().sign_in(**WISH, monthly_limit="100"))
        assert limit_of(alice, video) is None
        Consent.objects.all().delete()
        budgets.set_limit(user=alice, app=video, limit_micro=5 * MICRO)
        token_of(Browser().sign_in(**WISH, monthly_limit="100"))
        assert limit_of(alice, video) == 5 * MICRO

    @pytest.mark.parametrize("typed", ["-1", "many", "0.0000001"])
    def test_an_invalid_limit_is_refused_before_the_sign_in(
        self, alice: User, video: App, typed: str
    ) -> None:
        answer = Browser().sign_in(**WISH, monthly_limit=typed)
        assert answer.status_code == 400
        assert "The limit must" in text(answer)
        assert not Session.objects.exists()

    def test_the_apps_page_suggests_a_limit_and_can_remove_it(
        self, alices: Browser, alice: User, video: App
    ) -> None:
        consents.grant(user=alice, app_id=video.pk)
        page = text(alices.get("/apps"))
        assert "no monthly limit" in page
        assert "Suggested limit" in page
        assert 'value="100"' in page
        path = f"/apps/{video.pk}/limit"
        alices.fill("/apps", {"limit": "100"}, path)
        assert limit_of(alice, video) == 100 * MICRO
        assert 'name="no_limit"' in text(alices.get("/apps"))
        alices.fill("/apps", {"limit": "100", "no_limit": "1"}, path)
        assert limit_of(alice, video) is None


class TestComingBack:
    @pytest.fixture(autouse=True)
    def _revoked(self, alice: User, video: App) -> None:
        consents.grant(user=alice, app_id=video.pk)
        consents.revoke(user=alice, app_id=video.pk)

    def test_a_link_to_a_revoked_app_asks_and_sends_no_token(
        self, alices: Browser, alice: User, video: App
    ) -> None:
        answer = alices.get("/signin", WISH)
        assert answer.status_code == 200
        assert "Allow Focus Video again?" in text(answer)
        assert (
            "form-action 'self' https://video.example.com;"
            in (answer["Content-Security-Policy"])
        )
        assert Consent.objects.get().revoked_at is not None

    def test_allowing_a_revoked_app_again_sets_its_limit(
        self, alices: Browser, alice: User, video: App
    ) -> None:
        page = f"/signin?redirect_to={TARGET}"
        form = {**WISH, "intent": "allow", "monthly_limit": "30"}
        claims = token_of(alices.fill(page, form, "/signin"))
        assert claims["azp"] == "video"
        assert Consent.objects.get().revoked_at is None
        assert limit_of(alice, video) == 30 * MICRO

    def test_signing_in_for_a_revoked_app_asks_too(
        self, alice: User, video: App
    ) -> None:
        browser = Browser()
        answer = browser.sign_in(**WISH)
        assert answer["Location"].startswith("/signin?redirect_to=")
        assert "Allow Focus Video again?" in text(browser.get(answer["Location"]))

    def test_an_invalid_limit_does_not_allow_the_app(self, alices: Browser) -> None:
        form = {**WISH, "intent": "allow", "monthly_limit": "many"}
        answer = alices.fill(f"/signin?redirect_to={TARGET}", form, "/signin")
        assert answer.status_code == 400
        assert "The limit must" in text(answer)
        assert Consent.objects.get().revoked_at is not None

    def test_an_old_sign_in_must_be_repeated(
        self, alices: Browser, alice: User, video: App
    ) -> None:
        Session.objects.update(created_at=timezone.now() - timedelta(minutes=11))
        form = {**WISH, "intent": "allow", "monthly_limit": "30"}
        page = f"/signin?redirect_to={TARGET}"
        answer = alices.fill(page, form, "/signin")
        assert answer["Location"].startswith("/signin?again=1&redirect_to=")
        assert Consent.objects.get().revoked_at is not None
        again = text(alices.get(answer["Location"]))
        assert "Sign in again" in again
        assert 'value="alice@example.com"' in again
        assert alices.sign_in_again(**WISH).status_code == 302
        token_of(alices.fill(page, form, "/signin"))

    def test_allowing_needs_a_session_and_the_csrf_token(self, alices: Browser) -> None:
        form = {**WISH, "intent": "allow"}
        assert alices.post("/signin", form).status_code == 403
        answer = Browser().fill("/signin", form)
        assert answer["Location"].startswith("/signin?redirect_to=")
        assert Consent.objects.get().revoked_at is not None

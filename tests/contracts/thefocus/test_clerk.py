"""Focus guide 1B and 2: a Clerk JWT or Clerk's cookie at every user endpoint."""

import time
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import App, SecurityEvent, User
from accounts.signin import devices
from tests.clerk import (
    GONE,
    ISSUER,
    PUBLISHABLE_KEY,
    SIGNER,
    Clerk,
    cookie_suffix,
    public_pem,
    session_token,
)

PAGE = "https://video.example.com"
FROM_PAGE = {"Origin": PAGE, "Sec-Fetch-Site": "same-site"}


@pytest.fixture(autouse=True)
def _by_pem(settings: Any, video: App) -> None:
    settings.CLERK_ISSUER, settings.CLERK_JWT_KEY = ISSUER, public_pem(SIGNER)


def token(**changes: Any) -> str:
    return session_token(SIGNER, **{"azp": PAGE} | changes)


def bearer(text: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {text}"})


def cookie(*pairs: str) -> Client:
    return Client(headers={"Cookie": "; ".join(pairs)})


def test_the_guides_samples_run_with_a_clerk_token(caplog: pytest.LogCaptureFixture):
    as_ann = bearer(token())
    wallet = as_ann.get("/api/wallet?app=video").json()
    assert wallet["account"]["clerk_id"] == "user_2ann"
    assert wallet["account"]["email"] is None
    assert wallet["account"]["credits"] == 20
    job = as_ann.post(
        "/api/jobs", {"app": "video", "action": "render", "cost_estimate": 5}
    ).json()
    done = as_ann.post(
        "/api/jobs/complete", {"job_id": job["job_id"], "actual_cost": 3}
    )
    assert done.json()["credits_remaining"] == 17
    # Another token of the same Clerk user is the same account.
    again = bearer(token(sid="sess_2", azp=GONE)).get("/api/wallet").json()
    assert again["account"]["id"] == wallet["account"]["id"]
    assert User.objects.count() == 1


def test_a_token_is_verified_by_the_key_set(clerk: Clerk):
    assert bearer(clerk.token(azp=PAGE)).get("/api/wallet").status_code == 200


def test_while_there_are_no_keys_at_all_it_is_503(clerk: Clerk):
    clerk.mode(jwks="down")
    answer = bearer(clerk.token(azp=PAGE)).get("/api/wallet")
    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert answer.json() == {
        "error": "service_unavailable",
        "message": "The issuer's keys cannot be had right now.",
    }


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"exp": 9, "nbf": 0, "iat": 0}, "token_expired"),
        ({"iss": "https://evil.example"}, "invalid_token"),
        ({"azp": "https://evil.example"}, "invalid_token"),
        ({"sts": "pending"}, "invalid_token"),
        ({"sub": "org_1"}, "invalid_token"),
    ],
)
def test_a_wrong_token_is_401_and_creates_no_account(
    changes: dict[str, Any], error: str
):
    answer = bearer(token(**changes)).get("/api/wallet")
    assert (answer.status_code, answer.json()["error"]) == (401, error)
    assert answer["WWW-Authenticate"] == "Bearer"
    assert not User.objects.exists()


def test_unset_a_clerk_token_is_an_invalid_token(settings: Any):
    settings.CLERK_ISSUER = settings.CLERK_JWT_KEY = ""
    answer = bearer(token()).get("/api/wallet")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert cookie(f"__session={token()}").get("/api/wallet").status_code == 401


def test_a_closed_account_is_401(alice: User):
    alice.clerk_id, alice.is_active = "user_2ann", False
    alice.save()
    assert bearer(token()).get("/api/wallet").status_code == 401


def test_a_device_is_approved_by_a_clerk_token_of_our_own_page(settings: Any):
    started = devices.start(client_name="cli")
    answer = bearer(token(azp=settings.PUBLIC_BASE_URL)).post(
        "/api/device/complete", {"user_code": started.grant.user_code}
    )
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    issued = devices.poll(device_code=started.device_code).issued
    assert issued is not None
    assert issued.token.user.clerk_id == "user_2ann"


def test_a_token_is_made_by_a_clerk_token_of_our_own_page(settings: Any):
    ours = bearer(token(azp=settings.PUBLIC_BASE_URL))
    answer = ours.post("/api/tokens", {"name": "ci"})
    assert answer.status_code == 201


class TestImpersonation:
    def test_may_read_and_not_write(self):
        support = bearer(token(act={"sub": "user_admin"}))
        assert support.get("/api/jobs").status_code == 200
        for path in ("/api/jobs", "/api/device/complete", "/api/tokens"):
            answer = support.post(path, {})
            assert answer.status_code == 403
            assert answer.json()["error"] == "read_only"
        event = SecurityEvent.objects.get(kind="impersonated")
        assert event.actor == "clerk:user_admin"
        assert event.user is not None
        assert event.user.clerk_id == "user_2ann"

    def test_reading_grants_no_starter_credits(self):
        support = bearer(token(act={"sub": "user_admin"}))
        wallet = support.get("/api/wallet?app=video").json()
        assert wallet["account"]["credits"] == 0
        assert bearer(token()).get("/api/wallet?app=video").json()["apps"][0]["granted"]


class TestCookie:
    def test_from_an_apps_page_with_cors(self):
        browser = cookie(f"__session={token()}")
        answer = browser.get("/api/wallet?app=video", headers=FROM_PAGE)
        assert answer.status_code == 200
        assert answer["Access-Control-Allow-Origin"] == PAGE
        assert answer["Access-Control-Allow-Credentials"] == "true"
        job = browser.post(
            "/api/jobs",
            {"app": "video", "action": "render", "cost_estimate": 5},
            content_type="application/json",
            headers=FROM_PAGE,
        )
        assert job.status_code == 201

    def test_session_token_returns_clerks_own_token(self):
        text = token()
        answer = cookie(f"__session={text}").get("/api/sessionToken", headers=FROM_PAGE)
        assert answer.status_code == 200
        assert answer.json()["token"] == text
        assert answer.json()["expires_at"].endswith("Z")
        assert answer["Cache-Control"] == "no-store"
        assert bearer(text).get("/api/sessionToken").json() == answer.json()

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
        ],
        ids=str,
    )
    def test_another_sites_page_neither_reads_nor_writes(self, headers: dict[str, str]):
        browser = cookie(f"__session={token()}")
        for answer in (
            browser.get("/api/wallet?app=video", headers=headers),
            browser.post(
                "/api/jobs", {}, content_type="application/json", headers=headers
            ),
        ):
            assert answer.status_code == 403
            assert answer.json()["error"] == "cross_site_request"
            assert "Access-Control-Allow-Origin" not in answer
        assert not User.objects.exists()

    def test_a_form_of_a_sibling_is_refused(self):
        answer = cookie(f"__session={token()}").post(
            "/api/jobs", "{}", content_type="text/plain", headers=FROM_PAGE
        )
        assert answer.status_code == 403

    def test_without_azp_only_from_our_own_pages(self, settings: Any):
        browser = cookie(f"__session={token(azp=GONE)}")
        ours = settings.PUBLIC_BASE_URL
        for headers in (
            {"Sec-Fetch-Site": "same-origin"},
            {"Sec-Fetch-Site": "same-origin", "Origin": ours},
            {"Sec-Fetch-Site": "none"},
            {},
        ):
            assert browser.get("/api/sessionToken", headers=headers).status_code == 200
        for headers in (FROM_PAGE, {"Sec-Fetch-Site": "same-site"}, {"Origin": PAGE}):
            answer = browser.get("/api/sessionToken", headers=headers)
            assert answer.status_code == 401
            assert answer.json()["signin_url"].startswith(f"{ours}/signin")

    @pytest.mark.parametrize(
        "stale",
        [
            {"exp": 1, "nbf": 0, "iat": 0},
            {"iss": "https://evil.example"},
            {"azp": "https://evil.example"},
        ],
        ids=str,
    )
    def test_a_stale_cookie_is_anonymous_and_public_endpoints_still_answer(
        self, stale: Any
    ):
        browser = cookie(f"__session={token(**stale)}")
        answer = browser.get("/api/sessionToken")
        assert answer.status_code == 401
        assert answer.json()["error"] == "unauthenticated"
        registered = browser.post(
            "/api/auth/register",
            {"email": "new@example.com", "password": "password123"},
            content_type="application/json",
        )
        assert registered.status_code in (200, 201)

    def test_only_cookies_with_clerks_exact_names_are_read(self, settings: Any):
        settings.CLERK_PUBLISHABLE_KEY = PUBLISHABLE_KEY
        good, other = token(), token(sub="user_other")
        suffixed = f"__session_{cookie_suffix(PUBLISHABLE_KEY)}"
        for pairs, who in [
            ([f"__session={good}"], "user_2ann"),
            ([f"{suffixed}={good}"], "user_2ann"),
            ([f"__session={other}", f"{suffixed}={good}"], "user_2ann"),
            ([f"{suffixed}={good}", f"__session={other}"], "user_2ann"),
            ([f"x=1;__session={good}", "y"], "user_2ann"),
            ([f"__session={good}", f"__session={good}"], None),
            ([f"__session={other}", f"__session={good}"], None),
            ([f"{suffixed}={good}", f"{suffixed}={other}"], None),
            ([f"__session_evil={good}"], None),
            ([f"__sessions={good}"], None),
            ([f"__Session={good}"], None),
            ([f"x__session={good}"], None),
            (["__session="], None),
            (["__session"], None),
        ]:
            answer = cookie(*pairs).get("/api/wallet")
            if who is None:
                assert answer.status_code == 401, pairs
            else:
                assert answer.json()["account"]["clerk_id"] == who, pairs

    def test_a_bad_header_is_401_despite_a_good_clerk_cookie(self, as_bob: Any):
        browser = cookie(f"__session={token()}")
        answer = browser.get(
            "/api/wallet", headers={"Authorization": "Bearer nonsense"}
        )
        assert answer.status_code == 401


@pytest.mark.usefixtures("real_limits")
def test_forged_tokens_are_counted_and_stale_ones_are_not():
    stale = bearer(token(exp=int(time.time()) - 60))
    for _ in range(12):
        assert stale.get("/api/wallet").status_code == 401
    header, claims, _ = token().split(".")
    signature = token(sub="user_other").rpartition(".")[2]
    forged = bearer(f"{header}.{claims}.{signature}")
    answers = [forged.get("/api/wallet").status_code for _ in range(12)]
    assert answers[-1] == 429
    assert answers[0] == 401

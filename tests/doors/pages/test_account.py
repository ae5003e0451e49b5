"""The account's overview, apps, activity and sessions, and device approval."""

import re
from typing import Any
from urllib.parse import quote

import pytest
from rest_framework.test import APIClient

from accounts.audit import Visitor
from accounts.credentials import tokens, user_keys
from accounts.models import App, DeviceGrant, SecurityEvent, Session, User
from accounts.partners import consents
from accounts.signin import devices, sessions
from focus.money import MICRO
from tests.doors.browsing import Browser
from wallet import ledger

TARGET = "https://video.example.com/cb?a=1"


@pytest.fixture
def browser(db: None) -> Browser:
    return Browser()


@pytest.fixture
def alices(browser: Browser, alice: User) -> Browser:
    assert browser.sign_in().status_code == 302
    return browser


class TestDevice:
    @pytest.fixture
    def started(self, db: None) -> devices.DeviceCodes:
        visitor = Visitor(ip="203.0.113.9", user_agent="focus-cli/1.0 <b>")
        return devices.start(client_name="focus <i>cli</i>", visitor=visitor)

    def test_the_sign_in_keeps_the_code(self, browser: Browser, alice: User) -> None:
        where = "/device?user_code=BCDF-GHJK"
        answer = browser.get(where)
        assert answer["Location"] == f"/signin?next={quote(where, safe='')}"

    def test_a_code_in_the_url_only_fills_the_field(
        self, alices: Browser, started: devices.DeviceCodes
    ) -> None:
        code = devices.format_user_code(started.grant.user_code)
        page = alices.get(f"/device?user_code={code}").content.decode()
        assert f'value="{code}"' in page
        assert "focus-cli/1.0" not in page
        assert DeviceGrant.objects.get().status == "pending"

    def test_the_confirmation_names_the_client_and_the_scopes(
        self, alices: Browser, started: devices.DeviceCodes
    ) -> None:
        form = {"user_code": started.grant.user_code.lower(), "intent": "find"}
        answer = alices.fill("/device", form)
        page = answer.content.decode()
        assert answer.status_code == 200
        for shown in (
            "focus &lt;i&gt;cli&lt;/i&gt;",
            "203.0.113.9",
            "focus-cli/1.0 &lt;b&gt;",
            devices.format_user_code(started.grant.user_code),
            "Only approve if you started this yourself",
            "jobs:write",
        ):
            assert shown in page
        assert page.count('name="scopes"') == 5
        assert DeviceGrant.objects.get().status == "pending"

    def test_a_sign_in_without_user_verification_cannot_approve(
        self, alices: Browser, started: devices.DeviceCodes
    ) -> None:
        form = {
            "user_code": started.grant.user_code,
            "scopes": ["jobs:read"],
            "intent": "approve",
        }
        Session.objects.update(methods=["pop"])
        answer = alices.fill("/device", form)
        assert answer.status_code == 400
        page = answer.content.decode()
        assert "a passkey that asks for your PIN" in page
        # The boxes keep their state.
        assert re.findall(r'value="([\w:]+)" checked', page) == ["jobs:read"]
        assert DeviceGrant.objects.get().status == "pending"
        Session.objects.update(methods=["pop", "mfa"])
        assert alices.fill("/device", form).status_code == 200
        assert DeviceGrant.objects.get().status == "approved"

    def test_approving_with_one_scope_unticked(
        self, alices: Browser, alice: User, started: devices.DeviceCodes
    ) -> None:
        form = {
            "user_code": started.grant.user_code,
            "intent": "approve",
            "scopes": ["account:read", "wallet:read", "jobs:read", "jobs:write"],
        }
        answer = alices.fill("/device", form)
        assert answer.status_code == 200
        assert "is connected" in answer.content.decode()
        poll = devices.poll(device_code=started.device_code)
        assert poll.issued is not None
        assert "oauth:read" not in poll.issued.token.scopes
        assert poll.issued.token.user == alice

    def test_approving_without_a_scope_is_refused(
        self, alices: Browser, started: devices.DeviceCodes
    ) -> None:
        form = {"user_code": started.grant.user_code, "intent": "approve"}
        answer = alices.fill("/device", form)
        assert answer.status_code == 400
        page = answer.content.decode()
        assert "at least one permission" in page
        assert page.count('name="scopes"') == 5
        assert "checked" not in page
        answer = alices.fill("/device", form | {"scopes": ["everything"]})
        assert answer.status_code == 400
        assert DeviceGrant.objects.get().status == "pending"

    def test_denying_gives_no_access(
        self, alices: Browser, started: devices.DeviceCodes
    ) -> None:
        form = {"user_code": started.grant.user_code, "intent": "deny"}
        answer = alices.fill("/device", form)
        assert "Denied" in answer.content.decode()
        assert DeviceGrant.objects.get().status == "denied"
        answer = alices.fill("/device", {**form, "intent": "approve", "scopes": "x"})
        assert answer.status_code == 400

    def test_wrong_codes_are_refused_and_the_sixth_is_rate_limited(
        self, alices: Browser
    ) -> None:
        form = {"user_code": "BBBB-BBBB", "intent": "find"}
        for _ in range(5):
            answer = alices.fill("/device", form)
            assert (
                "This code is wrong, expired or already used" in answer.content.decode()
            )
            assert answer.status_code == 400
        assert "Too many wrong codes" in alices.fill("/device", form).content.decode()

    @pytest.mark.parametrize("typed", ["ABCD-EFGH", "1234-5678", "BCDF", ""])
    def test_malformed_input_explains_the_format_of_a_code(
        self, alices: Browser, typed: str
    ) -> None:
        answer = alices.fill("/device", {"user_code": typed, "intent": "find"})
        assert answer.status_code == 400
        page = " ".join(answer.content.decode().split())
        assert "Enter the eight letters that your device shows" in page
        assert "Codes have no vowels and no digits." in page
        assert f'value="{typed}"' in page
        assert not SecurityEvent.objects.filter(kind="device_code_wrong").exists()

    def test_approving_needs_the_csrf_token(
        self, alices: Browser, started: devices.DeviceCodes
    ) -> None:
        form = {"user_code": started.grant.user_code, "intent": "approve"}
        assert (
            alices.post("/device", {**form, "scopes": "jobs:read"}).status_code == 403
        )
        assert DeviceGrant.objects.get().status == "pending"


class TestAccount:
    def test_the_welcome_page_needs_no_sign_in(self, browser: Browser) -> None:
        answer = browser.get("/")
        page = answer.content.decode()
        assert answer.status_code == 200
        for shown in ("One wallet", 'href="/signin"', 'href="/docs"'):
            assert shown in page
        assert "Set-Cookie" not in answer.headers

    def test_an_empty_account(self, alices: Browser) -> None:
        page = alices.get("/").content.decode()
        for shown in ("No activity yet. Open an app", "No jobs yet"):
            assert shown in page
        assert "No app has access" in alices.get("/apps").content.decode()

    def test_the_overview_shows_activity_jobs_and_apps(
        self,
        alices: Browser,
        alice: User,
        bob: User,
        video: App,
        give: Any,
        as_alice: APIClient,
    ) -> None:
        give(alice, 20, source="starter", given_by=video)
        give(bob, 70_707)
        consents.grant(user=alice, app_id=video.pk)
        job_id = start(as_alice, "render", 5, "Trailer <b>")
        done = {"job_id": job_id, "actual_cost": 3.01}
        assert as_alice.post("/api/jobs/complete", done).status_code == 200
        start(as_alice, "preview", 2, "")
        tokens.issue(user=alice, name="ci <b>", scopes=["jobs:read"])
        tokens.issue(user=bob, name="bob's token", scopes=[])
        page = alices.get("/").content.decode()
        for shown in (
            ">14.99<",  # 20 - 3.01 - 2
            ">2<",  # reserved
            "Credits received",
            "Focus Video · render",
            "<p>Charged · Focus Video",
            ">3.01<",
            "+1.99",
            "Trailer &lt;b&gt;",
            '<span class="badge completed">completed</span>',
            '<span class="badge started">started</span>',
        ):
            assert shown in page, shown
        assert "Focus Video" in alices.get("/apps").content.decode()
        page += alices.get("/security").content.decode()
        for shown in ("ci &lt;b&gt;", "never used", "jobs:read"):
            assert shown in page, shown
        assert "70,707" not in page
        assert "bob" not in page
        assert ledger.balance(account_id=alice.pk).reserved_micro == 2 * MICRO

    def test_revoking_a_token_and_an_app(
        self, alices: Browser, alice: User, bob: User, video: App
    ) -> None:
        mine = tokens.issue(user=alice, name="ci", scopes=[])
        theirs = tokens.issue(user=bob, name="bob's", scopes=[])
        consents.grant(user=alice, app_id=video.pk)
        answer = alices.fill("/security", {}, action=f"/tokens/{mine.token.pk}/revoke")
        assert answer["Location"] == "/security#tokens"
        answer = alices.fill(
            "/security", {}, action=f"/tokens/{theirs.token.pk}/revoke"
        )
        assert answer["Location"] == "/security#tokens"
        answer = alices.fill("/apps", {}, action=f"/apps/{video.pk}/revoke")
        assert answer["Location"] == "/apps"
        page = alices.get("/apps").content.decode()
        assert "You revoked the app." in page
        assert not tokens.live(user=alice).exists()
        assert tokens.live(user=bob).exists()
        assert not consents.is_granted(user_id=alice.pk, app_id=video.pk)
        assert alices.get(f"/tokens/{mine.token.pk}/revoke").status_code == 405
        events = SecurityEvent.objects.filter(kind="token_revoked")
        assert events.get().ip == "127.0.0.1"

    def test_an_apps_limit_is_set_and_removed(
        self, alices: Browser, alice: User, video: App, give: Any, as_alice: APIClient
    ) -> None:
        give(alice, 2000)
        start(as_alice, "render", 1234, "")

        def limit(typed: str) -> str:
            path = f"/apps/{video.pk}/limit"
            answer = alices.fill("/apps", {"limit": typed}, action=path)
            if answer.status_code == 400:
                return str(answer.content.decode())
            assert answer["Location"] == "/apps"
            return str(alices.get("/apps").content.decode())

        assert "1,234 credits spent this month" in alices.get("/apps").content.decode()
        page = limit(" 1500 ")
        assert "can spend up to 1,500 credits a month" in page
        assert "1,234 of 1,500 credits spent this month" in page
        assert 'value="1500"' in page
        assert "limit reached" in limit("0.5")
        for wrong in ("-1", "many", "1e3", "0.0000001", "9" * 41):
            page = limit(wrong)
            # One text explains every mistake: no advice leads to a second refusal.
            assert "The limit must be a number of credits such as 5, 0.5 or 0" in page
            assert "-2.5" not in page
            assert f'value="{wrong[:40]}"' in page
        assert "0.5" in limit("many")
        assert "has no monthly limit" in limit("")
        assert "You removed an app" in alices.get("/security").content.decode()

    def test_an_app_without_access_cannot_be_limited(
        self, alices: Browser, video: App
    ) -> None:
        consent = {"limit": "5"}
        path = f"/apps/{video.pk}/limit"
        assert alices.fill("/security", consent, action=path).status_code == 404
        assert alices.post(path, consent).status_code == 403

    def test_recent_activity_shows_only_the_persons_own_events(
        self, alices: Browser, alice: User, bob: User
    ) -> None:
        tokens.issue(user=alice, name="ci", scopes=[])
        user_keys.issue(user=bob, name="bob's")
        page = alices.get("/security").content.decode()
        assert "Access token created" in page
        assert "API key created" not in page
        signed_out = Browser().get("/security")
        assert signed_out["Location"] == "/signin?next=%2Fsecurity"

    def test_signing_out_another_session_and_this_one(
        self, alices: Browser, alice: User, bob: User
    ) -> None:
        phone = sessions.begin(
            user=alice, client="phone <b>", access_seconds=60, methods=["pwd"]
        )
        theirs = sessions.begin(
            user=bob, client="bob's", access_seconds=60, methods=["pwd"]
        )
        page = alices.get("/security").content.decode()
        for shown in ("Signed in", "phone &lt;b&gt;", "this browser", "127.0.0.1"):
            assert shown in page, shown
        assert "bob" not in page
        for session, said in (
            (theirs.session, "Session not found"),
            (phone.session, "The session is signed out."),
        ):
            answer = alices.fill("/security", {}, action=f"/sessions/{session.pk}/end")
            assert answer["Location"] == "/security#sessions"
            page = alices.get("/security").content.decode()
            assert said in page
        assert "phone" not in page
        assert sessions.live(user=bob).exists()
        here = sessions.live(user=alice).get()
        assert alices.post(f"/sessions/{here.pk}/end").status_code == 403
        alices.fill("/security", {}, action=f"/sessions/{here.pk}/end")
        assert not sessions.live(user=alice).exists()
        assert "One wallet" in alices.get("/").content.decode()

    def test_an_anonymous_visitor_revokes_nothing(
        self, browser: Browser, alice: User, video: App
    ) -> None:
        mine = tokens.issue(user=alice, name="ci", scopes=[])
        answer = browser.fill("/signin", {}, action=f"/tokens/{mine.token.pk}/revoke")
        assert answer["Location"] == "/signin?next=%2F"
        assert tokens.live(user=alice).exists()


@pytest.mark.parametrize("path", ["/", "/signin", "/device", "/signin?create"])
def test_every_page_is_private_and_runs_no_inline_script(
    alices: Browser, path: str
) -> None:
    stranger = Browser()
    for visitor in (alices, stranger):
        answer = visitor.get(path)
        if answer.status_code == 302:
            continue
        page = answer.content.decode()
        assert answer["Cache-Control"] == "no-store"
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "script-src 'self'" in answer["Content-Security-Policy"]
        assert "unsafe-inline" not in answer["Content-Security-Policy"]
        assert page.count("<script") == page.count('<script src="/static/')
        assert not re.search(r"\sstyle=|<style|\son\w+=", page)
        assert '<html lang="en">' in page
        assert "<h1" in page
        # Every field has its label.
        for field in re.findall(r'<input id="(\w+)"', page):
            assert f'<label for="{field}"' in page


def start(client: APIClient, action: str, estimate: int, description: str) -> str:
    payload = {"app": "video", "action": action, "cost_estimate": estimate}
    answer = client.post(
        "/api/jobs", {**payload, "metadata": {"description": description}}
    )
    assert answer.status_code == 201
    return str(answer.json()["job_id"])

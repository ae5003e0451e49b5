"""reviv guide, "POST /api/auth/token/refresh/": by cookie or by body."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt as pyjwt
import pytest
import time_machine
from django.db import connections
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import App, Mail, SecurityEvent, Session, User
from accounts.signin import closing, sessions
from tests.counting import statements

REFRESH = "/api/auth/token/refresh/"
ME = "/api/auth/me/"
LOGOUT = "/api/auth/logout/"
BASE = "http://localhost:8000"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def sign_in(user: User, methods: tuple[str, ...] = ("pwd",)) -> sessions.SessionTokens:
    return sessions.begin(
        user=user, client="reviv", access_seconds=900, methods=[*methods]
    )


def bearer(token: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {token}"})


def browser(refresh: str) -> APIClient:
    client = APIClient()
    client.cookies["reviv_refresh"] = refresh
    return client


def refused(answer: Any, status: int, code: str) -> None:
    body = answer.json()
    assert answer.status_code == status, body
    assert body == {
        "error": {"code": code, "message": body["error"]["message"], "details": {}}
    }
    assert body["error"]["message"]


def attributes(answer: Any) -> dict[str, Any]:
    cookie = answer.cookies["reviv_refresh"]
    return {name: cookie[name] for name in ("path", "domain", "httponly", "samesite")}


OURS = {"path": "/api/auth/", "domain": "", "httponly": True, "samesite": "Lax"}


class TestRefresh:
    def test_the_cookie_is_exchanged_for_an_access_token_only(
        self, alice: User
    ) -> None:
        client = browser(sign_in(alice).refresh_token)
        answer = client.post(REFRESH, {})
        assert answer.status_code == 200
        access = answer.json()["access"]
        assert answer.json() == {"access": access}
        assert answer["Cache-Control"] == "no-store"
        assert attributes(answer) == OURS
        cookie = answer.cookies["reviv_refresh"]
        assert (cookie["max-age"], cookie["secure"]) == (7 * 86400, "")
        assert cookie.value.count(".") == 2
        claims = pyjwt.decode(access, options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 900
        assert bearer(access).get(ME).status_code == 200
        # The browser keeps its cookie.
        assert client.post(REFRESH, {}).status_code == 200

    def test_over_https_the_cookie_is_secure(
        self, alice: User, settings: Settings
    ) -> None:
        settings.HTTPS = True
        signed_in = sign_in(alice)
        answer = browser(signed_in.refresh_token).post(REFRESH, {})
        assert answer.cookies["reviv_refresh"]["secure"] is True
        answer = bearer(signed_in.access_token).post(LOGOUT)
        assert answer.cookies["reviv_refresh"]["secure"] is True

    def test_the_cookie_never_outlives_the_sign_in(self, alice: User) -> None:
        with time_machine.travel(START, tick=False) as clock:
            refresh = sign_in(alice).refresh_token
            for _ in range(6):
                clock.shift(timedelta(days=4, hours=20))
                answer = browser(refresh).post(REFRESH, {})
                assert answer.status_code == 200
                refresh = answer.cookies["reviv_refresh"].value
            left = START + timedelta(days=30) - timezone.now()
            kept = answer.cookies["reviv_refresh"]["max-age"]
            assert kept == left.total_seconds() == 86400

    def test_without_a_cookie_the_body_gets_both(self, alice: User) -> None:
        first = sign_in(alice).refresh_token
        answer = APIClient().post(REFRESH, {"refresh": first})
        assert answer.status_code == 200
        assert set(answer.json()) == {"access", "refresh"}
        assert answer["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in answer
        assert not answer.cookies
        again = APIClient().post(REFRESH, {"refresh": answer.json()["refresh"]})
        assert again.status_code == 200

    @pytest.mark.parametrize("slash", ["", "/"])
    def test_the_path_works_with_and_without_a_slash(
        self, alice: User, slash: str
    ) -> None:
        body = {"refresh": sign_in(alice).refresh_token}
        path = REFRESH.rstrip("/") + slash
        assert APIClient().post(path, body).status_code == 200

    def test_the_cookie_is_preferred(self, alice: User, bob: User) -> None:
        client = browser(sign_in(alice).refresh_token)
        answer = client.post(REFRESH, {"refresh": sign_in(bob).refresh_token})
        assert set(answer.json()) == {"access"}
        me = bearer(answer.json()["access"]).get(ME).json()
        assert me["email"] == "alice@example.com"

    @pytest.mark.parametrize("body", [{}, {"refresh": ""}, {"refresh": None}, None])
    def test_a_request_without_cookie_and_body_is_refused(
        self, as_stranger: APIClient, body: Any
    ) -> None:
        refused(as_stranger.post(REFRESH, body), 400, "MISSING_REFRESH")
        as_stranger.cookies["reviv_refresh"] = ""
        refused(as_stranger.post(REFRESH, body), 400, "MISSING_REFRESH")

    @pytest.mark.parametrize("token", ["nonsense", "a.b.c", "x" * 4000])
    def test_a_malformed_token_costs_no_query(
        self, as_stranger: APIClient, token: str
    ) -> None:
        with statements() as queries:
            answer = as_stranger.post(REFRESH, {"refresh": token})
            by_cookie = browser(token).post(REFRESH, {})
        refused(answer, 400, "INVALID_REFRESH")
        refused(by_cookie, 400, "INVALID_REFRESH")
        assert len(queries) == 0

    @pytest.mark.parametrize("wrong", [["x"], {"x": 1}, "x" * 5000])
    def test_bad_input(self, as_stranger: APIClient, wrong: Any) -> None:
        answer = as_stranger.post(REFRESH, {"refresh": wrong})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "VALIDATION_ERROR"
        assert set(answer.json()["error"]["details"]) == {"refresh"}

    def test_an_access_token_does_not_refresh(self, alice: User) -> None:
        body = {"refresh": sign_in(alice).access_token}
        refused(APIClient().post(REFRESH, body), 400, "INVALID_REFRESH")

    def test_idle_revoked_and_closed_sessions_do_not_refresh(self, alice: User) -> None:
        idle, revoked = sign_in(alice), sign_in(alice)
        Session.objects.filter(pk=idle.session.pk).update(
            idle_expires_at=timezone.now()
        )
        sessions.revoke(session=revoked.session)
        closed = sign_in(alice)
        for made in (idle, revoked):
            body = {"refresh": made.refresh_token}
            refused(APIClient().post(REFRESH, body), 400, "INVALID_REFRESH")
        closing.close(user=alice, actor="staff")
        body = {"refresh": closed.refresh_token}
        refused(APIClient().post(REFRESH, body), 400, "INVALID_REFRESH")

    def test_a_dead_cookie_is_dropped_with_the_attributes_it_was_set_with(
        self, alice: User
    ) -> None:
        made = sign_in(alice)
        sessions.revoke(session=made.session)
        answer = browser(made.refresh_token).post(REFRESH, {})
        refused(answer, 400, "INVALID_REFRESH")
        assert attributes(answer) == OURS
        cookie = answer.cookies["reviv_refresh"]
        assert (cookie.value, cookie["max-age"]) == ("", 0)

    def test_two_cookies_of_the_name_are_refused(self, alice: User, bob: User) -> None:
        mine, planted = sign_in(alice).refresh_token, sign_in(bob).refresh_token
        for pair in ((mine, planted), (planted, mine), (mine, mine), (mine, "")):
            header = "; ".join(f"reviv_refresh={token}" for token in pair)
            answer = APIClient().post(REFRESH, {}, HTTP_COOKIE=f"a=b; {header}")
            refused(answer, 400, "INVALID_REFRESH")
            assert "reviv_refresh" not in answer.cookies
        assert not Session.objects.exclude(prev=None).exists()
        # A cookie with a longer name is another cookie.
        header = f"xreviv_refresh={planted}; reviv_refresh={mine}"
        answer = APIClient().post(REFRESH, {}, HTTP_COOKIE=header)
        assert answer.status_code == 200

    def test_an_old_access_token_in_the_header_does_not_matter(
        self, alice: User
    ) -> None:
        client = browser(sign_in(alice).refresh_token)
        client.credentials(HTTP_AUTHORIZATION="Bearer long.since.expired")
        assert client.post(REFRESH, {}).status_code == 200

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({}, 200),
            ({"Origin": BASE, "Sec-Fetch-Site": "same-origin"}, 200),
            (
                {"Origin": "https://video.example.com", "Sec-Fetch-Site": "same-site"},
                403,
            ),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "none"}, 403),
        ],
    )
    def test_another_site_may_not_use_the_cookie(
        self, video: App, alice: User, headers: dict[str, str], status: int
    ) -> None:
        made = sign_in(alice)
        answer = browser(made.refresh_token).post(REFRESH, {}, headers=headers)
        assert answer.status_code == status
        if status == 403:
            refused(answer, 403, "CROSS_SITE_REQUEST")
            assert Session.objects.get().tip == made.session.tip
            assert "reviv_refresh" not in answer.cookies
        # A page of another site does not know the token for the body.
        body = {"refresh": made.refresh_token}
        answer = APIClient().post(REFRESH, body, headers=headers)
        assert answer.status_code == 200

    def test_a_form_of_a_sibling_subdomain_may_not_use_the_cookie(
        self, alice: User
    ) -> None:
        answer = browser(sign_in(alice).refresh_token).generic(
            "POST", REFRESH, "{}", content_type="text/plain", headers={"Origin": BASE}
        )
        assert answer.status_code in (403, 415)
        assert Session.objects.get().prev is None

    def test_other_methods_and_broken_bodies(self, as_stranger: APIClient) -> None:
        refused(as_stranger.get(REFRESH), 405, "METHOD_NOT_ALLOWED")
        answer = as_stranger.post(REFRESH, b"{", content_type="application/json")
        refused(answer, 400, "PARSE_ERROR")


class TestRotation:
    def test_a_client_that_keeps_its_first_token_keeps_working(
        self, alice: User
    ) -> None:
        with time_machine.travel(START, tick=False) as clock:
            first = {"refresh": sign_in(alice).refresh_token}
            for _ in range(20):
                clock.shift(timedelta(days=1))
                assert APIClient().post(REFRESH, first).status_code == 200

    def test_a_lost_answer_can_be_repeated(self, alice: User) -> None:
        first = {"refresh": sign_in(alice).refresh_token}
        lost = APIClient().post(REFRESH, first).json()["refresh"]
        again = APIClient().post(REFRESH, first).json()["refresh"]
        assert _id(lost) == _id(again)

    def test_a_stolen_token_ends_the_session_despite_the_401(self, alice: User) -> None:
        with time_machine.travel(START, tick=False) as clock:
            stolen = sign_in(alice).refresh_token
            second = APIClient().post(REFRESH, {"refresh": stolen}).json()
            third = APIClient().post(REFRESH, {"refresh": second["refresh"]}).json()
            # Within ten seconds it may be a retry of a lost answer.
            lost = APIClient().post(REFRESH, {"refresh": stolen}).json()
            assert _id(lost["refresh"]) == _id(third["refresh"])
            clock.shift(11)
            answer = browser(stolen).post(REFRESH, {})
            refused(answer, 400, "INVALID_REFRESH")
            body = {"refresh": third["refresh"]}
            refused(APIClient().post(REFRESH, body), 400, "INVALID_REFRESH")
            refused(bearer(third["access"]).get(ME), 401, "TOKEN_NOT_VALID")
        assert SecurityEvent.objects.filter(kind="refresh_reused").count() == 1
        mail = Mail.objects.get()
        assert (mail.to, mail.user) == ("alice@example.com", alice)
        assert stolen not in mail.body


@pytest.mark.django_db(transaction=True)
def test_eight_refreshes_at_once_neither_fork_nor_sign_out(alice: User) -> None:
    for by_cookie in (True, False) * 4:
        made = sign_in(alice)
        gate = threading.Barrier(8)
        answers: list[Any] = []

        def ask(made: Any, by_cookie: bool, gate: Any, answers: list[Any]) -> None:
            client = browser(made.refresh_token) if by_cookie else APIClient()
            body = {} if by_cookie else {"refresh": made.refresh_token}
            try:
                gate.wait(60)
                answers.append(client.post(REFRESH, body))
            finally:
                connections.close_all()

        given = (made, by_cookie, gate, answers)
        threads = [threading.Thread(target=ask, args=given) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [answer.status_code for answer in answers] == [200] * 8
        successors = {
            answer.cookies["reviv_refresh"].value
            if by_cookie
            else answer.json()["refresh"]
            for answer in answers
        }
        assert len({_id(token) for token in successors}) == 1
        for answer in answers:
            assert bearer(answer.json()["access"]).get(ME).status_code == 200
        # The session goes on with the new token.
        body = {"refresh": successors.pop()}
        assert APIClient().post(REFRESH, body).status_code == 200
    assert not SecurityEvent.objects.filter(kind="refresh_reused").exists()
    assert not Session.objects.exclude(revoked_at=None).exists()


def _id(token: str) -> str:
    claims = pyjwt.decode(token, options={"verify_signature": False})
    return str(claims["jti"])

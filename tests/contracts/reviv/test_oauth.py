"""reviv guide, "Auth (OAuth + JWT + Cookies)": initiate, callback, exchange."""

import json
import re
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from rest_framework.test import APIClient

from accounts.models import Identity, Session, User
from tests import googling
from tests.contracts.reviv.test_refresh import ME, OURS, REFRESH, attributes, refused
from tests.doors.browsing import Browser
from tests.openid_provider import CLIENT_ID

INITIATE = "/api/auth/oauth/initiate/"
CALLBACK = "/api/auth/oauth/callback/google/"
EXCHANGE = "/api/auth/oauth/exchange/"
FRONT = "http://front.example:5173"

pytestmark = [pytest.mark.django_db]


@pytest.fixture
def front(google: str, settings: Any) -> str:
    settings.FRONTEND_URL = FRONT
    return google


def initiate(client: APIClient, **body: Any) -> str:
    answer = client.post(INITIATE, {"provider": "google", **body})
    assert answer.status_code == 200
    assert set(answer.json()) == {"auth_url"}
    url: str = answer.json()["auth_url"]
    return url


def came_back(client: APIClient, **more: Any) -> Any:
    """Through the whole flow of a browser, up to the callback's answer."""
    query = googling.answer(initiate(client, return_to="/auth/callback"), **more)
    return client.get(CALLBACK, query)


def ticket_of(answer: Any) -> str:
    assert answer.status_code == 302, answer.content
    return googling.query_of(answer["Location"])["ticket"]


class TestInitiate:
    def test_the_address_has_all_that_keeps_a_sign_in_safe(self, front: str) -> None:
        client = APIClient()
        url = initiate(client, return_to="/auth/callback")
        query = googling.query_of(url)
        assert url.startswith(f"{front}/authorize?")
        secrets = [query.pop(it) for it in ("state", "nonce", "code_challenge")]
        assert all(re.fullmatch(r"[\w-]{43}", secret) for secret in secrets)
        assert len(set(secrets)) == 3
        assert query == {
            "client_id": CLIENT_ID,
            "response_type": "code",
            "redirect_uri": f"http://localhost:8000{CALLBACK}",
            "scope": "openid email profile",
            "code_challenge_method": "S256",
            "prompt": "select_account",
        }

    def test_the_host_header_has_no_say(self, front: str) -> None:
        answer = APIClient().post(
            INITIATE,
            {"provider": "google"},
            HTTP_HOST="testserver",
            HTTP_X_FORWARDED_HOST="evil.example",
        )
        uri = googling.query_of(answer.json()["auth_url"])["redirect_uri"]
        assert urlsplit(uri).netloc == "localhost:8000"

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "MISSING_PROVIDER"),
            ({"provider": ""}, "MISSING_PROVIDER"),
            ({"provider": None}, "MISSING_PROVIDER"),
            ({"provider": "github"}, "INVALID_PROVIDER"),
            ({"provider": "Google"}, "INVALID_PROVIDER"),
            ({"provider": ["google"]}, "INVALID_PROVIDER"),
        ],
    )
    def test_another_provider(self, front: str, body: Any, code: str) -> None:
        refused(APIClient().post(INITIATE, body), 400, code)

    def test_without_a_client_id_there_is_none(self, settings: Any) -> None:
        settings.GOOGLE_CLIENT_ID = ""
        answer = APIClient().post(INITIATE, {"provider": "google"})
        refused(answer, 400, "PROVIDER_NOT_CONFIGURED")
        refused(APIClient().get(CALLBACK), 400, "PROVIDER_NOT_CONFIGURED")

    def test_the_cookie_is_for_redirects_alone(self, front: str) -> None:
        client = APIClient()
        answer = client.post(INITIATE, {"provider": "google"})
        assert not answer.cookies
        answer = client.post(INITIATE, {"provider": "google", "return_to": "/x"})
        [(name, cookie)] = answer.cookies.items()
        assert re.fullmatch(r"focus_oauth_[0-9a-f]{8}", name)
        assert (cookie["httponly"], cookie["max-age"]) == (True, 600)
        assert (cookie["path"], cookie["domain"]) == ("/", "")

    def test_over_https_the_cookie_comes_along_from_anywhere(
        self, front: str, settings: Any
    ) -> None:
        settings.HTTPS = True
        body = {"provider": "google", "return_to": "/x"}
        answer = APIClient().post(INITIATE, body)
        [(name, cookie)] = answer.cookies.items()
        assert name.startswith("__Host-focus_oauth_")
        assert (cookie["secure"], cookie["samesite"]) == (True, "None")

    @pytest.mark.usefixtures("real_limits")
    def test_ten_a_minute(self, front: str) -> None:
        for _ in range(10):
            initiate(APIClient())
        answer = APIClient().post(INITIATE, {"provider": "google"})
        refused(answer, 429, "RATE_LIMITED")
        refused(APIClient().post(EXCHANGE, {"ticket": "x"}), 429, "RATE_LIMITED")


class TestRedirectMode:
    def test_the_whole_way(self, front: str) -> None:
        client = APIClient()
        answer = came_back(client)
        target = answer["Location"]
        assert target.startswith(f"{FRONT}/auth/callback?ticket=")
        assert answer["Cache-Control"] == "no-store"
        assert answer["Referrer-Policy"] == "no-referrer"
        entered = client.post(
            EXCHANGE, {"ticket": ticket_of(answer)}, headers={"Origin": FRONT}
        )
        assert entered.status_code == 200
        body = entered.json()
        user = User.objects.get()
        assert set(body) == {"access", "user"}
        assert body["user"] == {
            "id": str(user.pk),
            "email": "ada@gmail.com",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "credit_balance": "0.00",
            "free_preview_used": False,
            "social_share_unlock_used": False,
            "created_at": user.created_at.isoformat().replace("+00:00", "Z"),
        }
        assert attributes(entered) == OURS
        assert entered.cookies["reviv_refresh"]["max-age"] == 7 * 24 * 3600
        bearer = APIClient(headers={"Authorization": f"Bearer {body['access']}"})
        assert bearer.get(ME).json()["email"] == "ada@gmail.com"
        assert set(client.post(REFRESH, {}).json()) == {"access"}
        assert user.email_verified_at is not None
        assert not user.has_usable_password()
        identity = Identity.objects.get()
        assert (identity.subject, identity.user) == ("sub-of-ada@gmail.com", user)

    def test_the_same_person_again_is_the_same_account(self, front: str) -> None:
        for _ in range(2):
            client = APIClient()
            ticket = ticket_of(came_back(client))
            assert client.post(EXCHANGE, {"ticket": ticket}).status_code == 200
        assert User.objects.count() == Identity.objects.count() == 1
        assert Session.objects.count() == 2

    def test_a_provider_may_come_back_by_a_form(self, front: str) -> None:
        client = APIClient()
        query = googling.answer(initiate(client, return_to="/auth/callback"))
        form = "&".join(f"{name}={value}" for name, value in query.items())
        kind = "application/x-www-form-urlencoded"
        answer = client.generic("POST", CALLBACK, form, content_type=kind)
        assert ticket_of(answer)

    @pytest.mark.parametrize("body", ["", "{}", "state=", "code=&state="])
    def test_a_provider_may_post_with_its_answer_in_the_query(
        self, front: str, body: str
    ) -> None:
        client = APIClient()
        query = googling.answer(initiate(client, return_to="/auth/callback"))
        kind = "application/x-www-form-urlencoded"
        answer = client.generic(
            "POST",
            f"{CALLBACK}?{urlencode(query)}",
            "" if body == "{}" else body,
            content_type="application/json" if body == "{}" else kind,
        )
        assert ticket_of(answer)

    def test_a_refusal_in_the_query_of_a_post_is_read(self, front: str) -> None:
        client = APIClient()
        query = googling.answer(initiate(client, return_to="/auth/callback"))
        said = urlencode({"state": query["state"], "error": "access_denied"})
        answer = client.post(f"{CALLBACK}?{said}", headers={"Accept": "text/html"})
        assert answer["Location"] == f"{FRONT}/auth/callback?error=access_denied"

    @pytest.mark.parametrize("return_to", [7, 0, None, True, ["/x"], {}])
    def test_a_return_to_that_is_no_text_is_refused(
        self, front: str, return_to: Any
    ) -> None:
        body = {"provider": "google", "return_to": return_to}
        answer = APIClient().post(INITIATE, body)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["code"] == "VALIDATION_ERROR"
        assert error["details"] == {"return_to": ["Not a valid string."]}

    @pytest.mark.parametrize(
        ("return_to", "target"),
        [
            ("/auth/callback", f"{FRONT}/auth/callback?ticket="),
            ("/a?b=1&ticket=old", f"{FRONT}/a?b=1&ticket="),
            ("/a?error=old#f", f"{FRONT}/a?ticket="),
            (f"{FRONT}/deep/page?x=y", f"{FRONT}/deep/page?x=y&ticket="),
            ("HTTP://FRONT.example:5173/x", "http://FRONT.example:5173/x?ticket="),
            *[
                (evil, f"{FRONT}/auth/callback?ticket=")
                for evil in (
                    "//evil.example",
                    "///evil.example",
                    "/\\evil.example",
                    "\\\\evil.example",
                    "https://evil.example/",
                    "http://front.example/",
                    "https://front.example:5173/",
                    f"{FRONT}@evil.example/",
                    f"{FRONT}.evil.example/",
                    "http://user:pw@front.example:5173/",
                    "http://evil.example#@front.example:5173/",
                    "http://front.example:5173\t.evil.example/",
                    " /x",
                    "javascript:alert(1)",
                    "data:text/html,x",
                    "auth/callback",
                    "/" + "x" * 3000,
                )
            ],
        ],
    )
    def test_only_the_front_end_is_returned_to(
        self, front: str, return_to: Any, target: str
    ) -> None:
        client = APIClient()
        query = googling.answer(initiate(client, return_to=return_to))
        location = client.get(CALLBACK, query)["Location"]
        shown = re.sub(r"ticket=[\w-]{43}", "ticket=", location)
        assert shown.partition("#")[0] == target

    def test_a_slash_too_many_in_a_path_stays_on_the_front_end(
        self, front: str
    ) -> None:
        for path in ("/%2f/evil.example", "/;@evil.example", "/auth//evil.example"):
            client = APIClient()
            query = googling.answer(initiate(client, return_to=path))
            location = client.get(CALLBACK, query)["Location"]
            assert location.startswith(f"{FRONT}{path}?ticket=")


class TestOtherBrowser:
    """An attacker begins a sign-in and lets a victim's browser finish it."""

    def test_it_asks_before_it_goes_on(self, front: str) -> None:
        attacker, victim = APIClient(), Browser()
        query = googling.answer(initiate(attacker, return_to="/auth/callback"))
        answer = victim.get(CALLBACK, query)
        page = answer.content.decode()
        assert answer.status_code == 200
        assert "Continue as <em>ada@gmail.com</em>?" in page
        assert "front.example:5173" in page
        assert f"form-action 'self' {FRONT};" in answer["Content-Security-Policy"]
        assert not User.objects.exists()
        form = dict(re.findall(r'name="(\w+)" value="([^"]+)"', page))
        forged = {"asked": form["asked"]}
        assert victim.post("/signin/continue", forged).status_code == 403
        answer = victim.post("/signin/continue", form)
        assert answer["Location"].startswith(f"{FRONT}/auth/callback?ticket=")
        ticket = ticket_of(answer)
        assert APIClient().post(EXCHANGE, {"ticket": ticket}).status_code == 200
        again = victim.post("/signin/continue", form)
        assert again.status_code == 400
        assert Session.objects.count() == 1

    def test_another_sign_ins_cookie_is_not_this_ones(self, front: str) -> None:
        attacker, victim = APIClient(), APIClient()
        initiate(victim, return_to="/auth/callback")
        query = googling.answer(initiate(attacker, return_to="/auth/callback"))
        [mine] = list(attacker.cookies)
        [theirs] = [it.value for it in victim.cookies.values()]
        victim.cookies[mine] = theirs
        assert "Continue as" in victim.get(CALLBACK, query).content.decode()


class TestJSONMode:
    def test_tokens_and_no_cookie(self, front: str) -> None:
        query = googling.answer(initiate(APIClient()))
        answer = APIClient().get(CALLBACK, query)
        assert answer.status_code == 200
        body = answer.json()
        assert set(body) == {"access", "refresh", "user"}
        assert body["user"]["email"] == "ada@gmail.com"
        assert "reviv_refresh" not in answer.cookies
        bearer = APIClient(headers={"Authorization": f"Bearer {body['access']}"})
        assert bearer.get(ME).status_code == 200
        renewed = APIClient().post(REFRESH, {"refresh": body["refresh"]})
        assert set(renewed.json()) == {"access", "refresh"}


class TestTickets:
    def test_a_ticket_works_once(self, front: str) -> None:
        ticket = ticket_of(came_back(APIClient()))
        assert APIClient().post(EXCHANGE, {"ticket": ticket}).status_code == 200
        refused(APIClient().post(EXCHANGE, {"ticket": ticket}), 400, "INVALID_TICKET")

    @pytest.mark.parametrize("ticket", ["x", "A" * 43, ["x"], 7, {"a": 1}])
    def test_no_ticket_of_ours(self, front: str, ticket: Any) -> None:
        refused(APIClient().post(EXCHANGE, {"ticket": ticket}), 400, "INVALID_TICKET")

    def test_a_missing_ticket(self, front: str) -> None:
        for body in ({}, {"ticket": ""}, {"ticket": None}):
            refused(APIClient().post(EXCHANGE, body), 400, "MISSING_TICKET")

    def test_a_state_is_no_ticket_and_a_ticket_no_state(self, front: str) -> None:
        state = googling.query_of(initiate(APIClient()))["state"]
        refused(APIClient().post(EXCHANGE, {"ticket": state}), 400, "INVALID_TICKET")
        ticket = ticket_of(came_back(APIClient()))
        answer = APIClient().get(CALLBACK, {"state": ticket, "code": "x"})
        refused(answer, 400, "INVALID_STATE")

    def test_another_sites_page_ends_it(self, front: str) -> None:
        """A ticket that another site sends is a stolen one."""
        ticket = ticket_of(came_back(APIClient()))
        evil = {"Origin": "https://evil.example"}
        answer = APIClient().post(EXCHANGE, {"ticket": ticket}, headers=evil)
        refused(answer, 400, "INVALID_TICKET")
        assert Session.objects.get().revoked_at is not None

    def test_what_ends_a_persons_sign_ins_ends_a_ticket(self, front: str) -> None:
        from accounts.signin import sessions

        ticket = ticket_of(came_back(APIClient()))
        sessions.revoke_all(user=User.objects.get())
        refused(APIClient().post(EXCHANGE, {"ticket": ticket}), 400, "INVALID_TICKET")

    def test_an_unredeemed_ticket_leaves_no_sign_in(self, front: str) -> None:
        came_back(APIClient())
        session = Session.objects.get()
        lives = session.idle_expires_at - session.created_at
        assert 59 < lives.total_seconds() < 61


def test_nothing_of_googles_is_kept(front: str) -> None:
    query = googling.answer(initiate(APIClient()))
    APIClient().get(CALLBACK, query)
    row = Identity.objects.values().get()
    assert query["code"] not in json.dumps(row, default=str)

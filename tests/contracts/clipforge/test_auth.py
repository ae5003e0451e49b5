"""ClipForge guide, "Authentication": registration, login and API keys."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt as pyjwt
import pytest
import time_machine
from rest_framework.test import APIClient

from accounts.credentials import app_keys, tokens, user_keys
from accounts.models import App, Mail, SecurityEvent, User, UserKey
from accounts.signin import closing, sessions
from tests.counting import statements

REGISTER = "/v1/auth/register"
LOGIN = "/v1/auth/login"
ME = "/v1/auth/me"
KEYS = "/v1/api-keys"
PROJECTS = "/v1/projects"
ADA = {"email": "ada@example.com", "name": "Ada King Lovelace", "password": "eng1neer!"}
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def refused(answer: Any, status: int, reason: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.status_code == status, body
    assert (body["statusCode"], body["error"]) == (status, reason)
    assert isinstance(body["message"], str)
    return body


def by_jwt(user: User, methods: tuple[str, ...] = ("pwd",)) -> APIClient:
    made = sessions.begin(
        user=user, client="test", access_seconds=3600, methods=[*methods]
    )
    return APIClient(headers={"Authorization": f"Bearer {made.access_token}"})


def by_key(secret: str, **more: str) -> APIClient:
    return APIClient(headers={"X-Api-Key": secret, **more})


@pytest.fixture
def alice_by_jwt(alice: User) -> APIClient:
    return by_jwt(alice)


@pytest.fixture
def key(alice: User) -> user_keys.IssuedUserKey:
    return user_keys.issue(user=alice, name="server")


def when(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def row(key: UserKey) -> dict[str, Any]:
    key.refresh_from_db()
    return {
        "id": str(key.pk),
        "name": key.name,
        "prefix": "sk_live_",
        "last4": key.last4,
        "createdAt": when(key.created_at),
        "expiresAt": when(key.expires_at),
        "lastUsedAt": when(key.last_used_at),
    }


class TestEntering:
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_register_log_in_and_read_the_account(
        self, as_stranger: APIClient, slash: str
    ) -> None:
        answer = as_stranger.post(REGISTER + slash, ADA)
        assert answer.status_code == 201
        body, user = answer.json(), User.objects.get()
        me = {
            "id": str(user.pk),
            "email": "ada@example.com",
            "name": "Ada King Lovelace",
            "createdAt": when(user.created_at),
        }
        token = body["access_token"]
        assert body == {"access_token": token, "token": token, "user": me}
        assert answer["Cache-Control"] == "no-store"
        said = {"email": "ADA@example.com", "password": ADA["password"]}
        answer = as_stranger.post(LOGIN + slash, said)
        assert answer.status_code == 200
        token = answer.json()["access_token"]
        assert answer.json() == {"access_token": token, "token": token, "user": me}
        assert answer["Cache-Control"] == "no-store"
        claims = pyjwt.decode(token, options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 24 * 3600
        as_stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        assert as_stranger.get(ME + slash).json() == me
        assert as_stranger.get(PROJECTS + slash).json() == []

    @pytest.mark.parametrize(
        ("name", "stored", "shown"),
        [
            ("Ada", ("Ada", ""), "Ada"),
            ("  Ada \t Lovelace ", ("Ada", "Lovelace"), "Ada Lovelace"),
            ("", ("", ""), ""),
        ],
    )
    def test_names(
        self, as_stranger: APIClient, name: str, stored: Any, shown: str
    ) -> None:
        answer = as_stranger.post(REGISTER, {**ADA, "name": name})
        assert answer.json()["user"]["name"] == shown
        user = User.objects.get()
        assert (user.first_name, user.last_name) == stored

    def test_a_taken_email(self, as_stranger: APIClient) -> None:
        as_stranger.post(REGISTER, ADA)
        answer = as_stranger.post(REGISTER, {**ADA, "email": "Ada@Example.com"})
        assert answer.json() == {
            "statusCode": 409,
            "message": "An account with this email already exists.",
            "error": "Conflict",
        }
        assert answer.status_code == 409
        assert User.objects.count() == 1

    @pytest.mark.parametrize(
        "wrong",
        [
            {"email": "nonsense"},
            {"email": None},
            {"password": "short"},
            {"password": ["x"]},
            {"name": "x" * 151},
            {"name": {"first": "Ada"}},
        ],
    )
    def test_invalid_registrations(self, as_stranger: APIClient, wrong: Any) -> None:
        answer = as_stranger.post(REGISTER, {**ADA, **wrong})
        refused(answer, 400, "Bad Request")
        assert not User.objects.exists()

    @pytest.mark.parametrize(
        "wrong", [{"password": "wrong password"}, {"email": "unknown@example.com"}]
    )
    def test_bad_credentials(self, as_stranger: APIClient, wrong: Any) -> None:
        as_stranger.post(REGISTER, ADA)
        answer = as_stranger.post(LOGIN, {**ADA, **wrong})
        assert answer.status_code == 401
        assert answer.json() == {
            "statusCode": 401,
            "message": "The email or the password is wrong.",
            "error": "Unauthorized",
        }
        assert answer["WWW-Authenticate"] == "Bearer"


class TestKeys:
    def test_a_key_is_shown_once_and_acts_as_its_user(
        self, alice: User, alice_by_jwt: APIClient
    ) -> None:
        answer = alice_by_jwt.post(KEYS, {"name": "server", "expiresInDays": 30})
        assert answer.status_code == 201
        body, made = answer.json(), UserKey.objects.get()
        assert body == {
            "key": body["key"],
            "id": str(made.pk),
            "message": "Store this key now: it is not shown again.",
        }
        assert body["key"].startswith("sk_live_")
        assert answer["Cache-Control"] == "no-store"
        assert made.expires_at == made.created_at + timedelta(days=30)
        client = by_key(body["key"])
        assert client.get(PROJECTS).status_code == 200
        assert client.get(PROJECTS).json() == []
        assert client.get(ME).json()["id"] == str(alice.pk)
        answer = client.get(KEYS)
        assert answer.json() == [row(made)]
        assert made.last_used_at is not None
        assert body["key"] not in answer.content.decode()
        assert body["key"] not in Mail.objects.get().body

    def test_every_field_of_a_new_key_is_optional(
        self, alice_by_jwt: APIClient
    ) -> None:
        for body in (None, {}, {"expiresInDays": None}):
            assert alice_by_jwt.post(KEYS, body).status_code == 201
        made = UserKey.objects.first()
        assert made is not None
        assert (made.name, made.expires_at) == ("API key", None)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"expiresInDays": 0},
            {"expiresInDays": -1},
            {"expiresInDays": 3651},
            {"expiresInDays": 1.5},
            {"expiresInDays": "soon"},
            {"name": "x" * 121},
            {"name": ""},
            {"name": ["x"]},
        ],
    )
    def test_invalid_key_requests_are_refused(
        self, alice_by_jwt: APIClient, wrong: Any
    ) -> None:
        refused(alice_by_jwt.post(KEYS, wrong), 400, "Bad Request")
        assert not UserKey.objects.exists()

    def test_a_key_cannot_create_or_delete_keys(
        self, key: user_keys.IssuedUserKey
    ) -> None:
        client = by_key(key.secret)
        refused(client.post(KEYS, {}), 403, "Forbidden")
        refused(client.delete(f"{KEYS}/{key.key.pk}"), 403, "Forbidden")
        assert UserKey.objects.filter(revoked_at=None).count() == 1

    def test_a_passkey_sign_in_without_pin_creates_no_key(self, alice: User) -> None:
        refused(by_jwt(alice, ("pop",)).post(KEYS, {}), 403, "Forbidden")
        assert by_jwt(alice, ("pop", "mfa")).post(KEYS, {}).status_code == 201

    def test_the_list_has_the_users_own_keys_newest_first(
        self, alice: User, bob: User, alice_by_jwt: APIClient
    ) -> None:
        older = user_keys.issue(user=alice, name="older").key
        user_keys.issue(user=bob, name="bob's")
        gone = user_keys.issue(user=alice, name="gone").key
        user_keys.revoke(user=alice, key_id=gone.pk)
        newer = user_keys.issue(user=alice, name="newer", days=1).key
        assert alice_by_jwt.get(KEYS).json() == [row(newer), row(older)]

    def test_deleting_a_key_returns_its_row(
        self, bob: User, alice_by_jwt: APIClient, key: user_keys.IssuedUserKey
    ) -> None:
        theirs = user_keys.issue(user=bob, name="bob's").key
        for unknown in (theirs.pk, uuid.uuid4()):
            answer = alice_by_jwt.delete(f"{KEYS}/{unknown}")
            refused(answer, 404, "Not Found")
        answer = alice_by_jwt.delete(f"{KEYS}/{key.key.pk}")
        assert answer.status_code == 200
        assert answer.json() == row(key.key)
        refused(by_key(key.secret).get(PROJECTS), 401, "Unauthorized")
        assert alice_by_jwt.get(KEYS).json() == []
        assert alice_by_jwt.delete(f"{KEYS}/{key.key.pk}").status_code == 200
        events = SecurityEvent.objects.filter(kind="user_key_revoked")
        assert events.count() == 1

    def test_expired_keys_and_closed_accounts_are_refused(self, alice: User) -> None:
        with time_machine.travel(START, tick=False) as clock:
            issued = user_keys.issue(user=alice, name="x", days=1)
            lasting = user_keys.issue(user=alice, name="y")
            clock.shift(86399)
            assert by_key(issued.secret).get(PROJECTS).status_code == 200
            clock.shift(1)
            refused(by_key(issued.secret).get(PROJECTS), 401, "Unauthorized")
            clock.shift(timedelta(days=3650))
            assert by_key(lasting.secret).get(PROJECTS).status_code == 200
        closing.close(user=alice, actor="staff")
        refused(by_key(lasting.secret).get(PROJECTS), 401, "Unauthorized")


class TestAuthenticating:
    @pytest.mark.parametrize(
        "secret",
        [
            "",
            "your-api-key",
            "sk_live_",
            "sk_live_" + "0" * 38,
            "sk-tool-" + "0" * 38,
            "sk_live_" + "é" * 38,
            "x" * 5000,
        ],
    )
    def test_a_malformed_key_costs_no_query(self, alice: User, secret: str) -> None:
        with statements() as queries:
            answer = by_key(secret).get(PROJECTS)
        body = refused(answer, 401, "Unauthorized")
        assert body["message"] == "The API key is invalid."
        assert answer["WWW-Authenticate"] == "Bearer"
        assert len(queries) == 0

    def test_a_key_costs_one_query(self, key: user_keys.IssuedUserKey) -> None:
        client = by_key(key.secret)
        client.get(PROJECTS)  # the minute's note of its use
        with statements() as queries:
            assert client.get(PROJECTS).status_code == 200
        assert len(queries) == 1

    def test_other_secrets_are_no_api_keys(self, alice: User, video: App) -> None:
        pat = tokens.issue(user=alice, name="x", scopes=[]).secret
        app_key = app_keys.issue(app=video, name="x").secret
        for secret in (pat, app_key):
            refused(by_key(secret).get(PROJECTS), 401, "Unauthorized")

    def test_an_api_key_is_not_accepted_as_a_bearer_token(
        self, key: user_keys.IssuedUserKey
    ) -> None:
        client = APIClient(headers={"Authorization": f"Bearer {key.secret}"})
        refused(client.get(PROJECTS), 401, "Unauthorized")

    def test_two_credentials_must_belong_to_one_user(
        self, alice: User, bob: User, video: App, key: user_keys.IssuedUserKey
    ) -> None:
        def both(user: User) -> APIClient:
            made = sessions.begin(
                user=user, client="x", access_seconds=60, methods=["pwd"]
            )
            bearer = f"Bearer {made.access_token}"
            return by_key(key.secret, Authorization=bearer)

        assert both(alice).get(PROJECTS).status_code == 200
        refused(both(bob).get(PROJECTS), 401, "Unauthorized")
        for other in (
            "Bearer nonsense",
            "Basic eDp4",
            f"Bearer {app_keys.issue(app=video, name='x').secret}",
        ):
            client = by_key(key.secret, Authorization=other)
            refused(client.get(PROJECTS), 401, "Unauthorized")
        mixed = by_key("sk_live_x", Authorization="Bearer x")
        refused(mixed.get(PROJECTS), 401, "Unauthorized")

    def test_the_focus_guide_does_not_accept_an_api_key(
        self, key: user_keys.IssuedUserKey
    ) -> None:
        client = by_key(key.secret)
        for path in ("/api/wallet", "/api/jobs", "/api/tokens", "/api/sessions"):
            answer = client.get(path)
            assert answer.status_code == 403, path
            assert answer.json()["error"] == "credential_not_accepted"

    def test_clipforge_accepts_neither_personal_access_tokens_nor_app_keys(
        self, as_alice: APIClient, as_video: APIClient, as_stranger: APIClient
    ) -> None:
        for client in (as_alice, as_video):
            refused(client.get(PROJECTS), 403, "Forbidden")
        answer = as_stranger.get(PROJECTS)
        refused(answer, 401, "Unauthorized")
        assert answer["WWW-Authenticate"] == "Bearer"

"""Beyond the Focus guide: tokens created, rotated and reported as exposed."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings as live
from rest_framework.test import APIClient

from accounts import replays
from accounts.credentials import app_keys, scopes, tokens, user_keys
from accounts.models import (
    App,
    AppKey,
    Mail,
    PersonalAccessToken,
    Replay,
    SecurityEvent,
    User,
    UserKey,
)
from accounts.signin import devices, sessions
from accounts.signin.browser_sessions import SessionStore
from tests.counting import statements

TOKENS = "/api/tokens"
EXPOSED = "/api/tokens/report-exposed"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["error"]) == (status, code), body
    assert isinstance(body["message"], str)
    return body


def sign_in(user: User, methods: tuple[str, ...] = ("pwd",)) -> sessions.SessionTokens:
    return sessions.begin(
        user=user, client="reviv", access_seconds=900, methods=[*methods]
    )


def bearer(secret: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {secret}"})


def in_browser(user: User) -> APIClient:
    store = SessionStore()
    store.create()
    key = str(store.session_key)
    sessions.begin_in_browser(user=user, browser_key=key, methods=["pwd"])
    client = APIClient()
    client.cookies[live.SESSION_COOKIE_NAME] = key
    return client


@pytest.fixture
def alice_by_jwt(alice: User) -> APIClient:
    return bearer(sign_in(alice).access_token)


def when(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def row(token: PersonalAccessToken) -> dict[str, Any]:
    token.refresh_from_db()
    return {
        "id": str(token.pk),
        "name": token.name,
        "prefix": "focus_pat_",
        "last4": token.last4,
        "scopes": token.scopes,
        "created_at": when(token.created_at),
        "expires_at": when(token.expires_at),
        "last_used_at": when(token.last_used_at),
    }


class TestMaking:
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_the_secret_is_shown_once(
        self, alice: User, alice_by_jwt: APIClient, slash: str
    ) -> None:
        payload = {"name": "ci", "scopes": ["jobs:read"], "expires_in_days": 7}
        answer = alice_by_jwt.post(TOKENS + slash, payload)
        assert answer.status_code == 201
        made, secret = PersonalAccessToken.objects.get(), answer.json()["token"]
        assert answer.json() == {"token": secret, **row(made)}
        assert answer["Cache-Control"] == "no-store"
        assert made.user == alice
        assert made.expires_at - made.created_at == timedelta(days=7)
        assert made.scopes == ["jobs:read"]
        client = bearer(secret)
        assert client.get("/api/tokens/current").json() == row(made)
        assert client.get("/api/jobs").status_code == 200
        refused(client.get("/api/wallet"), 403, "insufficient_scope")
        assert secret not in alice_by_jwt.get(TOKENS).content.decode()
        assert secret not in Mail.objects.get().body

    def test_a_browser_session_can_create_a_token(self, alice: User) -> None:
        answer = in_browser(alice).post(TOKENS, {"name": "laptop"})
        assert answer.status_code == 201
        made = PersonalAccessToken.objects.get()
        assert made.scopes == scopes.DEFAULT
        assert made.expires_at - made.created_at == timedelta(days=90)

    def test_an_empty_list_of_scopes_grants_none(self, alice_by_jwt: APIClient) -> None:
        answer = alice_by_jwt.post(TOKENS, {"name": "bare", "scopes": []})
        assert answer.json()["scopes"] == []

    @pytest.mark.parametrize(
        ("wrong", "code"),
        [
            ({"name": ""}, "invalid_request"),
            ({"name": None}, "invalid_request"),
            ({"name": "x" * 121}, "invalid_request"),
            ({"scopes": "jobs:read"}, "invalid_request"),
            ({"scopes": ["everything"]}, "invalid_scope"),
            ({"scopes": [["jobs:read"]]}, "invalid_request"),
            ({"expires_in_days": 0}, "invalid_request"),
            ({"expires_in_days": 367}, "invalid_request"),
            ({"expires_in_days": "soon"}, "invalid_request"),
            ({"expires_in_days": None}, "invalid_request"),
        ],
    )
    def test_invalid_token_requests_are_refused(
        self, alice_by_jwt: APIClient, wrong: dict[str, Any], code: str
    ) -> None:
        answer = alice_by_jwt.post(TOKENS, {"name": "ci", **wrong})
        refused(answer, 400, code)
        refused(alice_by_jwt.post(TOKENS, {}), 400, "invalid_request")
        assert not PersonalAccessToken.objects.exists()
        assert not Mail.objects.exists()

    def test_a_token_or_key_cannot_create_a_token(
        self, alice: User, as_alice: APIClient, as_video: APIClient
    ) -> None:
        key = user_keys.issue(user=alice, name="x").secret
        for client in (as_alice, as_video, APIClient(headers={"X-Api-Key": key})):
            answer = client.post(TOKENS, {"name": "ci"})
            refused(answer, 403, "credential_not_accepted")
        refused(APIClient().post(TOKENS, {"name": "ci"}), 401, "unauthenticated")
        assert PersonalAccessToken.objects.count() == 1

    def test_a_passkey_sign_in_without_pin_creates_no_token(self, alice: User) -> None:
        bare = bearer(sign_in(alice, ("pop",)).access_token)
        refused(bare.post(TOKENS, {"name": "ci"}), 403, "second_proof_required")
        sure = bearer(sign_in(alice, ("pop", "mfa")).access_token)
        assert sure.post(TOKENS, {"name": "ci"}).status_code == 201


def test_a_passkey_sign_in_without_pin_approves_no_device(alice: User) -> None:
    """Approving creates a token too. Every session may deny."""
    path = "/api/device/complete"
    bare = bearer(sign_in(alice, ("pop",)).access_token)
    payload = {"user_code": devices.start().grant.user_code}
    refused(bare.post(path, payload), 403, "second_proof_required")
    assert bare.post(path, {**payload, "approve": False}).status_code == 200
    sure = bearer(sign_in(alice, ("pop", "mfa")).access_token)
    payload = {"user_code": devices.start().grant.user_code}
    assert sure.post(path, payload).status_code == 200


class TestReplaying:
    """CONTRACTS 0: a secret is replayed for 15 minutes, then the answer without it."""

    @pytest.mark.parametrize(
        ("path", "body", "secret"),
        [
            (TOKENS, {"name": "ci"}, "token"),
            ("/v1/api-keys", {"name": "server"}, "key"),
        ],
    )
    def test_a_repeat_returns_the_secret_for_15_minutes(
        self, alice_by_jwt: APIClient, path: str, body: Any, secret: str
    ) -> None:
        headers = {"Idempotency-Key": "one"}
        first = alice_by_jwt.post(path, body, headers=headers)
        again = alice_by_jwt.post(path, body, headers=headers)
        assert (again.status_code, again.content) == (201, first.content)
        assert again["Idempotent-Replayed"] == "true"
        assert again["Cache-Control"] == "no-store"
        # The database does not hold the secret in the clear.
        kept, told = Replay.objects.get(), first.json()[secret].encode()
        assert told not in bytes(kept.body)
        assert told not in bytes(kept.sealed or b"")
        Replay.objects.update(created_at=kept.created_at - timedelta(minutes=15))
        late = alice_by_jwt.post(path, body, headers=headers)
        rest = {name: it for name, it in first.json().items() if name != secret}
        assert (late.status_code, late.json()) == (201, rest)
        replays.forget_old()
        assert Replay.objects.get().sealed is None
        late = alice_by_jwt.post(path, body, headers=headers)
        assert (late.status_code, late.json()) == (201, rest)
        assert PersonalAccessToken.objects.count() + UserKey.objects.count() == 1
        other = alice_by_jwt.post(path, {"name": "other"}, headers=headers)
        assert other.status_code == 422

    def test_a_repeated_rotation_returns_the_same_secret(
        self, alice: User, alice_by_jwt: APIClient
    ) -> None:
        old = tokens.issue(user=alice, name="ci", scopes=[]).token
        path, headers = f"{TOKENS}/{old.pk}/rotate", {"Idempotency-Key": "one"}
        first = alice_by_jwt.post(path, headers=headers)
        again = alice_by_jwt.post(path, headers=headers)
        assert (again.status_code, again.content) == (201, first.content)
        assert PersonalAccessToken.objects.count() == 2


class TestRotating:
    def test_the_successor_has_the_same_name_scopes_and_lifetime(
        self, alice: User
    ) -> None:
        with time_machine.travel(START, tick=False) as clock:
            old = tokens.issue(user=alice, name="ci", scopes=["jobs:read"], days=10)
            clock.shift(timedelta(days=9))
            client = bearer(sign_in(alice).access_token)
            payload = {"overlap_seconds": 60}
            answer = client.post(f"{TOKENS}/{old.token.pk}/rotate", payload)
            assert answer.status_code == 201
            assert answer["Cache-Control"] == "no-store"
            made = PersonalAccessToken.objects.exclude(pk=old.token.pk).get()
            secret = answer.json()["token"]
            assert answer.json() == {"token": secret, **row(made)}
            assert (made.name, made.scopes) == ("ci", ["jobs:read"])
            assert made.expires_at - made.created_at == timedelta(days=10)
            for works in (old.secret, secret):
                assert bearer(works).get("/api/tokens/current").status_code == 200
            clock.shift(60)
            assert bearer(secret).get("/api/tokens/current").status_code == 200
            answer = bearer(old.secret).get("/api/tokens/current")
            refused(answer, 401, "token_expired")

    def test_without_an_overlap_the_old_one_ends_now(
        self, alice: User, alice_by_jwt: APIClient
    ) -> None:
        old = tokens.issue(user=alice, name="ci", scopes=[])
        path = f"{TOKENS}/{old.token.pk}/rotate"
        assert alice_by_jwt.post(path).status_code == 201
        refused(bearer(old.secret).get("/api/tokens/current"), 401, "token_expired")
        refused(alice_by_jwt.post(path), 409, "key_not_usable")
        assert PersonalAccessToken.objects.count() == 2

    def test_expired_revoked_and_replaced_tokens_cannot_be_rotated(
        self, alice: User, bob: User, alice_by_jwt: APIClient, as_alice: APIClient
    ) -> None:
        theirs = tokens.issue(user=bob, name="bob's", scopes=[]).token
        for unknown in (theirs.pk, uuid.uuid4()):
            answer = alice_by_jwt.post(f"{TOKENS}/{unknown}/rotate")
            refused(answer, 404, "not_found")
        mine = tokens.issue(user=alice, name="ci", scopes=[]).token
        path = f"{TOKENS}/{mine.pk}/rotate"
        refused(
            alice_by_jwt.post(path, {"overlap_seconds": 61}), 400, "invalid_request"
        )
        refused(as_alice.post(path), 403, "credential_not_accepted")
        bare = bearer(sign_in(alice, ("pop",)).access_token)
        refused(bare.post(path), 403, "second_proof_required")
        tokens.revoke(user=alice, token_id=mine.pk)
        refused(alice_by_jwt.post(path), 409, "key_not_usable")


class TestExposed:
    def test_live_secrets_are_revoked_and_their_owners_mailed(
        self, alice: User, bob: User, video: App, as_stranger: APIClient
    ) -> None:
        App.objects.update(owner=bob)
        pat = tokens.issue(user=alice, name="ci", scopes=[])
        key = user_keys.issue(user=alice, name="server")
        app_key = app_keys.issue(app=video, name="server")
        other = tokens.issue(user=alice, name="other", scopes=[])
        Mail.objects.all().delete()
        found = [pat.secret, key.secret, app_key.secret, "focus_pat_x", "AKIA123"]
        answer = as_stranger.post(EXPOSED, {"tokens": found})
        assert (answer.status_code, answer.json()) == (202, {"received": 5})
        pat.token.refresh_from_db()
        key.key.refresh_from_db()
        app_key.key.refresh_from_db()
        other.token.refresh_from_db()
        assert pat.token.revoked_at
        assert key.key.revoked_at
        assert app_key.key.revoked_at
        assert other.token.revoked_at is None
        told = [(mail.to, mail.body) for mail in Mail.objects.order_by("pk")]
        assert [to for to, _ in told] == [
            "alice@example.com",
            "alice@example.com",
            "bob@example.com",
        ]
        for issued, (_, body) in zip(
            (pat.secret, key.secret, app_key.secret), told, strict=True
        ):
            assert issued[-4:] in body
            assert issued not in body
        actors = SecurityEvent.objects.filter(kind__endswith="revoked")
        assert {event.actor for event in actors} == {"system:reported-exposed"}

    def test_the_answer_does_not_reveal_which_secrets_were_genuine(
        self, alice: User, as_stranger: Any
    ) -> None:
        ours = tokens.issue(user=alice, name="ci", scopes=[]).secret
        answers = [
            as_stranger.post(EXPOSED, {"tokens": [token]})
            for token in (ours, ours, "focus_pat_" + "0" * 38, "nonsense")
        ]
        bodies = {answer.content for answer in answers}
        assert bodies == {b'{"received":1}'}
        assert {answer.status_code for answer in answers} == {202}
        headers = {frozenset(answer.headers) - {"X-Request-ID"} for answer in answers}
        assert len(headers) == 1
        # A second report sends no second mail.
        assert Mail.objects.filter(subject__contains="exposed").count() == 1

    def test_ended_secrets_are_not_mailed_about(
        self, alice: User, as_stranger: APIClient
    ) -> None:
        with time_machine.travel(START, tick=False) as clock:
            old = tokens.issue(user=alice, name="old", scopes=[], days=1)
            key = user_keys.issue(user=alice, name="old", days=1)
            clock.shift(timedelta(days=1))
            body = {"tokens": [old.secret, key.secret]}
            assert as_stranger.post(EXPOSED, body).status_code == 202
        assert not PersonalAccessToken.objects.exclude(revoked_at=None).exists()
        assert not UserKey.objects.exclude(revoked_at=None).exists()
        assert not Mail.objects.filter(subject__contains="exposed").exists()

    def test_a_report_takes_100_secrets_and_malformed_ones_cost_no_query(
        self, as_stranger: APIClient
    ) -> None:
        with statements() as queries:
            answer = as_stranger.post(EXPOSED, {"tokens": ["nonsense"] * 100})
        assert answer.json() == {"received": 100}
        assert [query for query in queries if "SELECT" in query] == []
        wrongs: list[dict[str, Any]] = [
            {"tokens": ["x"] * 101},
            {"tokens": []},
            {"tokens": "x"},
            {"tokens": [{"x": 1}]},
            {"tokens": ["x" * 513]},
            {},
        ]
        for wrong in wrongs:
            refused(as_stranger.post(EXPOSED, wrong), 400, "invalid_request")

    def test_sixty_reports_an_hour(
        self, as_stranger: APIClient, real_limits: None
    ) -> None:
        for _ in range(60):
            answer = as_stranger.post(EXPOSED, {"tokens": ["x"]})
            assert answer.status_code == 202
        refused(as_stranger.post(EXPOSED, {"tokens": ["x"]}), 429, "rate_limited")

    def test_a_report_needs_no_credential_and_ignores_a_bad_one(
        self, as_stranger: APIClient
    ) -> None:
        as_stranger.credentials(HTTP_AUTHORIZATION="Bearer nonsense")
        answer = as_stranger.post(EXPOSED, {"tokens": ["x"]})
        assert answer.status_code == 202

    def test_an_app_without_an_owner(self, video: App, as_stranger: Any) -> None:
        secret = app_keys.issue(app=video, name="x").secret
        as_stranger.post(EXPOSED, {"tokens": [secret, secret]})
        assert AppKey.objects.exclude(revoked_at=None).count() == 1
        assert not Mail.objects.exists()

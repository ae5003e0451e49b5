"""reviv guide, "Auth" and "API Root": the user, logout and the list of endpoints."""

from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from rest_framework.test import APIClient

from accounts.credentials import tokens
from accounts.models import SecurityEvent, Session, User
from focus.money import MICRO
from tests.contracts.reviv.test_refresh import (
    BASE,
    LOGOUT,
    ME,
    OURS,
    REFRESH,
    attributes,
    bearer,
    refused,
    sign_in,
)
from wallet import ledger

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class TestMe:
    def test_every_field_of_the_user(self, alice: User, give: Any) -> None:
        User.objects.update(first_name="Alice", last_name="Liddell")
        give(alice, 4)
        answer = bearer(sign_in(alice).access_token).get(ME)
        assert answer.status_code == 200
        assert answer.json() == {
            "id": str(alice.pk),
            "email": "alice@example.com",
            "first_name": "Alice",
            "last_name": "Liddell",
            "credit_balance": "4.00",
            "free_preview_used": False,
            "social_share_unlock_used": False,
            "created_at": alice.created_at.isoformat().replace("+00:00", "Z"),
        }

    @pytest.mark.parametrize(
        ("micro", "shown"),
        [
            (0, "0.00"),
            (1, "0.000001"),
            (10_000, "0.01"),
            (1_500_000, "1.50"),
            (1_015_000, "1.015"),
            (12_345_678 * MICRO, "12345678.00"),
        ],
    )
    def test_a_balance_has_at_least_two_decimal_places(
        self, alice: User, micro: int, shown: str
    ) -> None:
        if micro:
            ledger.grant(
                account_id=alice.pk,
                amount_micro=micro,
                source="promo",
                actor="test",
                key="give",
            )
        answer = bearer(sign_in(alice).access_token).get(ME)
        assert answer.json()["credit_balance"] == shown

    def test_requests_without_a_valid_bearer_are_401(
        self, as_stranger: APIClient, alice: User
    ) -> None:
        answer = as_stranger.get(ME)
        refused(answer, 401, "NOT_AUTHENTICATED")
        assert answer["WWW-Authenticate"] == "Bearer"
        refused(bearer("a.b.c").get(ME), 401, "TOKEN_NOT_VALID")
        refused(bearer(sign_in(alice).refresh_token).get(ME), 401, "TOKEN_NOT_VALID")


class TestLogout:
    def test_logout_ends_every_token_of_the_session(self, alice: User) -> None:
        made, other = sign_in(alice), sign_in(alice)
        client = bearer(made.access_token)
        client.cookies["reviv_refresh"] = made.refresh_token
        answer = client.post(LOGOUT)
        assert answer.status_code == 200
        assert answer.json() == {"message": "Successfully logged out"}
        assert attributes(answer) == OURS
        cookie = answer.cookies["reviv_refresh"]
        assert (cookie.value, cookie["max-age"]) == ("", 0)
        refused(client.get(ME), 401, "TOKEN_NOT_VALID")
        body = {"refresh": made.refresh_token}
        refused(APIClient().post(REFRESH, body), 400, "INVALID_REFRESH")
        # Other sessions live on.
        assert bearer(other.access_token).get(ME).status_code == 200

    def test_a_second_logout_succeeds(self, alice: User) -> None:
        client = bearer(sign_in(alice).access_token)
        for _ in range(3):
            answer = client.post(LOGOUT)
            assert answer.status_code == 200
            assert answer.json() == {"message": "Successfully logged out"}
        events = SecurityEvent.objects.filter(kind="session_revoked")
        assert events.count() == 1

    def test_a_bad_or_expired_bearer_is_refused(self, alice: User) -> None:
        with time_machine.travel(START, tick=False) as clock:
            made = sign_in(alice)
            clock.shift(901)
            refused(bearer(made.access_token).post(LOGOUT), 401, "TOKEN_NOT_VALID")
            for token in ("a.b.c", "nonsense", made.refresh_token):
                refused(bearer(token).post(LOGOUT), 401, "TOKEN_NOT_VALID")
            refused(APIClient().post(LOGOUT), 401, "NOT_AUTHENTICATED")
            assert Session.objects.get().revoked_at is None

    def test_neither_a_token_nor_a_key_signs_out(
        self, alice: User, as_alice: APIClient, as_video: APIClient
    ) -> None:
        for client in (as_alice, as_video):
            refused(client.post(LOGOUT), 403, "CREDENTIAL_NOT_ACCEPTED")
        assert tokens.live(user=alice).exists()


def test_the_root_maps_addresses_that_exist(as_stranger: APIClient) -> None:
    for name, address in as_stranger.get("/api/").json().items():
        answer = as_stranger.get(address.removeprefix(BASE))
        assert answer.status_code in (200, 401, 405, 503), name

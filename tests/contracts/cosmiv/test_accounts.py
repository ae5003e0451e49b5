"""Cosmiv guide, "Accounts API", without requests to a provider."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.credentials import tokens
from accounts.models import Link, Sync, User
from accounts.signin import sessions

HERE = "/api/v2/accounts"


@pytest.fixture
def as_alice(alice: User) -> APIClient:
    """The guide's client: a JWT, from a login."""
    made = sessions.begin(user=alice, client="x", access_seconds=60, methods=["pwd"])
    return APIClient(headers={"Authorization": f"Bearer {made.access_token}"})


@pytest.fixture
def link(alice: User) -> Link:
    return Link.objects.create(
        user=alice,
        provider="steam",
        subject="76561197960287930",
        username="gaben",
        created_at=timezone.now(),
    )


def refusal(code: str, message: str, **data: Any) -> dict[str, Any]:
    error = {"code": code, "message": message, "data": data}
    return {"success": False, "error": error}


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_providers(as_stranger: APIClient, slash: str) -> None:
    answer = as_stranger.get(f"{HERE}/providers{slash}")
    assert answer.status_code == 200
    assert answer.json() == {
        "providers": [
            {
                "id": "steam",
                "name": "Steam",
                "icon": "🎮",
                "description": "Steam Library",
                "available": True,
            },
            {
                "id": "xbox",
                "name": "Xbox",
                "icon": "🟢",
                "description": "Xbox Live",
                "available": False,
            },
            {
                "id": "playstation",
                "name": "PlayStation",
                "icon": "🔵",
                "description": "PlayStation Network",
                "available": False,
            },
            {
                "id": "switch",
                "name": "Nintendo Switch",
                "icon": "🔴",
                "description": "Nintendo Switch Online",
                "available": False,
            },
        ]
    }
    # The icons as UTF-8; the guide's sample shows them with a broken encoding.
    assert "🎮".encode() in answer.content


def test_x_is_listed_where_it_is_configured(
    as_stranger: APIClient, settings: Any
) -> None:
    settings.X_CLIENT_ID = settings.X_CLIENT_SECRET = "set"
    (x,) = as_stranger.get(f"{HERE}/providers").json()["providers"][4:]
    assert (x["id"], x["name"], x["available"]) == ("x", "X", True)


@pytest.mark.parametrize(
    "provider", ["xbox", "playstation", "switch", "x", "google", "nonsense", "STEAM"]
)
def test_a_provider_that_cannot_be_linked_is_404(
    as_alice: APIClient, provider: str
) -> None:
    answer = as_alice.get(f"{HERE}/oauth/{provider}")
    assert answer.status_code == 404
    assert answer.json() == refusal(
        "RESOURCE_NOT_FOUND", "Accounts of this provider cannot be linked."
    )


def test_linking_redirects_to_steam(as_alice: APIClient) -> None:
    answer = as_alice.get(f"{HERE}/oauth/steam")
    assert answer.status_code == 302
    assert answer["Location"].startswith("https://steamcommunity.com/openid/login?")


def test_nothing_linked(as_alice: APIClient) -> None:
    assert as_alice.get(f"{HERE}/links").json() == {"links": []}
    answer = as_alice.post(f"{HERE}/sync")
    assert answer.status_code == 404
    assert answer.json() == refusal(
        "RESOURCE_NOT_FOUND", "No account is linked, or it has to be connected again."
    )
    answer = as_alice.delete(f"{HERE}/links/steam")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "RESOURCE_NOT_FOUND"


def test_a_linked_account_is_listed(as_alice: APIClient, link: Link) -> None:
    (said,) = as_alice.get(f"{HERE}/links").json()["links"]
    assert said == {
        "provider": "steam",
        "platform_username": "gaben",
        "platform_user_id": "76561197960287930",
        "created_at": said["created_at"],
        "expires_at": None,
        "is_active": True,
        "last_synced_at": None,
        "profile": {},
        "sync": None,
    }


def test_a_user_sees_only_their_own_links(as_bob: APIClient, link: Link) -> None:
    assert as_bob.get(f"{HERE}/links").json() == {"links": []}


def test_bob_cannot_unlink_or_sync_alices_link(bob: User, link: Link) -> None:
    made = sessions.begin(user=bob, client="x", access_seconds=60, methods=["pwd"])
    client = APIClient(headers={"Authorization": f"Bearer {made.access_token}"})
    assert client.delete(f"{HERE}/links/steam").status_code == 404
    assert client.post(f"{HERE}/sync").status_code == 404
    assert Link.objects.exists()
    assert not Sync.objects.exists()


def test_a_token_reads_and_does_not_link(alice: User, link: Link) -> None:
    """A long-lived token must not be able to link an account."""
    issued = tokens.issue(user=alice, name="ci", scopes=["account:read"])
    client = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
    assert client.get(f"{HERE}/links").status_code == 200
    for answer in (
        client.get(f"{HERE}/oauth/steam"),
        client.delete(f"{HERE}/links/steam"),
        client.post(f"{HERE}/sync"),
    ):
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "INSUFFICIENT_PERMISSIONS"
    issued = tokens.issue(user=alice, name="ci", scopes=["wallet:read"])
    client = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
    assert client.get(f"{HERE}/links").status_code == 403


SCHEDULED = {"scheduled": True, "message": "Sync scheduled for 1 linked account."}


@pytest.mark.parametrize("how", ["json", "multipart"])
def test_a_sync_is_scheduled_once(as_alice: APIClient, link: Link, how: str) -> None:
    for _ in range(3):
        answer = as_alice.post(f"{HERE}/sync", {}, format=how)
        assert (answer.status_code, answer.json()) == (200, SCHEDULED)
    sync = Sync.objects.get()
    assert (sync.link, sync.finished_at) == (link, None)
    assert sync.due_at == sync.requested_at


def test_a_repeated_key_gets_the_first_answer(as_alice: APIClient, link: Link) -> None:
    key = {"Idempotency-Key": "sync-1"}
    first = as_alice.post(f"{HERE}/sync", {}, headers=key)
    Sync.objects.update(finished_at=timezone.now(), due_at=None)
    again = as_alice.post(f"{HERE}/sync", {}, headers=key)
    assert again.content == first.content
    assert again["Idempotent-Replayed"] == "true"
    assert Sync.objects.count() == 1


def test_linking_has_the_limits_of_sign_in(
    as_alice: APIClient, real_limits: None, caller: Callable[..., Any]
) -> None:
    answers = [as_alice.get(f"{HERE}/oauth/steam") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [302] * 10 + [429]
    assert answers[0]["X-RateLimit-Limit"] == "10"
    assert answers[-1].json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"

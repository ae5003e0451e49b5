"""Looking at linked accounts: what is found, and what a lost worker costs."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import tasks
from accounts.links import linking, syncs
from accounts.links import tokens as link_tokens
from accounts.models import Link, Sync, User
from tests.linking.conftest import HERE, Stand, bearer, begin, come_back
from tests.linking.test_x import _link

pytestmark = pytest.mark.django_db
GABEN = "76561197960287930"


@pytest.fixture
def link(steam: Stand, alice: User, settings: Any) -> Link:
    settings.STEAM_API_KEY = "the web api key"
    client = bearer(alice)
    come_back(client, steam.visit(begin(client, "steam")))
    return Link.objects.get()


def test_linking_is_followed_by_a_look(steam: Stand, link: Link, alice: User) -> None:
    tasks.sync_links()
    (said,) = bearer(alice).get(f"{HERE}/links").json()["links"]
    assert said["platform_username"] == "gaben"
    assert said["profile"] == {
        "profile_url": f"https://steamcommunity.com/profiles/{GABEN}",
        "username": "gaben",
        "visibility": "public",
    }
    assert said["last_synced_at"] == said["sync"]["finished_at"]
    assert said["sync"]["error"] == ""
    # It ran, and nothing is left to run.
    tasks.sync_links()
    assert steam.seen("GET /ISteamUser/GetPlayerSummaries/v2/") == 1


@pytest.mark.parametrize(
    ("state", "told"), [(1, "private"), (3, "public"), (2, "unknown"), ("x", "unknown")]
)
def test_who_may_see_the_profile(
    steam: Stand, link: Link, state: object, told: str
) -> None:
    steam.knobs(visibility=state)
    assert syncs.run_due() == 1
    link.refresh_from_db()
    assert link.profile["visibility"] == told


def test_without_a_key_what_is_known_is_recorded(
    steam: Stand, link: Link, settings: Any
) -> None:
    settings.STEAM_API_KEY = ""
    assert syncs.run_due() == 1
    link.refresh_from_db()
    assert link.profile == {
        "profile_url": f"https://steamcommunity.com/profiles/{GABEN}"
    }
    assert link.last_synced_at is not None
    assert steam.seen("GET /ISteamUser/GetPlayerSummaries/v2/") == 0


def test_an_account_that_steam_no_longer_has_keeps_its_name(
    steam: Stand, link: Link
) -> None:
    assert syncs.run_due() == 1
    steam.knobs(gone=[GABEN])
    Sync.objects.all().delete()
    Link.objects.update(last_synced_at=None)
    syncs.request(user=link.user)
    assert syncs.run_due() == 1
    link.refresh_from_db()
    assert link.username == "gaben"


def test_a_killed_workers_run_is_taken_up_again(steam: Stand, link: Link) -> None:
    lost = syncs._claim()
    assert lost is not None
    # Its lease holds off the others, and then no longer.
    assert syncs.run_due() == 0
    Sync.objects.update(due_at=timezone.now())
    assert syncs.run_due() == 1
    sync = Sync.objects.get()
    assert (sync.tries, sync.due_at) == (2, None)
    # The lost one was only slow: what it says now changes nothing.
    assert syncs._close(lost, found={"username": "another name"}) is False
    link.refresh_from_db()
    assert link.username == "gaben"


def test_a_provider_that_is_down_is_asked_five_times(steam: Stand, link: Link) -> None:
    steam.knobs(down=True)
    for turn in range(1, syncs.TRIES + 1):
        assert syncs.run_due() == 0
        assert Sync.objects.get().tries == turn
        Sync.objects.filter(finished_at=None).update(due_at=timezone.now())
    sync = Sync.objects.get()
    assert sync.error == "The provider did not answer."
    assert sync.finished_at is not None
    link.refresh_from_db()
    assert link.last_synced_at is None
    # And the next request is a new one.
    syncs.request(user=link.user)
    assert Sync.objects.filter(finished_at=None).count() == 1


def test_a_wrong_web_api_key_is_not_an_empty_profile(
    steam: Stand, link: Link, settings: Any
) -> None:
    settings.STEAM_API_KEY = "wrong"
    assert syncs.run_due() == 0
    link.refresh_from_db()
    assert link.profile == {}


def test_pressed_again_it_waits_a_minute(steam: Stand, link: Link) -> None:
    assert syncs.run_due() == 1
    (sync,) = syncs.request(user=link.user)
    assert sync.due_at is not None
    link.refresh_from_db()
    assert link.last_synced_at is not None
    assert sync.due_at == link.last_synced_at + syncs.APART
    assert syncs.run_due() == 0


def test_unlinked_while_it_runs(steam: Stand, link: Link) -> None:
    claimed = syncs._claim()
    assert claimed is not None
    linking.unlink(user=link.user, provider="steam")
    assert syncs._close(claimed, found={}) is False
    assert not Sync.objects.exists()


def test_x_is_looked_at_with_its_token(x: Stand, alice: User) -> None:
    link = _link(alice, x)
    assert syncs.run_due() == 1
    link.refresh_from_db()
    assert link.profile == {
        "username": "dev",
        "name": "Some Body",
        "profile_url": "https://x.com/dev",
    }


def test_a_token_that_x_refuses_early_is_renewed(x: Stand, alice: User) -> None:
    link = _link(alice, x)
    x.knobs(refused=[linking.token(user=alice, provider="x").token])
    assert syncs.run_due() == 0
    Sync.objects.update(due_at=timezone.now())
    assert syncs.run_due() == 1
    assert x.seen("grant refresh_token") == 1
    link.refresh_from_db()
    assert link.is_active


def test_consent_that_is_gone_ends_the_run_and_says_so(x: Stand, alice: User) -> None:
    link = _link(alice, x)
    tokens = link_tokens.unseal(link)
    assert tokens is not None
    link_tokens.revoke("x", tokens)
    Link.objects.update(expires_at=timezone.now())
    assert syncs.run_due() == 1
    (said,) = bearer(alice).get(f"{HERE}/links").json()["links"]
    assert said["is_active"] is False
    assert said["sync"]["error"] == "X asks you to connect your account again."
    # Nothing is left that could be asked.
    assert bearer(alice).post(f"{HERE}/sync").status_code == 404


def test_old_runs_are_forgotten(link: Link) -> None:
    assert syncs.run_due() == 1
    assert syncs.forget_old() == 0
    Sync.objects.update(finished_at=timezone.now() - timedelta(days=91))
    assert syncs.forget_old() == 1

"""Races for the same state, the same Steam account and the same refresh token."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from accounts.links import linking, syncs
from accounts.models import Link, Mail, SecurityEvent, Sync, User
from tests.linking.conftest import Stand, bearer, begin, come_back
from tests.linking.test_x import _grow_old, _link
from tests.rules.accounts.test_races import at_once, of

pytestmark = pytest.mark.django_db(transaction=True)


def test_of_eight_callbacks_with_one_state_one_links(steam: Stand, alice: User) -> None:
    for turn in range(1, 6):
        client = bearer(alice)
        back = steam.visit(begin(client, "steam"))
        answers = at_once(8, partial(_status, client, back))
        assert sorted(answers) == [302] + [400] * 7
        # Steam got one request.
        assert steam.seen("POST /openid/login") == turn
        linking.unlink(user=alice, provider="steam")
    assert SecurityEvent.objects.filter(kind="account_linked").count() == 5


def test_of_two_users_with_one_steam_account_one_links_it(
    steam: Stand, alice: User, bob: User
) -> None:
    for turn in range(10):
        steam.knobs(steam_id=f"{76561197960287930 + turn}")
        ways = []
        for user in (alice, bob):
            client = bearer(user)
            ways.append(partial(_status, client, steam.visit(begin(client, "steam"))))
        each = iter(ways)
        answers = at_once(2, partial(_next, each))
        assert sorted(answers) == [302, 409], answers
        link = Link.objects.get()
        linking.unlink(user=link.user, provider="steam")
    assert steam.seen("valid") == 20


def test_two_tabs_of_one_user_make_one_link(steam: Stand, alice: User) -> None:
    for turn in range(1, 6):
        client = bearer(alice)
        ways = iter(
            [
                partial(_status, client, steam.visit(begin(client, "steam")))
                for _ in range(2)
            ]
        )
        assert at_once(2, partial(_next, ways)) == [302, 302]
        assert Link.objects.count() == 1
        assert Mail.objects.filter(subject__contains="Steam").count() == turn
        linking.unlink(user=alice, provider="steam")


def test_of_eight_requests_for_the_token_one_renews_it(x: Stand, alice: User) -> None:
    link = _link(alice, x)
    x.knobs(slow=0.3)
    for turn in range(1, 6):
        _grow_old(link)
        outcomes = at_once(8, partial(linking.token, user=alice, provider="x"))
        assert len(of(linking.ProviderToken, outcomes)) == 8, outcomes
        assert len({outcome.token for outcome in outcomes}) == 1
        assert x.seen("grant refresh_token") == turn
    assert x.seen("refused") == 0
    assert linking.token(user=alice, provider="x")


def test_a_token_renewed_during_unlinking_is_revoked(x: Stand, alice: User) -> None:
    link = _link(alice, x)
    x.knobs(slow=0.5)
    _grow_old(link)
    acts = iter(
        [
            partial(linking.token, user=alice, provider="x"),
            partial(_unlink_while_renewing, alice),
        ]
    )
    outcomes = at_once(2, partial(_next, acts))
    assert len(of(linking.NotLinked, outcomes)) == 1, outcomes
    assert not Link.objects.exists()
    # Unlinking revoked the old access token; the renewing thread revoked the two new
    # ones.
    assert x.seen("revoked") == 3


def _unlink_while_renewing(user: User) -> Any:
    from tests.processes import until

    until(lambda: Link.objects.filter(renewing_until__isnull=False).exists())
    return linking.unlink(user=user, provider="x")


def test_eight_requests_make_one_sync(steam: Stand, alice: User) -> None:
    client = bearer(alice)
    come_back(client, steam.visit(begin(client, "steam")))
    Sync.objects.all().delete()
    outcomes = at_once(8, partial(syncs.request, user=alice))
    assert all(len(outcome) == 1 for outcome in outcomes), outcomes
    assert Sync.objects.count() == 1


def test_four_workers_run_a_sync_once(steam: Stand, alice: User, settings: Any) -> None:
    settings.STEAM_API_KEY = "the web api key"
    client = bearer(alice)
    come_back(client, steam.visit(begin(client, "steam")))
    done = at_once(4, syncs.run_due)
    assert sorted(done) == [0, 0, 0, 1]
    assert steam.seen("GET /ISteamUser/GetPlayerSummaries/v2/") == 1


def _status(client: Any, back: str) -> int:
    return int(come_back(client, back).status_code)


def _next(acts: Iterator[Any]) -> Any:
    return next(acts)()

"""The networks that tokens and keys are used from: each new one is mailed once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.audit import Visitor
from accounts.credentials import networks, tokens, user_keys
from accounts.credentials.principals import TokenEnded
from accounts.models import Mail, PersonalAccessToken, SecurityEvent, User
from tests.counting import statements
from tests.rules.accounts.test_races import at_once, of

HOME = Visitor(ip="203.0.113.9")
TOKEN = "Your access token was used from a new network"
KEY = "Your API key was used from a new network"

Find = Callable[..., Any]


@pytest.fixture(params=["token", "key"])
def made(request: Any, alice: User) -> tuple[Find, Any, str]:
    """A secret of each kind made at HOME: its lookup, its row and its mail."""
    if request.param == "token":
        token = tokens.issue(user=alice, name="x", scopes=[], visitor=HOME)
        return partial(tokens.find, secret=token.secret), token.token, TOKEN
    key = user_keys.issue(user=alice, name="x", visitor=HOME)
    return partial(user_keys.find, secret=key.secret), key.key, KEY


def told() -> list[str]:
    letters = Mail.objects.filter(subject__contains="network").order_by("pk")
    return [mail.body.partition(" was used from ")[2].split()[0] for mail in letters]


@pytest.mark.django_db
def test_a_use_from_the_network_of_creation_sends_no_mail(
    made: tuple[Find, Any, str],
) -> None:
    find, row, _ = made
    for last in (9, 1, 254):
        find(visitor=Visitor(ip=f"203.0.113.{last}"))
    find(visitor=Visitor())
    row.refresh_from_db()
    assert (told(), row.networks) == ([], ["203.0.113.0/24"])


@pytest.mark.django_db
def test_each_new_network_is_mailed_once(made: tuple[Find, Any, str]) -> None:
    find, row, subject = made
    elsewhere = ["198.51.100.7", "2001:db8:1:2::3", "203.0.112.9"]
    for ip in [*elsewhere, "198.51.100.99", "2001:db8:1:ffff::1", *elsewhere]:
        find(visitor=Visitor(ip=ip))
    assert told() == ["198.51.100.0/24", "2001:db8:1::/48", "203.0.112.0/24"]
    letter = Mail.objects.filter(subject=subject).earliest("pk")
    assert letter.to == "alice@example.com"
    assert str(row) in letter.body
    assert "from 198.51.100.7.\n" in letter.body
    event = SecurityEvent.objects.filter(kind="used_from_new_network").earliest("pk")
    assert event.facts == {"credential_id": str(row.pk), "network": "198.51.100.0/24"}
    assert (event.user, event.ip) == (row.user, "198.51.100.7")


@pytest.mark.django_db
def test_a_use_from_a_known_network_costs_no_extra_query(
    made: tuple[Find, Any, str],
) -> None:
    find, _, _ = made
    away = Visitor(ip="198.51.100.7")
    find(visitor=away)
    for visitor in (HOME, away):
        with statements() as asked:
            find(visitor=visitor)
        assert len(asked) == 1


@pytest.mark.django_db
def test_an_older_secret_records_the_network_of_its_next_use_without_a_mail(
    made: tuple[Find, Any, str],
) -> None:
    find, row, _ = made
    type(row).objects.update(networks=None)
    find(visitor=Visitor(ip="198.51.100.7"))
    assert told() == []
    find(visitor=HOME)
    assert told() == ["203.0.113.0/24"]


@pytest.mark.django_db
def test_a_secret_made_without_an_address_mails_its_first_use(alice: User) -> None:
    issued = tokens.issue(user=alice, name="x", scopes=[])
    tokens.find(secret=issued.secret, visitor=HOME)
    assert told() == ["203.0.113.0/24"]


@pytest.mark.django_db
def test_the_mail_about_the_last_recorded_network_says_so(
    made: tuple[Find, Any, str],
) -> None:
    find, row, subject = made
    for number in range(networks.MOST + 10):
        find(visitor=Visitor(ip=f"10.0.{number}.1"))
    row.refresh_from_db()
    assert len(row.networks) == networks.MOST
    letters = Mail.objects.filter(subject=subject).order_by("pk")
    assert letters.count() == networks.MOST - 1
    assert ["get no more emails" in it.body for it in letters].count(True) == 1
    assert "get no more emails" in letters[networks.MOST - 2].body


@pytest.mark.django_db
def test_a_successor_inherits_the_known_networks(alice: User) -> None:
    old = tokens.issue(user=alice, name="x", scopes=[], visitor=HOME)
    tokens.find(secret=old.secret, visitor=Visitor(ip="198.51.100.7"))
    issued = tokens.rotate(
        user=alice, token_id=old.token.pk, visitor=Visitor(ip="192.0.2.1")
    )
    for ip in ("198.51.100.7", "203.0.113.1", "192.0.2.1"):
        tokens.find(secret=issued.secret, visitor=Visitor(ip=ip))
    assert told() == ["198.51.100.0/24"]


@pytest.mark.django_db
def test_a_refused_secret_records_no_network(alice: User) -> None:
    issued = tokens.issue(user=alice, name="x", scopes=[], visitor=HOME)
    tokens.revoke(user=alice, token_id=issued.token.pk)
    with pytest.raises(TokenEnded):
        tokens.find(secret=issued.secret, visitor=Visitor(ip="198.51.100.7"))
    assert told() == []


@pytest.mark.django_db
def test_an_api_request_records_its_network(alice: User) -> None:
    token = tokens.issue(user=alice, name="x", scopes=["wallet:read"], visitor=HOME)
    key = user_keys.issue(user=alice, name="x", visitor=HOME)
    bearer = APIClient(headers={"Authorization": f"Bearer {token.secret}"})
    server = APIClient(headers={"X-Api-Key": key.secret})
    for client, path in ((bearer, "/api/wallet"), (server, "/v1/auth/me")):
        assert client.get(path, REMOTE_ADDR="198.51.100.7").status_code == 200
    assert told() == ["198.51.100.0/24"] * 2


@pytest.mark.django_db(transaction=True)
def test_eight_concurrent_first_uses_send_one_mail(alice: User) -> None:
    issued = tokens.issue(user=alice, name="x", scopes=[], visitor=HOME)
    for turn in range(1, 6):
        away = Visitor(ip=f"198.51.{turn}.7")
        use = partial(tokens.find, secret=issued.secret, visitor=away)
        outcomes = at_once(8, use)
        assert len(of(PersonalAccessToken, outcomes)) == 8, outcomes
        assert len(told()) == turn

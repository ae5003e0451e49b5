"""Link an X account; renew its token after expiry and revoke it on unlinking."""

from datetime import timedelta
from urllib.parse import urlencode, urlsplit

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import sealed
from accounts.links import linking
from accounts.links import tokens as link_tokens
from accounts.models import Link, User
from accounts.providers.outbound import ServiceDown
from tests.linking.conftest import (
    HERE,
    Stand,
    bearer,
    begin,
    browser,
    come_back,
    query_of,
)

pytestmark = pytest.mark.django_db


def _link(user: User, x: Stand) -> Link:
    client = bearer(user)
    answer = come_back(client, x.visit(begin(client, "x")))
    assert (answer.status_code, answer["Location"]) == (302, "/security?linked=x#links")
    return Link.objects.get(user=user, provider="x")


def _grow_old(link: Link) -> None:
    Link.objects.filter(pk=link.pk).update(expires_at=timezone.now())


def test_a_browser_links_an_account(x: Stand, alice: User) -> None:
    client = browser(alice)
    url = begin(client, "x")
    asked = query_of(url)
    assert set(asked) == {
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "code_challenge",
        "code_challenge_method",
    }
    assert asked["redirect_uri"] == (
        "http://localhost:8000/api/v2/accounts/oauth/x/callback"
    )
    answer = come_back(client, x.visit(url))
    assert answer["Location"] == "/security?linked=x#links"
    link = Link.objects.get()
    assert (link.subject, link.username) == ("2244994945", "dev")
    assert link.scopes == ["tweet.read", "users.read", "offline.access"]
    assert link.expires_at is not None
    (said,) = client.get(f"{HERE}/links").json()["links"]
    assert said["platform_username"] == "dev"
    assert said["expires_at"] is not None
    # No token is in an API answer, nor in plain text in the row.
    token = linking.token(user=alice, provider="x")
    assert token.scopes == link.scopes
    assert token.token not in str(said)
    assert token.token.encode() not in bytes(link.sealed_tokens or b"")
    assert token.token not in repr(token)


def test_without_a_client_id_x_is_not_offered(
    alice: User, as_stranger: APIClient
) -> None:
    listed = as_stranger.get(f"{HERE}/providers").json()["providers"]
    assert "x" not in [one["id"] for one in listed]
    assert bearer(alice).get(f"{HERE}/oauth/x").status_code == 404


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"code": "forged"}, "LINK_NOT_PROVEN"),
        ({"code": ""}, "LINK_NOT_PROVEN"),
        ({"state": "x" * 43}, "INVALID_STATE"),
        ({"error": "access_denied"}, "ACCESS_DENIED"),
        ({"error": "<script>"}, "ACCESS_DENIED"),
    ],
)
def test_a_forged_answer_links_nothing(
    x: Stand, alice: User, change: dict[str, str], code: str
) -> None:
    client = bearer(alice)
    back = x.visit(begin(client, "x"))
    query = urlencode({**query_of(back), **change})
    answer = come_back(client, urlsplit(back)._replace(query=query).geturl())
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code
    assert "script" not in answer.content.decode()
    assert not Link.objects.exists()


def test_a_repeated_code_parameter_is_refused(x: Stand, alice: User) -> None:
    client = bearer(alice)
    back = x.visit(begin(client, "x"))
    answer = come_back(client, f"{back}&code=another")
    assert answer.json()["error"]["code"] == "LINK_NOT_PROVEN"


def test_a_stolen_code_fails_in_another_attempt(
    x: Stand, alice: User, bob: User
) -> None:
    """PKCE: bob's verifier does not match the challenge of alice's browser."""
    stolen = query_of(x.visit(begin(bearer(alice), "x")))["code"]
    thief = bearer(bob)
    back = x.visit(begin(thief, "x"))
    query = urlencode({**query_of(back), "code": stolen})
    answer = come_back(thief, urlsplit(back)._replace(query=query).geturl())
    assert answer.json()["error"]["code"] == "LINK_NOT_PROVEN"
    assert x.seen("refused") == 1
    assert not Link.objects.exists()


def test_our_own_wrong_client_secret_ends_no_consent(
    x: Stand, alice: User, settings: object
) -> None:
    link = _link(alice, x)
    _grow_old(link)
    settings.X_CLIENT_SECRET = "wrong"  # type: ignore[attr-defined]
    with pytest.raises(ServiceDown):
        linking.token(user=alice, provider="x")
    link.refresh_from_db()
    assert (link.is_active, link.renewing_until) == (True, None)


def test_a_token_is_renewed_after_its_expiry(x: Stand, alice: User) -> None:
    link = _link(alice, x)
    first = linking.token(user=alice, provider="x")
    assert linking.token(user=alice, provider="x") == first
    assert x.seen("grant refresh_token") == 0
    for turn in (1, 2, 3):
        # Each renewal uses the previous refresh token: X accepts each one once.
        _grow_old(link)
        renewed = linking.token(user=alice, provider="x")
        assert renewed.token != first.token
        assert renewed.expires_at is not None
        assert renewed.expires_at > timezone.now() + timedelta(hours=1)
        assert x.seen("grant refresh_token") == turn
    link.refresh_from_db()
    assert link.renewing_until is None


def test_a_rejected_refresh_token_needs_the_users_consent(
    x: Stand, alice: User
) -> None:
    link = _link(alice, x)
    tokens = link_tokens.unseal(link)
    assert tokens is not None
    link_tokens.revoke("x", tokens)
    _grow_old(link)
    for _ in range(3):
        with pytest.raises(linking.ReconnectRequired) as refusal:
            linking.token(user=alice, provider="x")
    assert refusal.value.facts == {
        "reconnect_url": "http://localhost:8000/security#links"
    }
    # X gets no further request.
    assert x.seen("grant refresh_token") == 1
    (said,) = bearer(alice).get(f"{HERE}/links").json()["links"]
    assert said["is_active"] is False
    # After linking it again, the token works.
    assert _link(alice, x).pk == link.pk
    assert linking.token(user=alice, provider="x").token


def test_without_a_refresh_token_an_expired_token_needs_consent(
    x: Stand, alice: User
) -> None:
    x.knobs(no_refresh=True)
    link = _link(alice, x)
    assert linking.token(user=alice, provider="x").token
    _grow_old(link)
    with pytest.raises(linking.ReconnectRequired):
        linking.token(user=alice, provider="x")


def test_an_outage_of_x_changes_nothing(x: Stand, alice: User) -> None:
    link = _link(alice, x)
    _grow_old(link)
    x.knobs(down=True)
    with pytest.raises(ServiceDown):
        linking.token(user=alice, provider="x")
    x.knobs(down=False)
    assert linking.token(user=alice, provider="x").token


def test_after_a_killed_renewal_the_lease_expires(x: Stand, alice: User) -> None:
    link = _link(alice, x)
    _grow_old(link)
    Link.objects.update(renewing_until=timezone.now() - timedelta(seconds=1))
    assert linking.token(user=alice, provider="x").token


def test_a_lost_sealing_key_needs_the_users_consent(x: Stand, alice: User) -> None:
    link = _link(alice, x)
    link.sealed_tokens = sealed.seal(b"{}", purpose="something else")
    link.save()
    with pytest.raises(linking.ReconnectRequired):
        linking.token(user=alice, provider="x")


def test_without_a_link_there_is_no_token(x: Stand, alice: User, bob: User) -> None:
    _link(alice, x)
    for user, provider in ((bob, "x"), (alice, "steam"), (alice, "nonsense")):
        with pytest.raises(linking.NotLinked):
            linking.token(user=user, provider=provider)


def test_unlinking_revokes_the_tokens(x: Stand, alice: User) -> None:
    _link(alice, x)
    client = bearer(alice)
    answer = client.delete(f"{HERE}/links/x")
    assert answer.json() == {"success": True, "provider": "x"}
    assert x.seen("revoked") == 2
    assert not Link.objects.exists()
    assert client.delete(f"{HERE}/links/x").status_code == 404


def test_unlinking_works_during_an_outage_of_x(x: Stand, alice: User) -> None:
    _link(alice, x)
    x.knobs(down=True)
    assert bearer(alice).delete(f"{HERE}/links/x").status_code == 200
    assert not Link.objects.exists()


def test_the_focus_guides_endpoint_returns_the_linked_token(
    x: Stand, alice: User
) -> None:
    _link(alice, x)
    token = linking.token(user=alice, provider="x")
    for path in ("/api/xToken", "/api/oauthToken/x"):
        said = bearer(alice).get(path).json()
        assert (said["provider"], said["token"]) == ("x", token.token)
        assert said["scopes"] == token.scopes
    Link.objects.update(is_active=False)
    answer = bearer(alice).get("/api/xToken")
    assert answer.status_code == 409
    assert answer.json()["error"] == "reconnect_required"
    assert answer.json()["reconnect_url"] == "http://localhost:8000/security#links"

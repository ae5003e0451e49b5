"""The Clerk stub follows Clerk's protocol, which other tests rely on."""

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jwt
import pytest

from tests.clerk import GONE, ISSUER, Clerk


def ask(clerk: Clerk, path: str, secret: str | None = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {secret or clerk.secret_key}"}
    try:
        with urlopen(Request(clerk.base + path, headers=headers), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refused:
        return refused.code, json.load(refused)


def test_the_published_keys_verify_its_tokens(clerk: Clerk):
    for _ in range(3):
        key = jwt.PyJWKClient(clerk.jwks_url, cache_keys=False)
        token = clerk.token()
        found = key.get_signing_key_from_jwt(token)
        claims = jwt.decode(token, found, algorithms=["RS256"], issuer=ISSUER)
        assert claims["sub"] == "user_2ann"
        assert set(claims) >= {"azp", "exp", "iat", "iss", "nbf", "sid", "sts", "v"}
        clerk.rotate()
        # The old key is no longer published.
        with pytest.raises(jwt.PyJWKClientError):
            jwt.PyJWKClient(clerk.jwks_url).get_signing_key_from_jwt(token)


def test_a_claim_can_be_left_out(clerk: Clerk):
    claims = jwt.decode(clerk.token(azp=GONE), options={"verify_signature": False})
    assert "azp" not in claims


def test_users_need_the_secret_key(clerk: Clerk):
    clerk.knows("user_1", ("a@example.com", "verified"), ("b@example.com", "expired"))
    status, said = ask(clerk, "/v1/users/user_1")
    assert status == 200
    assert said["primary_email_address_id"] == said["email_addresses"][0]["id"]
    assert said["email_addresses"][1]["verification"]["status"] == "expired"
    assert ask(clerk, "/v1/users/user_1", "sk_test_wrong")[0] == 401
    status, said = ask(clerk, "/v1/users/user_2")
    assert (status, said["errors"][0]["code"]) == (404, "resource_not_found")


def test_linked_tokens_are_a_list_or_a_page(clerk: Clerk):
    clerk.knows("user_1")
    clerk.linked("user_1", "x", [{"token": "t"}])
    path = "/v1/users/user_1/oauth_access_tokens/oauth_x"
    assert ask(clerk, path) == (200, [{"token": "t"}])
    page = {"data": [{"token": "t"}], "total_count": 1}
    assert ask(clerk, f"{path}?paginated=true") == (200, page)
    clerk.linked("user_1", "x", "oauth_missing_refresh_token")
    status, said = ask(clerk, path)
    assert (status, said["errors"][0]["code"]) == (422, "oauth_missing_refresh_token")


def test_x_knows_only_the_users_that_a_test_has_set(clerk: Clerk):
    clerk.x_knows("t", {"data": {"id": "1"}})
    assert ask(clerk, "/2/users/me", "t") == (200, {"data": {"id": "1"}})
    assert ask(clerk, "/2/users/me", "u")[0] == 401


def test_it_fails_as_configured_and_resets(clerk: Clerk):
    clerk.knows("user_1")
    clerk.mode(jwks="down", api="empty")
    assert ask(clerk, "/.well-known/jwks.json")[0] == 503
    assert ask(clerk, "/v1/users/user_1") == (200, {"keys": []})
    assert len(clerk.asked()) == 2
    clerk.reset()
    assert clerk.asked() == []
    assert ask(clerk, "/.well-known/jwks.json")[0] == 200
    assert ask(clerk, "/v1/users/user_1")[0] == 404

"""Cosmiv guide, "Authentication" and "Authentication API"."""

from typing import Any
from urllib.parse import urlencode

import jwt as pyjwt
import pytest
from rest_framework.test import APIClient

from accounts.models import Session, User
from accounts.signin import closing
from tests.counting import statements

REGISTER = "/api/auth/register"
LOGIN = "/api/auth/login"
REFRESH = "/api/auth/refresh"
FORM = "application/x-www-form-urlencoded"
EVE = {"email": "user@example.com", "password": "SecurePassword123!"}


def send(client: APIClient, path: str, body: dict[str, str], how: str) -> Any:
    if how == "urlencoded":
        return client.post(path, urlencode(body), content_type=FORM)
    return client.post(path, body, format=how)


@pytest.mark.parametrize("how", ["json", "urlencoded", "multipart"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_register_log_in_and_refresh(
    as_stranger: APIClient, how: str, slash: str
) -> None:
    answer = send(as_stranger, REGISTER + slash, EVE, how)
    assert answer.status_code == 201
    body = answer.json()
    user = User.objects.get()
    assert body == {
        "access_token": body["access_token"],
        "refresh_token": body["refresh_token"],
        "token_type": "bearer",
        "user_id": str(user.pk),
        "user": {
            "user_id": str(user.pk),
            "username": "user",
            "email": "user@example.com",
            "is_active": True,
        },
    }
    assert answer["Cache-Control"] == "no-store"
    assert answer["Content-Type"] == "application/json"
    assert "Set-Cookie" not in answer

    answer = send(as_stranger, LOGIN + slash, EVE, how)
    assert answer.status_code == 200
    assert set(answer.json()) == set(body)
    assert answer.json()["user"] == body["user"]
    assert answer.json()["user_id"] == str(user.pk)
    assert answer["Cache-Control"] == "no-store"

    payload = {"refresh_token": answer.json()["refresh_token"]}
    answer = send(as_stranger, REFRESH + slash, payload, how)
    assert answer.status_code == 200
    assert set(answer.json()) == set(body)
    assert answer.json()["user"] == body["user"]
    assert answer.json()["user_id"] == str(user.pk)
    assert answer["Cache-Control"] == "no-store"


def test_the_guide_s_own_sample_password(as_stranger: APIClient) -> None:
    for email, password in [("a@x.org", "password123"), ("b@x.org", "Test123!")]:
        said = {"email": email, "password": password}
        assert as_stranger.post(REGISTER, said).status_code == 201
        assert as_stranger.post(LOGIN, said).status_code == 200


def test_an_access_token_is_a_jwt_of_a_day(as_stranger: APIClient) -> None:
    token = as_stranger.post(REGISTER, EVE).json()["access_token"]
    claims = pyjwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 24 * 3600
    assert claims["amr"] == ["pwd"]
    # It authenticates as a bearer token.
    as_stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert as_stranger.get("/api/tokens").status_code == 200


def test_login_by_username_or_email(as_stranger: APIClient) -> None:
    as_stranger.post(REGISTER, EVE)
    said = {"username_or_email": "USER@Example.com", "password": EVE["password"]}
    assert as_stranger.post(LOGIN, said).status_code == 200
    both = {**said, "email": EVE["email"], "remember": True}
    assert as_stranger.post(LOGIN, both).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "SecurePassword123?"},
        {"email": "unknown@example.com"},
        {"email": "no address"},
        {"password": "a" * 1024},
    ],
)
def test_bad_credentials(as_stranger: APIClient, wrong: dict[str, str]) -> None:
    as_stranger.post(REGISTER, EVE)
    answer = as_stranger.post(LOGIN, {**EVE, **wrong})
    assert answer.status_code == 401
    assert answer.json() == {
        "success": False,
        "error": {
            "code": "AUTHENTICATION_REQUIRED",
            "message": "The email or the password is wrong.",
            "data": {},
        },
    }
    assert answer["WWW-Authenticate"] == "Bearer"


def test_a_closed_account_reads_like_bad_credentials(as_stranger: APIClient) -> None:
    as_stranger.post(REGISTER, EVE)
    closing.close(user=User.objects.get(), actor="staff")
    answer = as_stranger.post(LOGIN, EVE)
    assert answer.status_code == 401
    assert answer.json()["error"]["message"] == "The email or the password is wrong."


def test_a_taken_email(as_stranger: APIClient) -> None:
    as_stranger.post(REGISTER, EVE)
    answer = as_stranger.post(REGISTER, {**EVE, "email": "User@Example.com"})
    assert answer.status_code == 400
    assert answer.json() == {
        "success": False,
        "error": {
            "code": "VALIDATION_ERROR",
            "message": "email: An account with this email already exists.",
            "data": {"email": ["An account with this email already exists."]},
        },
    }
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"email", "password"}),
        ({"email": "user@example.com"}, {"password"}),
        ({"email": "nonsense", "password": "SecurePassword123!"}, {"email"}),
        ({"email": "user@example.com", "password": "short"}, {"password"}),
        ({"email": "user@example.com", "password": 12345678.5}, {"password"}),
        ({"email": ["user@example.com"], "password": "x" * 8}, {"email"}),
        ({"email": None, "password": None}, {"email", "password"}),
        (
            {"email": "e" * 300 + "@x.org", "password": "x" * 1025},
            {"email", "password"},
        ),
    ],
)
def test_invalid_registrations(
    as_stranger: APIClient, body: dict[str, Any], fields: set[str]
) -> None:
    answer = as_stranger.post(REGISTER, body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert answer.json()["success"] is False
    assert error["code"] == "VALIDATION_ERROR"
    assert set(error["data"]) == fields
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("path", "body", "missing"),
    [
        (LOGIN, {}, {"password"}),
        (LOGIN, {"password": "x"}, {"email"}),
        (REFRESH, {}, {"refresh_token"}),
        (REFRESH, {"refresh_token": ""}, {"refresh_token"}),
    ],
)
def test_a_missing_field_is_named(
    as_stranger: APIClient, path: str, body: dict[str, str], missing: set[str]
) -> None:
    answer = as_stranger.post(path, body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]["data"]) == missing


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b"\xff", b'{"email":"a\\u0000b","password":"x"}']
)
def test_bodies_that_are_not_json_objects(as_stranger: APIClient, body: bytes) -> None:
    for path in (REGISTER, LOGIN, REFRESH):
        answer = as_stranger.post(path, body, content_type="application/json")
        assert answer.status_code == 400
        assert answer.json()["success"] is False


@pytest.mark.parametrize("how", ["json", "urlencoded", "multipart"])
def test_a_nul_in_a_field_is_bad_input(as_stranger: APIClient, how: str) -> None:
    for path in (REGISTER, LOGIN):
        body = {"email": "a\x00@example.com", "password": "with\x00nul!"}
        assert send(as_stranger, path, body, how).status_code == 400


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "", "é" * 40])
def test_an_invalid_refresh_token_is_refused(
    as_stranger: APIClient, token: str
) -> None:
    with statements() as queries:
        answer = as_stranger.post(REFRESH, {"refresh_token": token})
    assert answer.status_code == (401 if token else 400)
    assert len(queries) == 0


def test_refreshing_follows_the_newest_token(as_stranger: APIClient) -> None:
    first = as_stranger.post(REGISTER, EVE).json()
    second = as_stranger.post(REFRESH, {"refresh_token": first["refresh_token"]}).json()
    again = as_stranger.post(REFRESH, {"refresh_token": first["refresh_token"]})
    assert again.status_code == 200
    third = as_stranger.post(REFRESH, {"refresh_token": second["refresh_token"]})
    assert third.status_code == 200


def test_a_stolen_refresh_token_ends_the_sign_in(as_stranger: APIClient) -> None:
    first = as_stranger.post(REGISTER, EVE).json()
    second = as_stranger.post(REFRESH, {"refresh_token": first["refresh_token"]}).json()
    third = as_stranger.post(REFRESH, {"refresh_token": second["refresh_token"]}).json()
    fourth = as_stranger.post(REFRESH, {"refresh_token": third["refresh_token"]}).json()
    answer = as_stranger.post(REFRESH, {"refresh_token": first["refresh_token"]})
    assert answer.status_code == 401
    assert answer.json() == {
        "success": False,
        "error": {
            "code": "AUTHENTICATION_REQUIRED",
            "message": "The token is invalid.",
            "data": {},
        },
    }
    # The revocation is committed although the answer is a refusal.
    assert Session.objects.get().revoked_at is not None
    answer = as_stranger.post(REFRESH, {"refresh_token": fourth["refresh_token"]})
    assert answer.status_code == 401
    as_stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {fourth['access_token']}")
    assert as_stranger.get("/api/tokens").status_code == 401


def test_an_expired_bearer_header_does_not_prevent_a_login(
    as_stranger: APIClient,
) -> None:
    as_stranger.post(REGISTER, EVE)
    as_stranger.credentials(HTTP_AUTHORIZATION="Bearer long.since.expired")
    assert as_stranger.post(LOGIN, EVE).status_code == 200


@pytest.mark.parametrize("path", [REGISTER, LOGIN, REFRESH])
def test_other_methods_and_types_are_refused_in_cosmivs_format(
    as_stranger: APIClient, path: str
) -> None:
    answer = as_stranger.get(path)
    assert answer.status_code == 405
    assert answer.json()["success"] is False
    answer = as_stranger.post(path, "<a/>", content_type="text/xml")
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "UNSUPPORTED_MEDIA_TYPE"

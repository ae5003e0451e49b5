"""Which wrong credentials count as guesses, and what still works after too many."""

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client
from rest_framework.test import APIClient

from accounts.credentials import app_keys, opaque, scopes, tokens
from accounts.models import App, User
from focus.limiting.limiter import process_limiter
from tests.contracts.probes import FOCUS, Dialect, every_dialect
from tests.contracts.test_rate_limits import LOGIN, left

pytestmark = [
    pytest.mark.urls("tests.contracts.probes"),
    pytest.mark.usefixtures("real_limits"),
    pytest.mark.django_db,
]


@pytest.fixture
def anyone() -> Client:
    return Client(raise_request_exception=False)


FORGED = pyjwt.encode(
    {"sub": "1", "iat": 1, "exp": 9_999_999_999},
    ec.generate_private_key(ec.SECP256R1()),
    algorithm="ES256",
    headers={"kid": "theirs", "typ": "at+jwt"},
)
WRONG = [
    f"Bearer {opaque.mint(opaque.PAT).text}",
    f"Bearer {opaque.mint(opaque.APP_KEY).text}",
    f"Bearer {FORGED}",
    f"bearer   {opaque.mint(opaque.PAT).text} ",
]
MALFORMED = [
    {"Authorization": header}
    for header in (
        "",
        "Bearer",
        "Bearer ",
        "Bearer null",
        "Bearer undefined",
        "Bearer  null",
        "Bearer nonsense",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer eyJhbGciOiJFUzI1NiJ9.e30",
        "Bearer focus_pat_malformed",
        "Bearer sk-tool-malformed",
        f"Bearer {opaque.mint(opaque.PAT).text[:-1]}-",
        f"Bearer {opaque.mint(opaque.USER_KEY).text}",
        f"Token {opaque.mint(opaque.PAT).text}",
        "Basic YWxpY2U6c2VjcmV0",
        "null",
        "Bearer Bearer null",
        "Bearer \u00fc",
    )
] + [{"X-Api-Key": key} for key in ("", "null", "undefined", "sk_live_x")]


@every_dialect
@pytest.mark.parametrize(
    "shown", MALFORMED, ids=[str(n) for n in range(len(MALFORMED))]
)
def test_a_malformed_credential_is_no_wrong_guess(
    anyone: Client, alice: User, dialect: Dialect, shown: dict[str, str]
) -> None:
    closed = dialect.path.rstrip("/") + "/closed"
    closed += "/" if dialect.path.endswith("/") else ""
    for n in range(12):
        answer = anyone.get(closed, headers=shown)
        assert (answer.status_code, left(answer)) == (401, (100, 99 - n))
    issued = tokens.issue(user=alice, name="new", scopes=scopes.DEFAULT)
    genuine = {"Authorization": f"Bearer {issued.secret}"}
    assert anyone.get("/api/tokens", headers=genuine).status_code == 200


def test_a_malformed_credential_is_401_also_after_too_many_guesses(
    anyone: Client,
) -> None:
    guess(anyone, 10)
    for shown in MALFORMED:
        assert anyone.get("/api/tokens", headers=shown).status_code == 401


def test_a_valid_jwt_and_a_registration_work_after_too_many_guesses(
    anyone: Client, alice: User
) -> None:
    guess(anyone, 10)
    new = {"email": "new@example.com", "password": "a password of mine"}
    signed_up = anyone.post("/api/auth/register", new)
    assert signed_up.status_code == 201
    bearer = {"Authorization": f"Bearer {signed_up.json()['access_token']}"}
    assert anyone.get("/v1/auth/me", headers=bearer).status_code == 200
    assert anyone.get("/api/wallet", headers=bearer).status_code == 200
    refresh = {"refresh_token": signed_up.json()["refresh_token"]}
    assert anyone.post("/api/auth/refresh", refresh).status_code == 200
    token = {"refresh": refresh["refresh_token"]}
    answer = anyone.post(
        "/api/auth/token/refresh/", token, content_type="application/json"
    )
    assert answer.status_code == 200
    forged = {"Authorization": f"Bearer {FORGED}"}
    assert anyone.get("/api/tokens", headers=forged).status_code == 429
    assert (
        anyone.post("/api/auth/refresh", {"refresh_token": FORGED}).status_code == 429
    )


def test_a_new_key_works_after_too_many_guesses(anyone: Client, alice: User) -> None:
    guess(anyone, 10)
    new = {"email": "new@example.com", "password": "a password of mine"}
    signed_up = anyone.post("/v1/auth/register", new, content_type="application/json")
    bearer = {"Authorization": f"Bearer {signed_up.json()['access_token']}"}
    made = anyone.post(
        "/v1/api-keys", {}, headers=bearer, content_type="application/json"
    ).json()
    assert (
        anyone.get("/v1/usage", headers={"X-Api-Key": made["key"]}).status_code == 200
    )


def test_a_valid_token_in_the_wrong_place_is_no_wrong_guess(
    anyone: Client, alice: User
) -> None:
    login = anyone.post("/api/auth/login", LOGIN).json()
    mixed_up = {"Authorization": f"Bearer {login['refresh_token']}"}
    for _ in range(11):
        assert anyone.get("/api/tokens", headers=mixed_up).status_code == 401
        wrong = {"refresh": login["access_token"]}
        answer = anyone.post(
            "/api/auth/token/refresh/", wrong, content_type="application/json"
        )
        assert answer.json()["error"]["code"] == "INVALID_REFRESH"
    assert anyone.post("/api/auth/login", LOGIN).status_code == 200


@pytest.mark.parametrize("sent", ["null", "undefined", "", "a.b.c"])
def test_a_malformed_refresh_token_is_no_wrong_guess(
    anyone: Client, alice: User, sent: str
) -> None:
    for _ in range(11):
        answer = anyone.post(
            "/api/auth/token/refresh/",
            {"refresh": sent},
            content_type="application/json",
        )
        assert answer.status_code == 400
    assert anyone.post("/api/auth/login", LOGIN).status_code == 200


def test_a_refused_guess_does_not_count(anyone: Client) -> None:
    guess(anyone, 10)
    forged = {"Authorization": f"Bearer {FORGED}"}
    for _ in range(5):
        assert anyone.get("/api/tokens", headers=forged).status_code == 429
    assert left(anyone.get(FOCUS.path)) == (100, 89)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("spaces", [" ", "   "])
def test_the_scheme_allows_any_case_and_any_number_of_spaces(
    anyone: Client, alice: User, scheme: str, spaces: str
) -> None:
    issued = tokens.issue(user=alice, name="new", scopes=scopes.DEFAULT)
    header = {"Authorization": f"{scheme}{spaces}{issued.secret} "}
    assert anyone.get("/api/tokens", headers=header).status_code == 200


def guess(anyone: Client, times: int) -> None:
    for n in range(times):
        wrong = {"Authorization": f"Bearer {opaque.mint(opaque.PAT).text}"}
        assert anyone.get("/api/tokens", headers=wrong).status_code == 401, n


@pytest.mark.parametrize("wrong", WRONG, ids=["pat", "key", "jwt", "spaces"])
def test_an_address_with_too_many_guesses_is_refused_before_the_lookup(
    anyone: Client, alice: User, as_bob: APIClient, wrong: str
) -> None:
    assert as_bob.get("/api/tokens").status_code == 200
    for guess in range(10):
        answer = anyone.get("/api/tokens", headers={"Authorization": wrong})
        assert answer.status_code == 401
        assert left(answer) == (10, 9 - guess)
    issued = tokens.issue(user=alice, name="new", scopes=scopes.DEFAULT)
    genuine = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
    refused = genuine.get("/api/tokens")
    assert (refused.status_code, left(refused)) == (429, (10, 0))
    assert 200 < int(refused["Retry-After"]) <= 300
    assert anyone.post("/api/auth/login", LOGIN).status_code == 429
    # A credential that was valid here within the hour still works, and so do requests
    # without one.
    assert as_bob.get("/api/tokens").status_code == 200
    process_limiter()._local._marks.clear()
    assert as_bob.get("/api/tokens").status_code == 200
    assert anyone.get("/api/tokens").status_code == 401
    # Another address has made no guess, so the credential is checked there.
    elsewhere = genuine.get("/api/tokens", REMOTE_ADDR="203.0.113.9")
    assert elsewhere.status_code == 200


def test_wrong_passwords_are_wrong_guesses(anyone: Client, alice: User) -> None:
    wrong = LOGIN | {"password": "a guess of mine"}
    answers = [anyone.post("/api/auth/login", wrong) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 6
    pages = [anyone.post("/signin", wrong) for _ in range(4)]
    assert [page.status_code for page in pages] == [400] * 4
    key = {"Authorization": WRONG[0]}
    assert anyone.get("/api/tokens", headers=key).status_code == 429


def test_a_once_valid_credential_is_no_wrong_guess(
    anyone: Client, alice: User, video: App
) -> None:
    pat = tokens.issue(user=alice, name="old", scopes=scopes.DEFAULT)
    tokens.revoke(user=alice, token_id=pat.token.pk)
    key = app_keys.issue(app=video, name="old")
    app_keys.revoke(key_id=key.key.pk)
    login = anyone.post("/api/auth/login", LOGIN).json()
    alice.is_active = False
    alice.save()
    for secret in (pat.secret, key.secret, login["access_token"]):
        bearer = {"Authorization": f"Bearer {secret}"}
        for _ in range(11):
            answer = anyone.get("/api/jobs", headers=bearer)
            assert answer.status_code == 401
            assert left(answer)[0] == 100
    # They count as normal requests.
    assert left(anyone.get(FOCUS.path)) == (100, 66)

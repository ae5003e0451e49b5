"""Cosmiv: usernames beside the email, and the accounts that they can open."""

from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from accounts.models import User
from accounts.signin import passwords, usernames
from tests.contracts.cosmiv.test_auth import LOGIN, REFRESH, REGISTER, send

pytestmark = pytest.mark.django_db
EVE = {"email": "eve@example.com", "password": "SecurePassword123!"}
WAYS = pytest.mark.parametrize("how", ["json", "urlencoded", "multipart"])


def names(answer: Any) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("user", {}).get("username")


@WAYS
@pytest.mark.parametrize("field", ["username", "username_or_email"])
def test_a_chosen_username_signs_in(
    as_stranger: APIClient, how: str, field: str
) -> None:
    answer = send(as_stranger, REGISTER, EVE | {"username": "Night Owl"}, how)
    assert names(answer) == (201, "Night Owl")
    for spelled in ("Night Owl", " night owl ", "ＮＩＧＨＴ OWL"):
        said = {field: spelled, "password": EVE["password"]}
        assert names(send(as_stranger, LOGIN, said, how)) == (200, "Night Owl")
    said = {"username": "eve@example.com", "password": EVE["password"]}
    login = send(as_stranger, LOGIN, said, how)
    assert names(login) == (200, "Night Owl")
    payload = {"refresh_token": login.json()["refresh_token"]}
    assert names(send(as_stranger, REFRESH, payload, how)) == (200, "Night Owl")


@WAYS
def test_a_default_username_is_the_part_before_the_at(
    as_stranger: APIClient, how: str
) -> None:
    assert names(send(as_stranger, REGISTER, EVE, how)) == (201, "eve")
    other = EVE | {"email": "EVE@example.org", "password": "another password"}
    status, name = names(send(as_stranger, REGISTER, other, how))
    assert status == 201
    assert name is not None
    assert name.startswith("EVE")
    assert name[3:].isdigit()
    for username, password in (("eve", EVE["password"]), (name, other["password"])):
        said = {"username": username, "password": password}
        assert names(send(as_stranger, LOGIN, said, how)) == (200, username)
    said = {"username": "eve", "password": other["password"]}
    assert send(as_stranger, LOGIN, said, how).status_code == 401


def test_a_username_equal_to_the_email_is_dropped(as_stranger: APIClient) -> None:
    said = EVE | {"username": "Eve@Example.com"}
    assert names(as_stranger.post(REGISTER, said)) == (201, "eve")
    login = {"username": "eve@example.com", "password": EVE["password"]}
    assert names(as_stranger.post(LOGIN, login)) == (200, "eve")


@pytest.mark.parametrize(
    "username",
    [
        "alice@example.com",
        "ALICE@EXAMPLE.COM",
        "alice＠example.com",
        "alice﹫example.com",
        "@",
        "   ",
        "\u200b",
        "a\u0007b",
        "x" * 151,
        "x" * 255,
        7,
        None,
        True,
        ["eve"],
        {},
    ],
    ids=repr,
)
def test_an_invalid_username_is_refused(
    as_stranger: APIClient, alice: User, username: Any
) -> None:
    answer = as_stranger.post(REGISTER, EVE | {"username": username})
    assert answer.status_code == 400
    assert set(answer.json()["error"]["data"]) == {"username"}
    assert User.objects.count() == 1


def test_an_email_opens_its_own_account_despite_an_equal_username(
    as_stranger: APIClient, alice: User
) -> None:
    mallory = passwords.register(email="m@example.com", password="a long password")
    # Stored directly, as if a later release skipped the check.
    User.objects.filter(pk=mallory.pk).update(
        username="alice@example.com", username_key="alice@example.com"
    )
    for field in ("email", "username", "username_or_email"):
        said = {field: "alice@example.com", "password": "a long password"}
        assert as_stranger.post(LOGIN, said).status_code == 401
        said["password"] = "alice's password"
        answer = as_stranger.post(LOGIN, said)
        assert answer.json()["user_id"] == str(alice.pk)


@pytest.mark.parametrize("again", ["eve", "EVE", "ｅｖｅ", " eve", "Eve"])
def test_a_taken_username(as_stranger: APIClient, again: str) -> None:
    as_stranger.post(REGISTER, EVE | {"username": "Eve"})
    other = {"email": "other@example.com", "password": "a long password"}
    answer = as_stranger.post(REGISTER, other | {"username": again})
    assert answer.status_code == 400
    data = answer.json()["error"]["data"]
    assert data == {"username": ["This username is taken."]}
    assert User.objects.count() == 1


def test_an_account_of_another_guide_gets_a_username_at_its_first_login(
    as_stranger: APIClient, alice: User
) -> None:
    login = {"username": "alice", "password": "alice's password"}
    answer = as_stranger.post(LOGIN, login)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["message"] == "The username or the password is wrong."
    by_email = {"email": "alice@example.com", "password": "alice's password"}
    assert names(as_stranger.post(LOGIN, by_email)) == (200, "alice")
    assert names(as_stranger.post(LOGIN, login)) == (200, "alice")


def test_an_account_without_an_email_is_not_opened_by_its_username(
    as_stranger: APIClient,
) -> None:
    as_stranger.post(REGISTER, EVE)
    User.objects.update(email=None)
    login = {"username": "eve", "password": EVE["password"]}
    assert as_stranger.post(LOGIN, login).status_code == 401


def test_the_me_endpoint_of_a_cosmiv_login_has_id_and_username(
    as_stranger: APIClient, alice: User
) -> None:
    answer = as_stranger.post(REGISTER, EVE | {"username": "Owl"}).json()
    cosmivs = {"Authorization": f"Bearer {answer['access_token']}"}
    with_slash = as_stranger.get("/api/auth/me/", headers=cosmivs)
    without = as_stranger.get("/api/auth/me", headers=cosmivs)
    assert (with_slash.status_code, without.status_code) == (200, 200)
    assert set(with_slash.json()) == {
        *("id", "email", "first_name", "last_name", "credit_balance", "created_at"),
        *("free_preview_used", "social_share_unlock_used"),
    }
    named = {"user_id": answer["user_id"], "username": "Owl"}
    assert without.json() == with_slash.json() | named
    said = {"email": "alice@example.com", "password": "alice's password"}
    other = as_stranger.post("/v1/auth/login", said).json()["access_token"]
    clipforges = {"Authorization": f"Bearer {other}"}
    assert "username" not in as_stranger.get("/api/auth/me", headers=clipforges).json()


@pytest.fixture
def racing(transactional_db: None) -> Any:
    def race(work: Any, count: int = 6) -> list[Any]:
        ready, done = Barrier(count), []

        def one(nth: int) -> None:
            ready.wait()
            try:
                done.append(work(nth))
            except usernames.UsernameTaken as taken:
                done.append(taken)
            finally:
                connection.close()

        threads = [Thread(target=one, args=(nth,)) for nth in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return done

    return race


def test_one_of_many_concurrent_requests_gets_a_username(racing: Any) -> None:
    done = racing(
        lambda nth: passwords.register(
            email=f"r{nth}@example.com", password="a long password", username="Prize"
        )
    )
    assert len([one for one in done if isinstance(one, User)]) == 1
    assert len(done) == 6
    assert User.objects.filter(username_key="prize").count() == 1


def test_many_with_one_default_username_all_get_one(racing: Any) -> None:
    done = racing(
        lambda nth: passwords.register(
            email=f"same@x{nth}.example.com", password="a long password"
        )
    )
    assert all(isinstance(one, User) for one in done)
    keys = set(User.objects.values_list("username_key", flat=True))
    assert len(keys) == 6
    assert "same" in keys


def test_two_first_logins_at_once_give_one_username(racing: Any, alice: User) -> None:
    done = racing(lambda nth: usernames.ensure(User.objects.get(pk=alice.pk)))
    assert set(done) == {"alice"}

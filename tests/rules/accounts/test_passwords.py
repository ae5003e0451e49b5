"""Registration and sign-in with a password, without revealing accounts."""

from collections.abc import Iterator
from unittest import mock

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, MD5PasswordHasher
from pytest_django import Settings

from accounts.models import SecurityEvent, User
from accounts.signin import closing, passwords


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("eve@example.com", "eve@example.com"),
        ("  Eve@Example.COM ", "Eve@example.com"),
        ("eve+tag@example.com", "eve+tag@example.com"),
        ("e.v.e@example.com", "e.v.e@example.com"),
        # NFKC: full-width letters are the letters they look like.
        ("\uff45\uff56\uff45\uff20example.com", "eve@example.com"),
        ("eve@\uff25XAMPLE.com", "eve@example.com"),
        ("eve@B\u00dccher.de", "eve@b\u00fccher.de"),
        ("eve@xn--bcher-kva.de", "eve@xn--bcher-kva.de"),
    ],
)
def test_emails_are_stored_normalised(db: None, typed: str, stored: str) -> None:
    user = passwords.register(email=typed, password="correct horse")
    assert user.email == stored
    assert passwords.authenticate(email=typed, password="correct horse") == user


@pytest.mark.parametrize(
    "email",
    [
        "",
        "eve",
        "eve@",
        "@example.com",
        "eve@example",
        "\u00e9ve@example.com",
        "\u0435ve@example.com",  # a Cyrillic e
        "a b@example.com",
        "eve@example.com\nbcc: x@y.org",
        "e" * 250 + "@example.com",
        "eve@exa\x00mple.com",
        "eve@stra\u00dfe.de",  # mail to it goes to strasse.de
    ],
)
def test_invalid_and_look_alike_addresses_are_refused(db: None, email: str) -> None:
    with pytest.raises(passwords.InvalidEmail):
        passwords.register(email=email, password="correct horse")
    with pytest.raises(passwords.InvalidCredentials):
        passwords.authenticate(email=email, password="correct horse")
    assert not User.objects.exists()


@pytest.mark.parametrize("again", ["eve@example.com", "EVE@EXAMPLE.COM"])
def test_capitals_do_not_make_an_address_another_account(db: None, again: str) -> None:
    passwords.register(email="Eve@example.com", password="correct horse")
    with pytest.raises(passwords.EmailTaken):
        passwords.register(email=again, password="another horse")
    assert User.objects.count() == 1
    # Dots and plus signs do, because they name other mailboxes at most providers.
    passwords.register(email="ev.e@example.com", password="correct horse")


@pytest.mark.parametrize("password", ["Test123!", "password123", "a" * 256, "        "])
def test_eight_characters_are_enough(db: None, password: str) -> None:
    user = passwords.register(email="eve@example.com", password=password)
    assert passwords.authenticate(email="eve@example.com", password=password) == user


@pytest.mark.parametrize(
    "password", ["", "Test12!", "a" * 257, "password", "12345678", "Eve@Example.com"]
)
def test_short_long_and_common_passwords_are_refused(db: None, password: str) -> None:
    with pytest.raises(passwords.WeakPassword):
        passwords.register(email="eve@example.com", password=password)
    assert not User.objects.exists()


def test_spaces_and_case_of_a_password_matter(db: None) -> None:
    passwords.register(email="eve@example.com", password=" with spaces ")
    for wrong in ("with spaces", "WITH SPACES", " with spaces"):
        with pytest.raises(passwords.InvalidCredentials):
            passwords.authenticate(email="eve@example.com", password=wrong)


def test_all_refusals_have_the_same_message(alice: User) -> None:
    closing.close(
        user=User.objects.create_user("gone@example.com", "pw"), actor="staff"
    )
    User.objects.create_user("keyless@example.com", None)
    said = set()
    for email in ("alice", "unknown", "gone", "keyless"):
        with pytest.raises(passwords.InvalidCredentials) as refusal:
            passwords.authenticate(email=f"{email}@example.com", password="wrong")
        said.add((refusal.value.message, str(refusal.value.facts)))
    with pytest.raises(passwords.InvalidCredentials) as refusal:
        passwords.authenticate(email="gone@example.com", password="pw")
    said.add((refusal.value.message, str(refusal.value.facts)))
    assert len(said) == 1


def test_a_failure_is_recorded_without_the_password(alice: User) -> None:
    with pytest.raises(passwords.InvalidCredentials):
        passwords.authenticate(email=str(alice.email), password="not this one")
    event = SecurityEvent.objects.get()
    assert (event.kind, event.user, event.facts) == ("sign_in_failed", alice, {})


class TestHashing:
    @pytest.fixture(autouse=True)
    def _argon2(self, settings: Settings) -> Iterator[None]:
        settings.PASSWORD_HASHERS = [
            "tests.rules.accounts.test_passwords.Argon2",
            "django.contrib.auth.hashers.MD5PasswordHasher",
        ]
        yield
        Argon2.runs = 0

    def test_it_is_argon2id(self, db: None) -> None:
        user = passwords.register(email="eve@example.com", password="correct horse")
        assert user.password.startswith("argon2$argon2id$")

    @pytest.mark.parametrize(
        "email", ["eve@example.com", "unknown@example.com", "keyless@example.com", "x"]
    )
    def test_a_refusal_costs_one_hash_for_every_kind_of_name(
        self, db: None, email: str
    ) -> None:
        passwords.register(email="eve@example.com", password="correct horse")
        User.objects.create_user("keyless@example.com", None)
        Argon2.runs = 0
        with pytest.raises(passwords.InvalidCredentials):
            passwords.authenticate(email=email, password="wrong horse")
        assert Argon2.runs == 1

    def test_a_too_long_password_is_cut_before_hashing(self, db: None) -> None:
        passwords.register(email="eve@example.com", password="a" * 256)
        with (
            mock.patch.object(Argon2, "verify", side_effect=Argon2().verify) as verify,
            pytest.raises(passwords.InvalidCredentials),
        ):
            passwords.authenticate(email="eve@example.com", password="a" * 10_000)
        assert all(len(call.args[0]) <= 256 for call in verify.call_args_list)

    def test_an_outdated_hash_is_renewed_at_sign_in(self, db: None) -> None:
        user = User.objects.create_user("eve@example.com", None)
        user.password = MD5PasswordHasher().encode("correct horse", "salt")
        user.save()
        passwords.authenticate(email="eve@example.com", password="correct horse")
        user.refresh_from_db()
        assert user.password.startswith("argon2$")


class Argon2(Argon2PasswordHasher):
    """The real hasher with a low cost, which counts its hashes."""

    time_cost, memory_cost, parallelism = 1, 8, 1
    runs = 0

    def encode(self, password: str, salt: str) -> str:
        Argon2.runs += 1
        return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        Argon2.runs += 1
        return super().verify(password, encoded)

    def must_update(self, encoded: str) -> bool:
        return False

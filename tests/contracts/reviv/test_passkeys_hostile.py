"""Attacks on passkeys: false origins, keys, counters, emails and nonces."""

import os
import struct
from typing import Any

import pytest
import redis
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import LazySettings
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.test import APIClient

from accounts import nonces
from accounts.models import Mail, Passkey, PasskeyOwner, SecurityEvent, Session, User
from accounts.signin import closing
from tests.ceremonies import (
    ADD,
    OPEN,
    SIGN_IN,
    add,
    begin,
    complete_sign_in,
    open_account,
    refused,
    sign_in,
    signed_in,
)
from tests.softauth import Authenticator, b64

FAILED = "REGISTRATION_FAILED"


@pytest.fixture
def key() -> Authenticator:
    return Authenticator()


@pytest.fixture
def alices(alice: User) -> APIClient:
    return signed_in(alice)


@pytest.fixture
def added(alices: APIClient, key: Authenticator) -> Authenticator:
    assert add(alices, key).status_code == 200
    return key


# The client data of pages that are not ours or are in a frame.
ELSEWHERE: list[dict[str, Any]] = [
    {"origin": "https://evil.example"},
    {"origin": "http://localhost:8001"},
    {"origin": "https://localhost:8000"},
    {"origin": "http://localhost:8000.evil.example"},
    {"origin": "http://localhost:8000/"},
    {"origin": None},
    {"origin": ["http://localhost:8000"]},
    {"crossOrigin": True},
    {"crossOrigin": "false"},
    {"crossOrigin": 1},
    {"topOrigin": "https://evil.example"},
    {"crossOrigin": False, "topOrigin": "http://localhost:8000"},
    {"challenge": b64(b"c" * 64)},
    {"challenge": ""},
    {"challenge": None},
    {"typ": "payment.get"},
]
elsewhere = pytest.mark.parametrize("said", ELSEWHERE, ids=str)


class TestRegistering:
    @elsewhere
    def test_an_answer_to_another_challenge_is_refused(
        self, alices: APIClient, key: Authenticator, said: dict[str, Any]
    ) -> None:
        options = begin(alices, ADD)
        sent = {
            "registration_id": options["registration_id"],
            "credential": key.create(options, **said),
        }
        assert refused(alices.post(f"{ADD}/complete/", sent)) == FAILED
        # The nonce is used up, so there is no second try.
        sent["credential"] = key.create(options)
        answer = alices.post(f"{ADD}/complete/", sent)
        assert refused(answer) == "REGISTRATION_MISSING"
        assert not Passkey.objects.exists()

    def test_a_sign_in_answer_does_not_register(
        self, alices: APIClient, key: Authenticator
    ) -> None:
        options = begin(alices, ADD)
        sent = {
            "registration_id": options["registration_id"],
            "credential": key.create(options, typ="webauthn.get"),
        }
        assert refused(alices.post(f"{ADD}/complete/", sent)) == FAILED

    @pytest.mark.parametrize(
        "bent",
        [
            {"rp_id": "evil.example"},
            {"rp_id": "sub.localhost"},
            {"be": False, "bs": True},
            {"credential_id": b""},
            {"credential_id": b"x" * 1024},
        ],
        ids=str,
    )
    def test_invalid_authenticator_data_is_refused(
        self, alices: APIClient, bent: dict[str, Any]
    ) -> None:
        assert refused(add(alices, Authenticator(**bent))) == FAILED
        assert not Passkey.objects.exists()

    def test_the_longest_credential_id_is_stored(self, alices: APIClient) -> None:
        longest = Authenticator(credential_id=os.urandom(1023))
        assert add(alices, longest).status_code == 200
        assert sign_in(longest).status_code == 200

    @pytest.mark.parametrize("weak", ["short", "long", "exponent", "curve", "off"])
    def test_weak_and_slow_keys_are_refused(
        self, alices: APIClient, key: Authenticator, weak: str
    ) -> None:
        options = begin(alices, ADD)
        sent = {
            "registration_id": options["registration_id"],
            "credential": key.create(options, cose=_weak(weak)),
        }
        assert refused(alices.post(f"{ADD}/complete/", sent)) == FAILED

    def test_an_id_other_than_the_attested_one_is_refused(
        self, alices: APIClient, key: Authenticator
    ) -> None:
        for name in ("id", "rawId"):
            options = begin(alices, ADD)
            credential = key.nested(key.create(options)) | {name: b64(b"another")}
            sent = {
                "registration_id": options["registration_id"],
                "credential": credential,
            }
            assert refused(alices.post(f"{ADD}/complete/", sent)) == FAILED

    def test_a_passkey_belongs_to_one_account(
        self, added: Authenticator, alice: User, bob: User
    ) -> None:
        for person in (bob, alice):
            assert refused(add(signed_in(person), added)) == FAILED
        assert refused(open_account("eve@example.com", added)) == FAILED
        assert Passkey.objects.get().user == alice
        assert not User.objects.with_email("eve@example.com").exists()

    def test_the_registration_of_another_user_is_refused(
        self, alices: APIClient, bob: User, key: Authenticator
    ) -> None:
        options = begin(alices, ADD)
        sent = {
            "registration_id": options["registration_id"],
            "credential": key.create(options),
        }
        answer = signed_in(bob).post(f"{ADD}/complete/", sent)
        assert refused(answer) == "REGISTRATION_MISMATCH"
        assert not Passkey.objects.exists()

    def test_a_nonce_works_for_its_own_purpose_only(
        self, alices: APIClient, added: Authenticator
    ) -> None:
        new = Authenticator()

        def registration(where: str, options: dict[str, Any]) -> Any:
            nonce = options.get("registration_id") or options["authentication_id"]
            options = {"user": {"id_b64": b64(b"h" * 64)}, **options}
            sent = {"registration_id": nonce, "credential": new.create(options)}
            return alices.post(f"{where}/complete/", sent)

        mismatch = "REGISTRATION_MISMATCH"
        assert refused(registration(ADD, begin(alices, SIGN_IN))) == mismatch
        opening = begin(APIClient(), OPEN, email="eve@example.com")
        assert refused(registration(ADD, opening)) == mismatch
        assert refused(registration(OPEN, begin(alices, ADD))) == mismatch
        for where, more in ((ADD, {}), (OPEN, {"email": "eve@example.com"})):
            options = begin(alices, where, **more)
            options["authentication_id"] = options["registration_id"]
            answer = complete_sign_in(APIClient(), options, added.get(options))
            assert refused(answer) == "AUTH_MISSING"
        assert Passkey.objects.count() == 1

    def test_an_account_has_a_limit_of_passkeys(
        self, alices: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("accounts.passkeys.enrolment.MOST_PER_ACCOUNT", 2)
        for _ in range(2):
            assert add(alices, Authenticator()).status_code == 200
        assert refused(add(alices, Authenticator())) == FAILED


class TestSigningIn:
    @elsewhere
    def test_an_answer_to_another_challenge_is_refused(
        self, added: Authenticator, said: dict[str, Any]
    ) -> None:
        client = APIClient()
        options = begin(client, SIGN_IN)
        answer = complete_sign_in(client, options, added.get(options, **said))
        assert refused(answer) == "AUTH_FAILED"
        again = complete_sign_in(client, options, added.get(options))
        assert refused(again) == "AUTH_MISSING"
        assert not Session.objects.filter(client="reviv").exists()

    @pytest.mark.parametrize(
        "bent",
        [
            {"rp_id": "evil.example"},
            {"key": ec.generate_private_key(ec.SECP256R1())},
            {"be": False, "bs": False},
        ],
        ids=["rp", "signature", "backup eligibility"],
    )
    def test_the_signature_of_another_key_is_refused(
        self, added: Authenticator, bent: dict[str, Any]
    ) -> None:
        for name, value in bent.items():
            setattr(added, name, value)
        assert refused(sign_in(added)) == "AUTH_FAILED"
        event = SecurityEvent.objects.filter(kind="sign_in_failed").get()
        assert event.user is not None
        assert event.facts["method"] == "passkey"

    def test_an_unknown_passkey_is_refused(self, added: Authenticator) -> None:
        assert refused(sign_in(Authenticator())) == "UNKNOWN_CREDENTIAL"

    def test_a_changed_backup_state_is_recorded(self, alices: APIClient) -> None:
        key = Authenticator(bs=False)
        add(alices, key)
        key.bs = True
        assert sign_in(key).status_code == 200
        assert Passkey.objects.get().backed_up is True

    def test_the_user_handle_of_another_user_is_refused(
        self, added: Authenticator, alice: User, bob: User
    ) -> None:
        begin(signed_in(bob), ADD)
        bobs = bytes(PasskeyOwner.objects.get(user=bob).handle)
        mine = bytes(PasskeyOwner.objects.get(user=alice).handle)
        assert bobs != mine
        for handle, status in ((bobs, 400), (b"x" * 65, 400), (mine, 200)):
            added.user_handle = handle
            client = APIClient()
            options = begin(client, SIGN_IN)
            nested = added.nested(added.get(options))
            assert complete_sign_in(client, options, nested).status_code == status

    def test_a_differing_id_and_raw_id_are_refused(self, added: Authenticator) -> None:
        client = APIClient()
        options = begin(client, SIGN_IN)
        credential = added.nested(added.get(options)) | {"rawId": b64(b"another")}
        answer = complete_sign_in(client, options, credential)
        assert refused(answer) == "AUTH_FAILED"

    def test_a_closed_account_is_refused(
        self, added: Authenticator, alice: User
    ) -> None:
        closing.close(user=alice, actor="staff")
        assert refused(sign_in(added)) == "AUTH_FAILED"


class TestCounters:
    def test_a_counter_that_goes_backwards_is_refused_and_flagged(
        self, alices: APIClient
    ) -> None:
        key = Authenticator(be=False, bs=False, step=1)
        add(alices, key)
        assert sign_in(key).status_code == 200
        assert sign_in(key).status_code == 200
        assert Passkey.objects.get().sign_count == 2
        key.step = 0
        # The same counter, a lower one, and 0.
        for back in (2, 1, 0):
            key.counter = back
            assert refused(sign_in(key)) == "REPLAY_DETECTED"
        row = Passkey.objects.get()
        assert row.sign_count == 2
        assert row.flagged_at is not None
        assert SecurityEvent.objects.filter(kind="passkey_replayed").count() == 3
        assert Mail.objects.filter(subject__contains="copied").count() == 3
        assert Session.objects.filter(client="reviv").count() == 2
        key.counter, key.step = 2, 1
        assert sign_in(key).status_code == 200

    def test_a_bad_signature_cannot_have_a_passkey_flagged(
        self, alices: APIClient
    ) -> None:
        key = Authenticator(counter=7)
        add(alices, key)
        thief = Authenticator(credential_id=key.credential_id, counter=1)
        assert refused(sign_in(thief)) == "AUTH_FAILED"
        assert Passkey.objects.get().flagged_at is None

    def test_a_counter_may_start_after_uses_with_0(self, added: Authenticator) -> None:
        assert sign_in(added).status_code == 200
        added.step = 5
        assert sign_in(added).status_code == 200
        assert Passkey.objects.get().sign_count == 5


class TestOpening:
    def test_an_existing_account_gets_no_passkey_and_one_mail(
        self, alice: User, key: Authenticator
    ) -> None:
        for _ in range(2):
            assert refused(open_account("Alice@Example.com", key)) == FAILED
        assert refused(sign_in(key)) == "UNKNOWN_CREDENTIAL"
        assert User.objects.get() == alice
        assert not Passkey.objects.exists()
        alice.refresh_from_db()
        assert alice.check_password("alice's password")
        assert SecurityEvent.objects.filter(kind="email_passkey_refused").count() == 2
        # Many attempts send one mail.
        assert Mail.objects.get().to == "alice@example.com"

    def test_an_account_opened_between_the_two_calls_gets_no_passkey(
        self, key: Authenticator, db: None
    ) -> None:
        client = APIClient()
        mine = begin(client, OPEN, email="eve@example.com")
        other = Authenticator()
        assert open_account("eve@example.com", other).status_code == 200
        sent = {
            "registration_id": mine["registration_id"],
            "credential": key.create(mine),
        }
        assert refused(client.post(f"{OPEN}/complete/", sent)) == FAILED
        assert bytes(Passkey.objects.get().credential_id) == other.credential_id

    def test_the_first_call_does_not_reveal_an_existing_account(
        self, added: Authenticator
    ) -> None:
        known, unknown = (
            begin(APIClient(), OPEN, email=email)
            for email in ("alice@example.com", "unknown@example.com")
        )
        assert known["excludeCredentials"] == unknown["excludeCredentials"] == []
        handle = bytes(PasskeyOwner.objects.get().handle)
        assert bytes(known["user"]["id"]) != handle
        for body in (known, unknown):
            assert len(body["user"]["id"]) == 64


def test_without_redis_a_ceremony_is_503(
    alices: APIClient, added: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = begin(alices, SIGN_IN)
    nowhere = redis.Redis(unix_socket_path="/nowhere.sock", retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(nonces, "_store", lambda: nowhere)
    answers = [
        alices.post(f"{ADD}/begin/"),
        APIClient().post(f"{SIGN_IN}/begin/"),
        APIClient().post(f"{OPEN}/begin/", {"email": "eve@example.com"}),
        complete_sign_in(APIClient(), options, added.get(options)),
    ]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert answer["Retry-After"] == "1"


def test_the_front_end_is_an_origin_of_ours(
    added: Authenticator, settings: LazySettings
) -> None:
    settings.FRONTEND_URL = "http://localhost:5173"
    added.origin = "http://localhost:5173"
    assert sign_in(added).status_code == 200


def _weak(how: str) -> dict[int, Any]:
    if how in ("short", "long", "exponent"):
        bits = {"short": 1024, "long": 2048, "exponent": 2048}[how]
        number = rsa.generate_private_key(65537, bits).public_key().public_numbers().n
        n = number.to_bytes(bits // 8, "big") * (16 if how == "long" else 1)
        e = struct.pack(">Q", 2**63 + 1) if how == "exponent" else b"\1\0\1"
        return {1: 3, 3: -257, -1: n, -2: e}
    if how == "curve":
        numbers = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
        x, y = numbers.x.to_bytes(48, "big"), numbers.y.to_bytes(48, "big")
        return {1: 2, 3: -7, -1: 2, -2: x, -3: y}
    return {1: 2, 3: -7, -1: 1, -2: b"\1" * 32, -3: b"\2" * 32}

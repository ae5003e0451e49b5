"""reviv guide, "Passkeys (WebAuthn)" and "Email-passkey (registration)"."""

from typing import Any

import jwt as pyjwt
import pytest
from rest_framework.test import APIClient

from accounts.models import Passkey, PasskeyOwner, SecurityEvent, Session, User
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
from tests.softauth import Authenticator, b64, unb64

ALGORITHMS = [-8, -7, -257]


@pytest.fixture
def key() -> Authenticator:
    return Authenticator()


@pytest.fixture
def alices(alice: User) -> APIClient:
    return signed_in(alice)


class TestAdding:
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_begin(self, alices: APIClient, alice: User, slash: str) -> None:
        answer = alices.post(f"{ADD}/begin{slash}")
        assert answer.status_code == 200
        assert answer["Cache-Control"] == "no-store"
        body = answer.json()
        handle = bytes(PasskeyOwner.objects.get(user=alice).handle)
        assert len(handle) == 64
        assert len(body["challenge"]) == 64
        assert body == {
            "registration_id": body["registration_id"],
            "challenge": body["challenge"],
            "challenge_b64": b64(bytes(body["challenge"])),
            "rp": {"id": "localhost", "name": "reviv.pics"},
            "user": {
                "id": [*handle],
                "id_b64": b64(handle),
                "name": "alice@example.com",
                "displayName": "alice@example.com",
            },
            "pubKeyCredParams": [
                {"type": "public-key", "alg": number} for number in ALGORITHMS
            ],
            "timeout": 60000,
            "attestation": "none",
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": True,
                "userVerification": "preferred",
            },
            "excludeCredentials": [],
        }
        assert len(unb64(body["registration_id"])) == 32

    def test_complete(self, alices: APIClient, alice: User, key: Authenticator) -> None:
        answer = add(alices, key, name="My MacBook")
        assert answer.status_code == 200
        assert answer.json() == {
            "message": "Passkey registered successfully",
            "device_name": "My MacBook",
        }
        row = Passkey.objects.get()
        assert row.user == alice
        assert bytes(row.credential_id) == key.credential_id
        assert (row.name, row.sign_count) == ("My MacBook", 0)
        assert (row.backup_eligible, row.backed_up, row.user_verified) == (True,) * 3
        assert row.last_used_at is None

    @pytest.mark.parametrize("name", [{}, {"name": ""}, {"name": " "}])
    def test_without_a_name(
        self, alices: APIClient, key: Authenticator, name: dict[str, Any]
    ) -> None:
        assert add(alices, key, **name).json()["device_name"] == "Unnamed Device"

    @pytest.mark.parametrize("name", ["n" * 121, ["a"], {"a": 1}, None, 0, True])
    def test_an_invalid_name_is_refused(
        self, alices: APIClient, key: Authenticator, name: Any
    ) -> None:
        assert refused(add(alices, key, name=name)) == "VALIDATION_ERROR"
        assert not Passkey.objects.exists()

    def test_the_options_exclude_the_existing_passkeys(
        self, alices: APIClient, key: Authenticator
    ) -> None:
        options = begin(alices, ADD)
        sent = {
            "registration_id": options["registration_id"],
            "credential": key.nested(key.create(options)),
        }
        assert alices.post(f"{ADD}/complete/", sent).status_code == 200
        again = begin(alices, ADD)
        assert again["excludeCredentials"] == [
            {
                "type": "public-key",
                "id": [*key.credential_id],
                "id_b64": b64(key.credential_id),
                # Unknown transports are not stored.
                "transports": ["hybrid", "internal"],
            }
        ]
        assert again["user"]["id"] == options["user"]["id"]
        assert again["challenge"] != options["challenge"]

    def test_adding_needs_a_credential(self, as_stranger: APIClient) -> None:
        for step in ("begin", "complete"):
            answer = as_stranger.post(f"{ADD}/{step}/")
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "NOT_AUTHENTICATED"

    def test_no_token_that_lasts_adds_a_passkey(
        self, as_alice: APIClient, as_video: APIClient
    ) -> None:
        for client in (as_alice, as_video):
            for step in ("begin", "complete"):
                answer = client.post(f"{ADD}/{step}/")
                assert answer.status_code == 403
                assert answer.json()["error"]["code"] == "CREDENTIAL_NOT_ACCEPTED"

    def test_a_missing_field_is_named_and_keeps_the_nonce(
        self, alices: APIClient, key: Authenticator
    ) -> None:
        options = begin(alices, ADD)
        nonce = options["registration_id"]
        where = f"{ADD}/complete/"
        assert refused(alices.post(where, {})) == "REGISTRATION_MISSING"
        for unknown in ("", "x", 3, None, "A" * 43, ["x"], {"a": 1}):
            sent = {"registration_id": unknown, "credential": {"a": 1}}
            assert refused(alices.post(where, sent)) == "REGISTRATION_MISSING"
        nothings: list[Any] = [None, {}]
        for empty in nothings:
            sent = {"registration_id": nonce, "credential": empty}
            assert refused(alices.post(where, sent)) == "MISSING_CREDENTIAL"
        sent = {"registration_id": nonce, "credential": key.create(options)}
        assert refused(alices.post(where, {"registration_id": nonce})) == (
            "MISSING_CREDENTIAL"
        )
        assert alices.post(where, sent).status_code == 200
        # A used nonce is unknown.
        assert refused(alices.post(where, sent)) == "REGISTRATION_MISSING"

    def test_a_passkey_sign_in_without_pin_cannot_add_another(
        self, alices: APIClient, key: Authenticator
    ) -> None:
        add(alices, key)
        for verified, status in ((False, 403), (True, 200)):
            key.uv = verified
            token = sign_in(key).json()["access"]
            client = APIClient(headers={"Authorization": f"Bearer {token}"})
            answer = client.post(f"{ADD}/begin/")
            assert answer.status_code == status
            if not verified:
                assert answer.json()["error"]["code"] == "SECOND_PROOF_REQUIRED"


class TestSigningIn:
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_begin(self, as_stranger: APIClient, slash: str) -> None:
        answer = as_stranger.post(f"{SIGN_IN}/begin{slash}")
        assert answer.status_code == 200
        assert answer["Cache-Control"] == "no-store"
        body = answer.json()
        assert body == {
            "authentication_id": body["authentication_id"],
            "challenge": body["challenge"],
            "challenge_b64": b64(bytes(body["challenge"])),
            "timeout": 60000,
            "rpId": "localhost",
            "allowCredentials": [],
            "userVerification": "preferred",
        }
        assert len(unb64(body["authentication_id"])) == 32

    @pytest.mark.parametrize("padded", [False, True])
    @pytest.mark.parametrize("nested", [False, True])
    def test_complete(
        self,
        alices: APIClient,
        alice: User,
        key: Authenticator,
        give: Any,
        nested: bool,
        padded: bool,
    ) -> None:
        give(alice, 4)
        # The base64 of a 32-byte id needs padding.
        add(alices, key)
        client = APIClient()
        options = begin(client, SIGN_IN)
        credential = key.get(options)
        if padded:
            credential = {part: _padded(text) for part, text in credential.items()}
        if nested:
            credential = key.nested(credential)
        answer = complete_sign_in(client, options, credential)
        assert answer.status_code == 200
        assert answer["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in answer
        body = answer.json()
        assert body == {
            "access": body["access"],
            "refresh": body["refresh"],
            "user": {
                "id": str(alice.pk),
                "email": "alice@example.com",
                "first_name": "",
                "last_name": "",
                "credit_balance": "4.00",
                "free_preview_used": False,
                "social_share_unlock_used": False,
                "created_at": body["user"]["created_at"],
            },
        }
        mine = APIClient(headers={"Authorization": f"Bearer {body['access']}"})
        assert mine.get("/api/auth/me/").json() == body["user"]
        sent = {"refresh": body["refresh"]}
        again = APIClient().post("/api/auth/token/refresh/", sent)
        assert again.status_code == 200
        assert Passkey.objects.get().last_used_at is not None
        session = Session.objects.get(client="reviv")
        assert (session.user, session.passkey) == (alice, Passkey.objects.get())

    def test_a_registration_may_be_padded_too(
        self, alices: APIClient, key: Authenticator
    ) -> None:
        options = begin(alices, ADD)
        parts = {name: _padded(text) for name, text in key.create(options).items()}
        sent = {"registration_id": options["registration_id"], "credential": parts}
        assert alices.post(f"{ADD}/complete/", sent).status_code == 200

    @pytest.mark.parametrize(
        ("verified", "methods"),
        [(True, ["pop", "user", "mfa"]), (False, ["pop", "user"])],
    )
    def test_user_verification_is_preferred_and_recorded(
        self, alices: APIClient, key: Authenticator, verified: bool, methods: list[str]
    ) -> None:
        key.uv = verified
        add(alices, key)
        token = sign_in(key).json()["access"]
        claims = pyjwt.decode(token, options={"verify_signature": False})
        assert claims["amr"] == methods
        assert claims["exp"] - claims["iat"] == 900
        assert Passkey.objects.get().user_verified is verified
        event = SecurityEvent.objects.filter(kind="signed_in").latest("at")
        assert event.facts["methods"] == methods

    def test_a_missing_field_is_named_and_keeps_the_nonce(
        self, alices: APIClient, key: Authenticator
    ) -> None:
        add(alices, key)
        client = APIClient()
        options = begin(client, SIGN_IN)
        where = f"{SIGN_IN}/complete/"
        credential = key.get(options)
        assert refused(client.post(where, {})) == "AUTH_MISSING"
        for unknown in ("", "x", 3, None, "A" * 43, ["x"], {"a": 1}):
            sent = {"authentication_id": unknown, "credential": credential}
            assert refused(client.post(where, sent)) == "AUTH_MISSING"
        nothings: list[Any] = [None, {}, "text", ["x"], 3]
        for nothing in nothings:
            answer = complete_sign_in(client, options, nothing)
            assert refused(answer) == "MISSING_CREDENTIAL"
        for without in ({"id": ""}, {"id": None}):
            answer = complete_sign_in(client, options, {**credential, **without})
            assert refused(answer) == "MISSING_CREDENTIAL_ID"
        assert complete_sign_in(client, options, credential).status_code == 200
        again = complete_sign_in(client, options, credential)
        assert refused(again) == "AUTH_MISSING"

    def test_an_email_lists_its_own_passkeys_or_decoys(
        self, alices: APIClient, bob: User, key: Authenticator
    ) -> None:
        add(alices, key)
        client = APIClient()
        mine = begin(client, SIGN_IN, email="Alice@example.com")["allowCredentials"]
        own = b64(key.credential_id)
        assert mine == [
            {"type": "public-key", "id": [*key.credential_id], "id_b64": own}
        ]
        for email in ("bob@example.com", "unknown@example.com"):
            first = begin(client, SIGN_IN, email=email)["allowCredentials"]
            again = begin(client, SIGN_IN, email=email.upper())["allowCredentials"]
            assert first == again
            assert 1 <= len(first) <= 2
            for one in first:
                assert set(one) == {"type", "id", "id_b64"}
                assert b64(bytes(one["id"])) == one["id_b64"] != own
                assert len(one["id"]) in (16, 20, 32)

    def test_only_a_listed_passkey_can_answer_a_challenge_with_a_list(
        self, alices: APIClient, bob: User, key: Authenticator
    ) -> None:
        add(alices, key)
        bobs = Authenticator()
        add(signed_in(bob), bobs)
        client = APIClient()
        options = begin(client, SIGN_IN, email="alice@example.com")
        answer = complete_sign_in(client, options, bobs.get(options))
        assert refused(answer) == "UNKNOWN_CREDENTIAL"
        options = begin(client, SIGN_IN, email="alice@example.com")
        answer = complete_sign_in(client, options, key.get(options))
        assert answer.status_code == 200

    @pytest.mark.parametrize("email", ["nonsense", 3, ["a@x.org"], "a@" + "x" * 400])
    def test_an_invalid_email_is_refused(
        self, as_stranger: APIClient, email: Any
    ) -> None:
        answer = as_stranger.post(f"{SIGN_IN}/begin/", {"email": email})
        assert refused(answer) == "INVALID_EMAIL"


class TestOpening:
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_a_new_account(self, key: Authenticator, db: None, slash: str) -> None:
        client = APIClient()
        answer = client.post(f"{OPEN}/begin{slash}", {"email": "New@Example.COM"})
        assert answer.status_code == 200
        options = answer.json()
        assert options["user"]["name"] == "New@example.com"
        # No account exists before the answer is verified.
        assert not User.objects.exists()
        sent = {
            "registration_id": options["registration_id"],
            "credential": key.create(options),
        }
        answer = client.post(f"{OPEN}/complete{slash}", sent)
        assert answer.status_code == 200
        assert answer.json() == {
            "message": "Passkey registered successfully",
            "device_name": "Unnamed Device",
        }
        user = User.objects.get()
        assert (user.email, user.email_verified_at) == ("New@example.com", None)
        assert not user.has_usable_password()
        body = sign_in(key).json()
        assert body["user"]["id"] == str(user.pk)
        mine = APIClient(headers={"Authorization": f"Bearer {body['access']}"})
        assert mine.get("/api/wallet").status_code == 200

    def test_begin_has_the_same_shape(self, alices: APIClient) -> None:
        theirs = begin(APIClient(), OPEN, email="newuser@example.com")
        assert set(theirs) == set(begin(alices, ADD))

    @pytest.mark.parametrize(
        ("email", "code"),
        [
            (None, "MISSING_EMAIL"),
            ("", "MISSING_EMAIL"),
            (" ", "MISSING_EMAIL"),
            ("nonsense", "INVALID_EMAIL"),
            (3, "INVALID_EMAIL"),
            ({"a": 1}, "INVALID_EMAIL"),
            ("ä@example.com", "INVALID_EMAIL"),
        ],
    )
    def test_an_invalid_email_is_refused(
        self, as_stranger: APIClient, email: Any, code: str
    ) -> None:
        answer = as_stranger.post(f"{OPEN}/begin/", {"email": email})
        assert refused(answer) == code

    def test_the_email_of_a_provider_user_is_refused(
        self, alice: User, as_stranger: APIClient
    ) -> None:
        User.objects.update(clerk_id="user_2abc")
        answer = as_stranger.post(f"{OPEN}/begin/", {"email": "Alice@example.com"})
        assert refused(answer) == "OAUTH_USER_EXISTS"

    def test_a_name_is_kept(self, key: Authenticator, db: None) -> None:
        answer = open_account("new@example.com", key, name="Phone")
        assert answer.json()["device_name"] == "Phone"


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)

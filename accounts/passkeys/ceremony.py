"""Verification of authenticator answers: the `webauthn` package and what it omits.

This module checks what the package does not: `crossOrigin`, the sizes of the input, the
strength of a public key, and that the sent id equals the attested id. It knows no
accounts and makes no queries.
"""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import webauthn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import settings
from webauthn.helpers import (
    bytes_to_base64url,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    AuthenticatorTransport,
    CredentialDeviceType,
    RegistrationCredential,
)

from accounts.models.passkeys import HANDLE_BYTES, LONGEST_CREDENTIAL_ID
from accounts.partners import origins
from focus.errors import DomainError

ALGORITHMS = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
CLIENT_DATA_BYTES = 8 * 1024
ATTESTATION_BYTES = 64 * 1024
AUTHENTICATOR_DATA_BYTES = 8 * 1024
SIGNATURE_BYTES = 1024
# Larger than an RSA key of 4096 bits in COSE.
PUBLIC_KEY_BYTES = 1024
RSA_BITS = range(2048, 4097)
RSA_EXPONENTS = (3, 65537)

_BASE64URL = re.compile(r"([A-Za-z0-9_-]*)={0,2}")
_TRANSPORTS = {transport.value for transport in AuthenticatorTransport}

T = TypeVar("T")


class Unverified(DomainError):
    """The answer is malformed, or it does not answer our challenge."""

    code = "unverified"


class MissingCredentialId(DomainError):
    code = "missing_credential_id"


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A verified new key pair, as its authenticator describes it."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    transports: list[str]
    backup_eligible: bool
    backed_up: bool
    user_verified: bool


@dataclass(frozen=True, slots=True)
class VerifiedAssertion:
    """A verified signature of our challenge by a known key pair."""

    sign_count: int
    backup_eligible: bool
    backed_up: bool
    user_verified: bool


def rp_id() -> str:
    """Return the RP ID: the domain that passkeys belong to.

    It is the longest domain that our two origins share, unless `PASSKEY_RP_ID` sets it.
    Changing it makes every passkey unusable.
    """
    if settings.PASSKEY_RP_ID:
        return str(settings.PASSKEY_RP_ID)
    home = urlsplit(settings.PUBLIC_BASE_URL).hostname or ""
    front = urlsplit(settings.FRONTEND_URL).hostname or ""
    common: list[str] = []
    for mine, theirs in zip(
        reversed(home.split(".")), reversed(front.split(".")), strict=False
    ):
        if mine != theirs:
            break
        common.insert(0, mine)
    named = len(common) > 1 and not common[-1].isdigit()
    return ".".join(common) if named else home


def verify_registration(credential: object, *, challenge: bytes) -> NewCredential:
    """Check the answer to `navigator.credentials.create()`. Raises `Unverified`."""
    return _refuse_on_error(lambda: _verify_registration(credential, challenge))


def verify_assertion(
    credential: object, *, challenge: bytes, public_key: bytes
) -> VerifiedAssertion:
    """Check the answer to `navigator.credentials.get()`. Raises `Unverified`."""
    return _refuse_on_error(
        lambda: _verify_assertion(credential, challenge, public_key)
    )


def credential_id(credential: dict[str, Any]) -> bytes:
    """Return the unverified id. Raises `MissingCredentialId` or `Unverified`."""
    sent = credential.get("id") or credential.get("rawId")
    if not sent:
        raise MissingCredentialId("The credential has no id.")
    return _refuse_on_error(lambda: _same_id(credential))


def user_handle(credential: dict[str, Any]) -> bytes | None:
    """Return the user handle that the authenticator sent, or None.

    Raises `Unverified`.
    """
    return _refuse_on_error(lambda: _handle(credential))


def _refuse_on_error(check: Callable[[], T]) -> T:
    try:
        return check()
    except Unverified:
        raise
    # `check` only parses and computes on the client's input. So every exception in it,
    # in our code or in a package, is caused by that input and is a refusal, not a 500.
    except Exception as broken:
        raise Unverified("The credential could not be verified.") from broken


def _verify_registration(credential: object, challenge: bytes) -> NewCredential:
    answer, response = _parts(credential)
    client_data = _bytes(response["clientDataJSON"], CLIENT_DATA_BYTES)
    _check_not_embedded(client_data)
    verified = webauthn.verify_registration_response(
        # The guide sends no id. The package compares `id` with `raw_id`, but neither
        # with the attested id. Only the attested id counts; it is compared below.
        credential=RegistrationCredential(
            id="",
            raw_id=b"",
            response=AuthenticatorAttestationResponse(
                client_data_json=client_data,
                attestation_object=_bytes(
                    response["attestationObject"], ATTESTATION_BYTES
                ),
            ),
        ),
        expected_challenge=challenge,
        expected_rp_id=rp_id(),
        expected_origin=sorted(origins.ours()),
        supported_pub_key_algs=ALGORITHMS,
    )
    attested = verified.credential_id
    if len(attested) > LONGEST_CREDENTIAL_ID:
        raise Unverified("The credential id is too long.")
    if (answer.get("id") or answer.get("rawId")) and _same_id(answer) != attested:
        raise Unverified("The credential id is not the attested one.")
    _check_key_strength(verified.credential_public_key)
    return NewCredential(
        credential_id=attested,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        transports=_transports(answer.get("transports", response.get("transports"))),
        backup_eligible=_is_backup_eligible(verified.credential_device_type),
        backed_up=verified.credential_backed_up,
        user_verified=verified.user_verified,
    )


def _verify_assertion(
    credential: object, challenge: bytes, public_key: bytes
) -> VerifiedAssertion:
    answer, response = _parts(credential)
    raw_id = _same_id(answer)
    client_data = _bytes(response["clientDataJSON"], CLIENT_DATA_BYTES)
    _check_not_embedded(client_data)
    verified = webauthn.verify_authentication_response(
        credential=AuthenticationCredential(
            id=bytes_to_base64url(raw_id),
            raw_id=raw_id,
            response=AuthenticatorAssertionResponse(
                client_data_json=client_data,
                authenticator_data=_bytes(
                    response["authenticatorData"], AUTHENTICATOR_DATA_BYTES
                ),
                signature=_bytes(response["signature"], SIGNATURE_BYTES),
            ),
        ),
        expected_challenge=challenge,
        expected_rp_id=rp_id(),
        expected_origin=sorted(origins.ours()),
        credential_public_key=public_key,
        # The package would check the counter before the signature, so an attacker
        # without the key could have a passkey flagged. A compare-and-set on the row
        # checks the counter afterwards.
        credential_current_sign_count=0,
    )
    return VerifiedAssertion(
        sign_count=verified.new_sign_count,
        backup_eligible=_is_backup_eligible(verified.credential_device_type),
        backed_up=verified.credential_backed_up,
        user_verified=verified.user_verified,
    )


def _parts(credential: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the credential and its response.

    Browsers' `toJSON` nests the response. In the guide's flat form both are one object.
    """
    if not isinstance(credential, dict):
        raise Unverified("The credential must be an object.")
    if credential.get("type", "public-key") != "public-key":
        raise Unverified("The credential is not a public key.")
    response = credential.get("response", credential)
    if not isinstance(response, dict):
        raise Unverified("The credential's response must be an object.")
    return credential, response


def _bytes(text: object, limit: int) -> bytes:
    """Decode base64url, padded or not, of at most `limit` bytes."""
    if not isinstance(text, str) or len(text) > limit * 4 // 3 + 4:
        raise Unverified("A part of the credential is missing or too long.")
    spelled = _BASE64URL.fullmatch(text)
    if spelled is None:
        raise Unverified("A part of the credential is not base64url.")
    decoded = base64.urlsafe_b64decode(spelled[1] + "=" * (-len(spelled[1]) % 4))
    if len(decoded) > limit:
        raise Unverified("A part of the credential is too long.")
    return decoded


def _same_id(answer: dict[str, Any]) -> bytes:
    """Return the sent id. `id` and `rawId` must be equal if both are sent."""
    given = [answer[name] for name in ("id", "rawId") if answer.get(name)]
    sent = {_bytes(text, LONGEST_CREDENTIAL_ID) for text in given}
    if len(sent) != 1:
        raise Unverified("The credential's id and rawId differ.")
    return sent.pop()


def _handle(credential: dict[str, Any]) -> bytes | None:
    answer, response = _parts(credential)
    sent = response.get("userHandle", answer.get("userHandle"))
    return _bytes(sent, HANDLE_BYTES) if sent else None


def _check_not_embedded(client_data: bytes) -> None:
    """Refuse an answer that was made in a frame of another site's page."""
    context = json.loads(client_data)
    if context.get("crossOrigin") not in (None, False) or "topOrigin" in context:
        raise Unverified("Passkeys are not used inside another site's page.")


def _check_key_strength(public_key: bytes) -> None:
    """Refuse weak keys and keys that are slow to verify. The package checks neither."""
    if len(public_key) > PUBLIC_KEY_BYTES:
        raise Unverified("The public key is too long.")
    # This raises for a point that is not on its curve.
    key = decoded_public_key_to_cryptography(decode_credential_public_key(public_key))
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name != "secp256r1":
        raise Unverified("ES256 keys are on P-256.")
    if isinstance(key, rsa.RSAPublicKey):
        usual = key.public_numbers().e in RSA_EXPONENTS
        if key.key_size not in RSA_BITS or not usual:
            raise Unverified("RSA keys have 2048 to 4096 bits.")


def _transports(sent: object) -> list[str]:
    """Return the known transports among `sent`: hints for a later sign-in."""
    hints = sent if isinstance(sent, list) else []
    return sorted({hint for hint in hints if isinstance(hint, str)} & _TRANSPORTS)


def _is_backup_eligible(kind: CredentialDeviceType) -> bool:
    return kind == CredentialDeviceType.MULTI_DEVICE

"""Arbitrary input of browsers, authenticators and attackers: never a 500."""

import base64
import json
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from accounts.models import Passkey, Session, User
from tests.ceremonies import (
    ADD,
    SIGN_IN,
    add,
    begin,
    complete_sign_in,
    refused,
    signed_in,
)
from tests.softauth import Authenticator, b64

FAILED = "REGISTRATION_FAILED"

SCALARS = (
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-(2**40), 2**40)
    | strategies.text(
        strategies.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        max_size=40,
    )
    | strategies.binary(max_size=200).map(b64)
    | strategies.just("A" * 100_000)
)
NAMES = strategies.sampled_from(
    [
        "id",
        "rawId",
        "type",
        "response",
        "clientDataJSON",
        "attestationObject",
        "authenticatorData",
        "signature",
        "userHandle",
        "transports",
    ]
)
TREES = strategies.recursive(
    SCALARS,
    lambda child: (
        strategies.lists(child, max_size=3)
        | strategies.dictionaries(NAMES, child, max_size=6)
    ),
    max_leaves=12,
)


@given(
    tree=TREES,
    kept=strategies.sets(NAMES),
    bent=strategies.booleans(),
    spot=strategies.integers(0, 600),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_arbitrary_bodies_are_refused_and_never_a_500(
    alice: User, tree: Any, kept: set[str], bent: bool, spot: int
) -> None:
    """Arbitrary bodies, extra fields, and correct answers with one changed byte."""
    key, client = Authenticator(), signed_in(alice)
    assert add(client, key).status_code == 200
    for where, field, answer in (
        (ADD, "registration_id", Authenticator().create),
        (SIGN_IN, "authentication_id", key.get),
    ):
        options = begin(client, where)
        right = answer(options)
        wrong = _bent(right, spot) if bent else tree
        if isinstance(wrong, dict):
            wrong = wrong | {part: right[part] for part in kept & set(right)}
        sent = {field: options[field], "credential": wrong}
        status = client.post(f"{where}/complete/", sent).status_code
        whole = isinstance(wrong, dict) and right.items() <= wrong.items()
        # The changed byte may be unsigned, such as one of the attested AAGUID.
        assert status in ((200, 400) if whole or bent else (400,)), status
    Session.objects.all().delete()
    Passkey.objects.all().delete()


def _bent(right: dict[str, str], spot: int) -> dict[str, str]:
    part = max(right, key=lambda name: len(right[name]))
    text, place = right[part], spot % len(right[part])
    other = "A" if text[place] != "A" else "B"
    return right | {part: text[:place] + other + text[place + 1 :]}


@pytest.mark.parametrize(
    "part",
    [
        b"[" * 8000,
        b'{"a":' * 1300,
        b"\xff\xfe{}",
        b"null",
        b"{}",
        b'"x"',
        b"",
        json.dumps({"type": {}, "challenge": {}, "origin": {}}).encode(),
    ],
)
def test_invalid_client_data_is_refused(alice: User, part: bytes) -> None:
    client, added = signed_in(alice), Authenticator()
    assert add(client, added).status_code == 200
    options = begin(client, ADD)
    right = Authenticator().create(options) | {"clientDataJSON": b64(part)}
    sent = {"registration_id": options["registration_id"], "credential": right}
    assert refused(client.post(f"{ADD}/complete/", sent)) == FAILED
    options = begin(client, SIGN_IN)
    wrong = added.get(options) | {"clientDataJSON": b64(part)}
    assert refused(complete_sign_in(client, options, wrong)) == "AUTH_FAILED"


@pytest.mark.parametrize(
    "part",
    [
        b"\x81" * 40_000,
        b"\x9b" + b"\xff" * 8,
        b"\x5b" + b"\x7f" * 8,
        cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": b"short"}),
        cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": "text" * 20}),
        cbor2.dumps({"fmt": ["none"], "attStmt": 3, "authData": b"x" * 60}),
        cbor2.dumps([1, 2]),
        bytes(range(256)),
    ],
    ids=lambda part: part[:8].hex(),
)
def test_an_invalid_attestation_is_refused(alice: User, part: bytes) -> None:
    client = signed_in(alice)
    options = begin(client, ADD)
    wrong = Authenticator().create(options) | {"attestationObject": b64(part)}
    sent = {"registration_id": options["registration_id"], "credential": wrong}
    assert refused(client.post(f"{ADD}/complete/", sent)) == FAILED


@pytest.mark.parametrize("fmt", ["packed", "tpm", "apple", "fido-u2f", "android-key"])
def test_an_attestation_without_a_proof_is_refused(alice: User, fmt: str) -> None:
    client = signed_in(alice)
    options = begin(client, ADD)
    right = Authenticator().create(options)
    whole = cbor2.loads(base64.urlsafe_b64decode(right["attestationObject"] + "=="))
    whole |= {"fmt": fmt, "attStmt": {"alg": -7, "sig": b"x" * 70, "x5c": [b"junk"]}}
    wrong = right | {"attestationObject": b64(cbor2.dumps(whole))}
    sent = {"registration_id": options["registration_id"], "credential": wrong}
    assert refused(client.post(f"{ADD}/complete/", sent)) == FAILED

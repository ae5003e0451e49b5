"""The format of opaque secrets, and the digest that is stored."""

import pytest
from pytest_django import Settings

from accounts.credentials import opaque, tokens
from accounts.credentials.principals import InvalidToken
from accounts.models import PersonalAccessToken, User
from tests.counting import statements


@pytest.mark.parametrize("prefix", ["focus_pat_", "sk-tool-"])
def test_a_secret_is_prefix_32_base62_and_6_of_checksum(prefix: str) -> None:
    secret = opaque.mint(prefix)
    assert secret.text.startswith(prefix)
    assert len(secret.text) == len(prefix) + 38
    assert secret.text[len(prefix) :].isalnum()
    assert secret.text.isascii()
    assert opaque.is_well_formed(secret.text, prefix=prefix)
    assert (secret.prefix, secret.last4) == (prefix, secret.text[-4:])
    assert opaque.mint(prefix).text != secret.text


def test_the_checksum_is_crc32_of_prefix_and_body_in_base62() -> None:
    # Computed by hand: crc32(b"focus_pat_" + b"0" * 32) = 0xc58f7c7f = 3314515071.
    assert opaque.is_well_formed(
        "focus_pat_" + "0" * 32 + _base62(_crc("focus_pat_" + "0" * 32)),
        prefix="focus_pat_",
    )


@pytest.mark.parametrize("place", [10, 25, 41, 42, 47])
def test_one_wrong_character_anywhere_is_noticed(place: int) -> None:
    text = opaque.mint(opaque.PAT).text
    other = "A" if text[place] != "A" else "B"
    wrong = text[:place] + other + text[place + 1 :]
    assert not opaque.is_well_formed(wrong, prefix=opaque.PAT)


@pytest.mark.parametrize(
    "text",
    ["", "focus_pat_", "focus_pat_" + "é" * 38, "focus_pat_" + "0" * 39, "sk-tool-x"],
)
def test_a_malformed_secret_costs_no_query(db: None, text: str) -> None:
    with statements() as queries, pytest.raises(InvalidToken):
        tokens.find(secret=text)
    assert len(queries) == 0


def test_only_a_keyed_digest_is_stored(alice: User, settings: Settings) -> None:
    issued = tokens.issue(user=alice, name="laptop", scopes=["wallet:read"])
    row = PersonalAccessToken.objects.values().get()
    for value in row.values():
        assert issued.secret not in str(value)
        assert issued.secret[10:-4] not in str(value)
    assert len(bytes(row["digest"])) == 32
    assert tokens.find(secret=issued.secret) == issued.token
    # Under another pepper the row matches no secret.
    settings.TOKEN_PEPPER = "another"
    with pytest.raises(InvalidToken):
        tokens.find(secret=issued.secret)


def test_a_secret_does_not_show_in_a_traceback_or_log(alice: User) -> None:
    issued = tokens.issue(user=alice, name="laptop", scopes=[])
    assert issued.secret not in repr(issued)
    assert opaque.mint(opaque.PAT).text not in repr(opaque.mint(opaque.PAT))


def _crc(text: str) -> int:
    """CRC-32 bit by bit, independent of the code under test."""
    rest = 0xFFFFFFFF
    for byte in text.encode():
        rest ^= byte
        for _ in range(8):
            rest = (rest >> 1) ^ (0xEDB88320 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF


def _base62(number: int) -> str:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return "".join(digits[number // 62**place % 62] for place in reversed(range(6)))

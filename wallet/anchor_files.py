"""An anchor as a file of signed heads. Needs no database.

    {"digest": …, "key": …, "made_at": …, "number": …, "previous": …, "wallets": …}
    <wallet> <seq> <head>          one line a wallet, in the wallets' order
    signature <Ed25519 of the first line>

The first line has the digest of the lines below it, and the digest of the previous
anchor's first line. So one signature covers the file, and the last file covers all.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from focus.errors import DomainError

GENESIS = "00" * 32
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


class NotAnAnchor(DomainError):
    """The file is not an anchor, was changed, or was signed by an unknown key."""

    code = "not_an_anchor"


class NoKey(ValueError):
    """The text has no PEM key, or a key that is not Ed25519 or cannot be read."""


@dataclass(frozen=True)
class Head:
    """The entry `seq` of a wallet has the hash `head` (hex)."""

    wallet_id: int
    seq: int
    head: str

    def __str__(self) -> str:
        return f"{self.wallet_id} {self.seq} {self.head}\n"


class Keys:
    """The keys of a PEM text: the first private key signs, and all of them verify."""

    def __init__(self, pems: str) -> None:
        self._signing: Ed25519PrivateKey | None = None
        self._known: dict[str, Ed25519PublicKey] = {}
        for pem in _PEM.finditer(pems):
            key = _key(pem.group().encode(), private="PRIVATE" in pem.group(1))
            if isinstance(key, Ed25519PrivateKey):
                self._signing = self._signing or key
                key = key.public_key()
            self._known[key_id(key)] = key
        if not self._known:
            raise NoKey("It holds no PEM key.")

    def sign(self, statement: str) -> bytes:
        """Return the signature. Raises `NoKey` without a private key."""
        return self._private_key().sign(statement.encode())

    @property
    def signing_id(self) -> str:
        return key_id(self._private_key().public_key())

    def verify(self, statement: str, signature: bytes) -> None:
        """Raise `NotAnAnchor` unless the key named in the statement signed it."""
        named = parse_statement(statement)["key"]
        key = self._known.get(named)
        if key is None:
            raise NotAnAnchor(f"It is signed with the key {named}, which is not known.")
        try:
            key.verify(signature, statement.encode())
        except InvalidSignature:
            raise NotAnAnchor("The signature is not that of its first line.") from None

    def public(self) -> str:
        """Return all public keys as PEM."""
        form = (
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        return "".join(key.public_bytes(*form).decode() for key in self._known.values())

    def _private_key(self) -> Ed25519PrivateKey:
        if self._signing is None:
            raise NoKey("It holds no private key.")
        return self._signing


@lru_cache(maxsize=4)
def load_keys(pems: str) -> Keys:
    """Return the keys of a PEM text, cached. Raises `NoKey`."""
    return Keys(pems)


def key_id(key: Ed25519PublicKey) -> str:
    """Return the short id of a key that statements name."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def statement(
    *,
    number: int,
    made_at: datetime,
    key: str,
    previous: str,
    digest: str,
    wallets: int,
) -> str:
    """Return the line to sign, as JSON with sorted keys."""
    facts = {
        "number": number,
        "made_at": made_at.isoformat(),
        "key": key,
        "previous": previous,
        "digest": digest,
        "wallets": wallets,
    }
    return json.dumps(facts, sort_keys=True)


def parse_statement(line: str) -> dict[str, Any]:
    """Return the facts of a statement. Raises `NotAnAnchor`."""
    try:
        facts = json.loads(line)
        kinds = {"number": int, "made_at": str, "key": str, "previous": str}
        kinds |= {"digest": str, "wallets": int}
        right = all(isinstance(facts[name], kind) for name, kind in kinds.items())
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise NotAnAnchor("The first line is no anchor's.")
    return dict(facts)


def digest_of(heads: Iterable[Head]) -> tuple[str, int]:
    """Return the digest and the number of the heads' lines."""
    digest, count = hashlib.sha256(), 0
    for head in heads:
        digest.update(str(head).encode())
        count += 1
    return digest.hexdigest(), count


def statement_digest(statement: str) -> str:
    """Return the digest by which the next anchor names this one."""
    return hashlib.sha256(statement.encode()).hexdigest()


def file_lines(
    statement: str, heads: Iterable[Head], signature: bytes
) -> Iterator[str]:
    """Yield the file's lines."""
    yield f"{statement}\n"
    yield from map(str, heads)
    yield f"signature {signature.hex()}\n"


@dataclass(frozen=True)
class File:
    """A verified file, wholly in memory."""

    statement: str
    heads: list[Head]
    signature: bytes

    @property
    def facts(self) -> dict[str, Any]:
        return parse_statement(self.statement)


def verify(text: str, *, by: Keys) -> File:
    """Verify a file's text and return its anchor. Raises `NotAnAnchor`."""
    whole = text.splitlines()
    if len(whole) < 2:
        raise NotAnAnchor("The file ends before its signature.")
    first, *middle, last = whole
    facts = parse_statement(first)
    try:
        word, signed = last.split(" ")
        signature = bytes.fromhex(signed if word == "signature" else "-")
    except ValueError:
        raise NotAnAnchor("The last line is no signature.") from None
    by.verify(first, signature)
    heads = [_head(line) for line in middle]
    if digest_of(heads) != (facts["digest"], facts["wallets"]):
        raise NotAnAnchor("The heads are not those that were signed.")
    return File(first, heads, signature)


def _head(line: str) -> Head:
    match = re.fullmatch(r"([0-9]{1,19}) ([0-9]{1,19}) ([0-9a-f]{64})", line)
    if match is None:
        raise NotAnAnchor(f"This line is no head: {line[:80]}")
    return Head(int(match[1]), int(match[2]), match[3])


def _key(pem: bytes, *, private: bool) -> Ed25519PrivateKey | Ed25519PublicKey:
    try:
        key = (
            serialization.load_pem_private_key(pem, password=None)
            if private
            else serialization.load_pem_public_key(pem)
        )
    except (ValueError, TypeError) as broken:
        raise NoKey("A PEM key in it cannot be read.") from broken
    if not isinstance(key, Ed25519PrivateKey | Ed25519PublicKey):
        raise NoKey("It holds a key that is not Ed25519.")
    return key

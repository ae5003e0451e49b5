"""Anchors: the heads of the wallets' chains, signed with a key outside the database.

The attack: a writer in the database rewrites a chain from its first entry, and computes
every hash anew. That writer cannot sign.

1. An anchor lists each wallet with new entries: the last entry's number and hash.
2. A chain that lacks a listed head was rewritten or cut.
3. Number, head and entry are read in one statement, so each listed head was true.

An anchor is made in short transactions of 5000 wallets. If a worker dies, the next run
continues its unsigned anchor.
"""

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Max

from wallet import anchor_files
from wallet.anchor_files import GENESIS, File, Head, Keys, NotAnAnchor
from wallet.ledger import NOW
from wallet.models import Anchor, AnchoredHead

EVERY = timedelta(days=1)
WALLETS_AT_ONCE = 5000


def own_keys() -> Keys:
    """Return the keys of ANCHOR_PRIVATE_KEY. Raises `anchor_files.NoKey`."""
    return anchor_files.load_keys(settings.ANCHOR_PRIVATE_KEY)


def make_if_due() -> Anchor | None:
    """Sign an anchor if the last one is a day old, or finish an unsigned one."""
    last = Anchor.objects.annotate(now=NOW).order_by("-number").first()
    if last and last.signature and last.now < last.begun_at + EVERY:
        return None
    return make()


def make() -> Anchor | None:
    """List the heads that changed since the previous anchor, and sign the list.

    Returns None if another process is making an anchor right now.
    """
    anchor_id = _open()
    while anchor_id is not None:
        with transaction.atomic():
            anchor = (
                Anchor.objects.select_for_update(skip_locked=True)
                .filter(pk=anchor_id, signature=None)
                .first()
            )
            if anchor is None:
                return None
            if not _list_more(anchor):
                return _sign(anchor)
    return None


def _open() -> int | None:
    """Return the id of the unsigned anchor, created if there is none."""
    begun = Anchor.objects.filter(signature=None).first()
    if begun is not None:
        return begun.pk
    last = Anchor.objects.aggregate(last=Max("number"))["last"] or 0
    try:
        with transaction.atomic():
            return Anchor.objects.create(number=last + 1).pk
    except IntegrityError:
        return None


def _list_more(anchor: Anchor) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            _LIST,
            {
                "anchor": anchor.pk,
                "through": anchor.through,
                "limit": WALLETS_AT_ONCE,
            },
        )
        (through,) = cursor.fetchone()
    if through is not None:
        anchor.through = through
        anchor.save(update_fields=["through"])
    return through is not None


# One statement, so one snapshot. It leaves out a wallet if its head is not the hash of
# its last entry: a signature would vouch for that head. The invariants report it.
_LIST = """
    WITH batch AS MATERIALIZED (
      SELECT id, seq, head FROM wallet_wallet WHERE id > %(through)s
      ORDER BY id LIMIT %(limit)s
    ), listed AS (
      INSERT INTO wallet_anchoredhead (anchor_id, wallet_id, seq, head)
      SELECT %(anchor)s, w.id, w.seq, w.head FROM batch w
      JOIN wallet_entry e ON e.wallet_id = w.id AND e.seq = w.seq AND e.hash = w.head
      WHERE w.seq > coalesce((SELECT max(h.seq) FROM wallet_anchoredhead h
        WHERE h.wallet_id = w.id), 0)
    )
    SELECT max(id) FROM batch
"""


def _sign(anchor: Anchor) -> Anchor:
    digest, wallets = anchor_files.digest_of(heads(anchor))
    before = Anchor.objects.filter(number=anchor.number - 1).first()
    keys = own_keys()
    anchor.statement = anchor_files.statement(
        number=anchor.number,
        made_at=anchor.begun_at,
        key=keys.signing_id,
        previous=anchor_files.statement_digest(before.statement) if before else GENESIS,
        digest=digest,
        wallets=wallets,
    )
    anchor.signature = keys.sign(anchor.statement)
    anchor.save(update_fields=["statement", "signature"])
    return anchor


def heads(anchor: Anchor) -> Iterator[Head]:
    """Yield an anchor's heads in the order of its file."""
    rows = AnchoredHead.objects.filter(anchor=anchor).order_by("wallet_id")
    for wallet, seq, head in rows.values_list("wallet_id", "seq", "head").iterator():
        yield Head(wallet, seq, bytes(head).hex())


def wallets_in(anchor: Anchor) -> int:
    """Return the number of listed wallets; 0 before the anchor is signed."""
    if not anchor.statement:
        return 0
    return int(anchor_files.parse_statement(anchor.statement)["wallets"])


def export(anchor: Anchor) -> Iterator[str]:
    """Yield the lines of a signed anchor's file."""
    signature = bytes(anchor.signature or b"")
    return anchor_files.file_lines(anchor.statement, heads(anchor), signature)


def faults(*, by: Keys | None = None) -> Iterator[str]:
    """Yield a sentence for each fault of the anchors: gap, signature, order, digest.

    An invariant of the wallets checks that the chains contain the heads.
    """
    by = by or own_keys()
    before = GENESIS
    signed = Anchor.objects.exclude(signature=None).order_by("number")
    for number, anchor in enumerate(signed, start=1):
        if anchor.number != number:
            yield f"anchor {number} is gone"
            return
        try:
            facts = anchor_files.parse_statement(anchor.statement)
            by.verify(anchor.statement, bytes(anchor.signature or b""))
            if facts["number"] != number or facts["previous"] != before:
                raise NotAnAnchor("It does not follow the anchor before it.")
            if anchor_files.digest_of(heads(anchor)) != (
                facts["digest"],
                facts["wallets"],
            ):
                raise NotAnAnchor("Its heads are not those that were signed.")
        except NotAnAnchor as wrong:
            yield f"anchor {number}: {wrong.message}"
        before = anchor_files.statement_digest(anchor.statement)


def differences(file: File) -> Iterator[str]:
    """Yield a sentence for each difference of the database from a verified file."""
    number = file.facts["number"]
    anchor = Anchor.objects.filter(number=number).first()
    if anchor is None or anchor.statement != file.statement:
        yield f"The database has no such anchor {number}."
    for start in range(0, len(file.heads), WALLETS_AT_ONCE):
        some = file.heads[start : start + WALLETS_AT_ONCE]
        with connection.cursor() as cursor:
            cursor.execute(
                _DIFFERENT,
                {
                    "wallets": [head.wallet_id for head in some],
                    "numbers": [head.seq for head in some],
                    "heads": [bytes.fromhex(head.head) for head in some],
                },
            )
            for wallet, seq in cursor.fetchall():
                yield f"Wallet {wallet} no longer has the entry {seq} that was signed."


_DIFFERENT = """
    SELECT h.wallet, h.seq FROM unnest(%(wallets)s::bigint[], %(numbers)s::bigint[],
      %(heads)s::bytea[]) AS h(wallet, seq, head)
    LEFT JOIN wallet_entry e ON e.wallet_id = h.wallet AND e.seq = h.seq
    WHERE e.hash IS DISTINCT FROM h.head ORDER BY 1
"""

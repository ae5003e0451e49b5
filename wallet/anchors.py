"""Anchors: the heads of the wallets' chains, signed with a key outside the database.

A hand in the database can rewrite a chain from its first entry on and make every hash
fit. It cannot sign: a wallet that has moved since the anchor before is listed with its
last entry's number and hash, and a chain that no longer contains a listed head has been
rewritten or cut. What an anchor lists is true of one moment for each wallet: number and
head are read in one statement, together with the entry that has them.

Making one takes short transactions, five thousand wallets each. A worker that dies
leaves an unsigned anchor, and the next one goes on with it.
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
    """Those of ANCHOR_PRIVATE_KEY. Raises `anchor_files.NoKey`."""
    return anchor_files.load_keys(settings.ANCHOR_PRIVATE_KEY)


def make_if_due() -> Anchor | None:
    """Sign an anchor if the last one is a day old, or finish one that was begun."""
    last = Anchor.objects.annotate(now=NOW).order_by("-number").first()
    if last and last.signature and last.now < last.begun_at + EVERY:
        return None
    return make()


def make() -> Anchor | None:
    """List what moved since the anchor before, and sign it.

    Returns None where another process is doing so right now.
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
    """The unsigned anchor, begun now if there is none."""
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


# One statement, so one snapshot. A wallet whose head is not its last entry's hash is
# left out: to sign it would vouch for it, and a check of the ledger names it.
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
    """What an anchor lists, in the order of its file."""
    rows = AnchoredHead.objects.filter(anchor=anchor).order_by("wallet_id")
    for wallet, seq, head in rows.values_list("wallet_id", "seq", "head").iterator():
        yield Head(wallet, seq, bytes(head).hex())


def wallets_in(anchor: Anchor) -> int:
    """How many wallets it lists; 0 while it is being made."""
    if not anchor.statement:
        return 0
    return int(anchor_files.parse_statement(anchor.statement)["wallets"])


def export(anchor: Anchor) -> Iterator[str]:
    """The lines of its file. The anchor is a signed one."""
    signature = bytes(anchor.signature or b"")
    return anchor_files.file_lines(anchor.statement, heads(anchor), signature)


def faults(*, by: Keys | None = None) -> Iterator[str]:
    """What is wrong with the anchors themselves; whether the chains have their heads is
    an invariant of the wallets.
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
    """How the database differs from a verified file that was kept elsewhere."""
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

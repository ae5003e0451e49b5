"""The entries of the ledger, and the texts beside them."""

import uuid

from django.db import models
from django.db.models import F, Q

from accounts.models import App
from wallet.models.grants import Grant, Reservation
from wallet.models.wallets import Wallet


class Text(models.Model):
    """The free text of a movement by staff or by an app; it may be personal data.

    Its entries have the digest of `salt` and `said`. Both are erased together, and the
    chain stays valid; see `wallet.texts`.
    """

    # Read through its entries. An index or a foreign key would slow every charge down.
    wallet = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, db_index=False, db_constraint=False
    )
    salt = models.UUIDField(null=True, default=uuid.uuid4)
    said = models.TextField(null=True)
    erased_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(said__isnull=False, salt__isnull=False, erased_at=None)
                | Q(said=None, salt=None, erased_at__isnull=False),
                name="a_text_is_there_or_wholly_erased",
            )
        ]

    def __str__(self) -> str:
        return f"text {self.pk}"


class Entry(models.Model):
    """One entry of the ledger. Triggers refuse every update and deletion.

    `debit` loses the amount and `credit` gains it. `available`, `reserved` and `debt`
    are the wallet's own accounts. `issuance`, `revenue:{app}`, `breakage` and `stripe`
    are names without a row.
    """

    class Kind(models.TextChoices):
        GRANT = "grant"
        REPAY = "repay", "repay debt"
        RESERVE = "reserve"
        CHARGE = "charge"
        RETURN = "return"
        OVERAGE = "overage"
        OVERDRAFT = "overdraft"
        RELEASE = "release"
        EXPIRE = "expire"
        CONSUME = "consume"
        ADJUST = "adjust"
        LAPSE = "lapse", "grant expired"
        CLAW_BACK = "claw_back", "claw back"
        REINSTATE = "reinstate"
        # Entries of these kinds move no credits.
        LIMIT = "limit", "limit set"
        TERMS = "terms", "terms recorded"
        EXTEND = "extend"

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, db_index=False)
    seq = models.BigIntegerField()
    movement_id = models.UUIDField()
    kind = models.CharField(max_length=9, choices=Kind)
    debit = models.CharField(max_length=80)
    credit = models.CharField(max_length=80)
    amount_micro = models.BigIntegerField()
    available_after = models.BigIntegerField()
    reserved_after = models.BigIntegerField()
    debt_after = models.BigIntegerField()
    # The unpaid part of a job's cost, on the movement's first entry.
    uncovered_micro = models.BigIntegerField(default=0)
    reservation = models.ForeignKey(
        Reservation, on_delete=models.PROTECT, null=True, db_index=False
    )
    resolves = models.BooleanField(default=False)
    grant = models.ForeignKey(
        Grant, on_delete=models.PROTECT, null=True, db_index=False
    )
    app = models.ForeignKey(
        App, on_delete=models.PROTECT, null=True, db_index=False, related_name="+"
    )
    # No foreign key: the app `jobs` depends on the wallet, not the reverse.
    job_id = models.UUIDField(null=True)
    # An id or a code, never a name or an address, because the hash keeps it for ever.
    actor = models.CharField(max_length=120)
    # The ledger's own code. Free text is in `text`; in version 1 it is here.
    reason = models.TextField(blank=True)
    text = models.ForeignKey(
        Text,
        on_delete=models.PROTECT,
        null=True,
        db_index=False,
        # A trigger refuses to delete texts, and a foreign key would slow charges down.
        db_constraint=False,
        related_name="entries",
    )
    text_digest = models.BinaryField(max_length=32, null=True)
    # The terms of a grant, reservation or limit, as `ledger.grant_terms` writes them.
    terms = models.TextField(null=True)
    # The money key. It is permanent, so an old request never moves credits twice.
    key = models.CharField(max_length=255, null=True)
    booked_at = models.DateTimeField()
    prev_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)
    # The version of the hashed text (`ledger.entry_hash`). Empty: version 1.
    hash_version = models.SmallIntegerField(null=True)

    class Meta:
        verbose_name_plural = "entries"
        constraints = [
            models.UniqueConstraint(
                fields=["wallet", "seq"], name="entries_of_a_wallet_have_one_order"
            ),
            models.UniqueConstraint(
                fields=["reservation"],
                condition=Q(resolves=True),
                name="a_reservation_is_resolved_once",
            ),
            models.UniqueConstraint(
                fields=["key"],
                condition=Q(key__isnull=False),
                name="a_money_key_moves_credits_once",
            ),
            models.CheckConstraint(
                condition=Q(amount_micro__gt=0)
                | Q(amount_micro=0, kind__in=["limit", "terms", "extend"]),
                name="an_entry_moves_something",
            ),
            models.CheckConstraint(
                condition=~Q(debit=F("credit")), name="an_entry_moves_somewhere"
            ),
        ]
        indexes = [
            models.Index(fields=["booked_at"], name="entry_booked_at"),
            models.Index(
                fields=["job_id"],
                condition=Q(job_id__isnull=False),
                name="entry_of_job",
            ),
            models.Index(
                fields=["grant"],
                condition=Q(terms__isnull=False, grant__isnull=False),
                name="entry_with_terms",
            ),
        ]

    def __str__(self) -> str:
        return f"entry {self.seq} of wallet {self.wallet_id}"

    @property
    def shown_reason(self) -> str:
        """The reason for people: the free text, "(erased)", or the ledger's code.

        Reads the row `text`.
        """
        if self.text is None:
            return self.reason
        return "(erased)" if self.text.said is None else self.text.said

"""The ledger's tables. `wallet/sql/` writes them; everything else only reads.

Amounts are micro-credits. A wallet's row carries its balance and the head of its
chain of entries; `manage.py check_ledger` proves that both follow from the entries.
"""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models import App

GENESIS = b"\x00" * 32


class Wallet(models.Model):
    """One per account. Locked first by every movement, so its entries have an order."""

    account = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    available_micro = models.BigIntegerField(default=0)
    reserved_micro = models.BigIntegerField(default=0)
    # Owed after an overflow or a clawback; later paid grants repay it first.
    debt_micro = models.BigIntegerField(default=0)
    overdraft_limit_micro = models.BigIntegerField(default=0)
    seq = models.BigIntegerField(default=0)
    head = models.BinaryField(max_length=32, default=GENESIS)
    booked_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        permissions = [("adjust_wallet", "Can adjust credits with a reason")]
        constraints = [
            models.CheckConstraint(
                condition=Q(available_micro__gte=0), name="available_is_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(reserved_micro__gte=0), name="reserved_is_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(debt_micro__gte=0), name="debt_is_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(overdraft_limit_micro__gte=0),
                name="overdraft_limit_is_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"wallet {self.pk}"


class Grant(models.Model):
    """Credits that came in together, and what is left of them."""

    class Source(models.TextChoices):
        STARTER = "starter"
        PURCHASE = "purchase"
        PLAN = "plan"
        PROMO = "promo"
        ADJUSTMENT = "adjustment"
        REFUND = "refund"
        REINSTATED = "reinstated"

    class Category(models.TextChoices):
        PAID = "paid"
        PROMOTIONAL = "promotional"

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, db_index=False)
    source = models.CharField(max_length=10, choices=Source)
    category = models.CharField(max_length=11, choices=Category)
    # 0 is spent first, 100 last.
    priority = models.SmallIntegerField(default=50)
    granted_micro = models.BigIntegerField()
    remaining_micro = models.BigIntegerField()
    # Taken back with the money that bought it, less what was reinstated.
    clawed_back_micro = models.BigIntegerField(db_default=0)
    # For the indexes below. With remaining_micro itself in their conditions, every
    # draw would write to all of them: PostgreSQL updates in place (HOT) only where
    # no column that an index mentions has changed.
    has_credits = models.GeneratedField(
        expression=Q(remaining_micro__gt=0),  # type: ignore[arg-type]  # a Q will do
        output_field=models.BooleanField(),
        db_persist=True,
    )
    expires_at = models.DateTimeField(null=True)
    # Only this app may spend it; empty: any app.
    app = models.ForeignKey(App, on_delete=models.PROTECT, null=True, related_name="+")
    # The app whose arrival gave it (a starter grant).
    given_by = models.ForeignKey(
        App, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(remaining_micro__gte=0)
                & Q(remaining_micro__lte=F("granted_micro")),
                name="remaining_is_within_granted",
            ),
            models.CheckConstraint(
                condition=Q(granted_micro__gt=0), name="a_grant_gives_something"
            ),
            models.CheckConstraint(
                condition=Q(clawed_back_micro__gte=0)
                & Q(clawed_back_micro__lte=F("granted_micro")),
                name="clawed_back_is_within_granted",
            ),
            models.CheckConstraint(
                condition=Q(priority__gte=0) & Q(priority__lte=100),
                name="priority_is_0_to_100",
            ),
            models.UniqueConstraint(
                fields=["wallet", "given_by"],
                condition=Q(source="starter"),
                name="one_starter_grant_per_wallet_and_app",
            ),
        ]
        indexes = [
            models.Index(
                fields=["wallet"],
                condition=Q(has_credits=True),
                name="grant_with_credits",
            ),
            models.Index(fields=["wallet", "id"], name="grant_of_wallet"),
            models.Index(
                fields=["expires_at"],
                condition=Q(has_credits=True, expires_at__isnull=False),
                name="grant_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} grant {self.pk}"


class Reservation(models.Model):
    """Credits set aside for one job, whose id it shares. Resolved once."""

    class Status(models.TextChoices):
        OPEN = "open"
        SETTLED = "settled"
        RELEASED = "released"
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, db_index=False)
    app = models.ForeignKey(
        App, on_delete=models.PROTECT, db_index=False, related_name="+"
    )
    amount_micro = models.BigIntegerField()
    status = models.CharField(max_length=8, choices=Status, default=Status.OPEN)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_micro__gt=0), name="a_reservation_holds_something"
            ),
            models.CheckConstraint(
                condition=Q(status="open", resolved_at__isnull=True)
                | (~Q(status="open") & Q(resolved_at__isnull=False)),
                name="resolved_reservations_say_when",
            ),
        ]
        indexes = [
            models.Index(
                fields=["wallet", "expires_at"],
                condition=Q(status="open"),
                name="reservation_open",
            ),
        ]

    def __str__(self) -> str:
        return f"reservation {self.pk}"


class Budget(models.Model):
    """What a person lets one app spend a calendar month (UTC). No row: no limit.

    `spent_micro` is that month's spending with what its jobs still reserve. A row of an
    earlier month counts as nothing spent; the next movement writes that down.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, db_index=False)
    app = models.ForeignKey(
        App, on_delete=models.PROTECT, db_index=False, related_name="+"
    )
    limit_micro = models.BigIntegerField()
    # The first day of it.
    month = models.DateField()
    spent_micro = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["wallet", "app"], name="one_budget_per_wallet_and_app"
            ),
            models.CheckConstraint(
                condition=Q(limit_micro__gte=0) & Q(spent_micro__gte=0),
                name="a_budget_is_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"budget {self.pk}"


class ClawBack(models.Model):
    """Credits taken back with a purchase's money, so that they can be given back.

    `debt_micro` is what the wallet no longer had; the rest is in the draws.
    """

    grant = models.ForeignKey(Grant, on_delete=models.PROTECT)
    movement_id = models.UUIDField(unique=True)
    amount_micro = models.BigIntegerField()
    debt_micro = models.BigIntegerField()
    # The movement that gave all of it back; empty: none has.
    reinstatement_id = models.UUIDField(null=True, unique=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_micro__gt=0), name="a_claw_back_takes_something"
            ),
            models.CheckConstraint(
                condition=Q(debt_micro__gte=0) & Q(debt_micro__lte=F("amount_micro")),
                name="a_claw_back_owes_at_most_itself",
            ),
        ]

    def __str__(self) -> str:
        return f"claw-back {self.pk}"


class Draw(models.Model):
    """Which grant paid: how much a movement took from it, and how much came back."""

    movement_id = models.UUIDField()
    reservation = models.ForeignKey(
        Reservation, on_delete=models.PROTECT, null=True, db_index=False
    )
    claw_back = models.ForeignKey(
        ClawBack, on_delete=models.PROTECT, null=True, db_index=False
    )
    grant = models.ForeignKey(Grant, on_delete=models.PROTECT)
    amount_micro = models.BigIntegerField()
    returned_micro = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_micro__gt=0), name="a_draw_takes_something"
            ),
            models.CheckConstraint(
                condition=Q(returned_micro__gte=0)
                & Q(returned_micro__lte=F("amount_micro")),
                name="a_draw_returns_at_most_itself",
            ),
        ]
        indexes = [
            models.Index(
                fields=["reservation"],
                condition=Q(reservation__isnull=False),
                name="draw_of_reservation",
            ),
            models.Index(
                fields=["claw_back"],
                condition=Q(claw_back__isnull=False),
                name="draw_of_claw_back",
            ),
            models.Index(fields=["movement_id"], name="draw_of_movement"),
        ]

    def __str__(self) -> str:
        return f"draw {self.pk}"


class Entry(models.Model):
    """One line of the ledger. Never updated, never deleted: triggers refuse it.

    `debit` loses the amount and `credit` gains it. `available`, `reserved` and `debt`
    are the wallet's own; `issuance`, `revenue:{app}`, `breakage` and `stripe` are
    names only and have no row.
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
    # What a job cost beyond what could be charged; on the movement's first entry.
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
    # No foreign key: jobs stand above the wallet.
    job_id = models.UUIDField(null=True)
    actor = models.CharField(max_length=120)
    reason = models.TextField(blank=True)
    # The money key: permanent, so an old request never moves credits twice.
    key = models.CharField(max_length=255, null=True)
    booked_at = models.DateTimeField()
    prev_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)

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
                condition=Q(amount_micro__gt=0), name="an_entry_moves_something"
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
        ]

    def __str__(self) -> str:
        return f"entry {self.seq} of wallet {self.wallet_id}"

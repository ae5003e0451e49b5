"""Grants, and the reservations, claw-backs and draws on them."""

import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models import App
from wallet.models.wallets import Wallet


class Grant(models.Model):
    """Credits of one source with the same terms, and the rest of them."""

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
    # Clawed back with the money that bought it, less reinstated amounts.
    clawed_back_micro = models.BigIntegerField(db_default=0)
    # For the indexes below. With `remaining_micro` in their conditions, every draw
    # would write to all of them: PostgreSQL updates a row in place (HOT) only if no
    # column that an index mentions has changed.
    has_credits = models.GeneratedField(
        expression=Q(remaining_micro__gt=0),  # type: ignore[arg-type]  # a Q will do
        output_field=models.BooleanField(),
        db_persist=True,
    )
    expires_at = models.DateTimeField(null=True)
    # The only app that may spend it; empty: every app.
    app = models.ForeignKey(App, on_delete=models.PROTECT, null=True, related_name="+")
    # The app that granted it (a starter grant).
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
    """Credits reserved for one job. It has the job's id, and is resolved once."""

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
        return f"reservation of {self.created_at:%Y-%m-%d %H:%M} UTC"


class ClawBack(models.Model):
    """Credits taken back with a purchase's money, with the facts to reinstate them.

    `debt_micro` is the part that the wallet lacked. The draws have the rest.
    """

    grant = models.ForeignKey(Grant, on_delete=models.PROTECT)
    movement_id = models.UUIDField(unique=True)
    amount_micro = models.BigIntegerField()
    debt_micro = models.BigIntegerField()
    # The movement that reinstated all of it, or empty.
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
    """A movement's draw on one grant: the amount, and the returned part of it."""

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

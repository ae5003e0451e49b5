"""A wallet, and the monthly budgets of apps in it."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import App

GENESIS = b"\x00" * 32


class Wallet(models.Model):
    """One per account. Every movement locks it first, so its entries have an order."""

    account = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    available_micro = models.BigIntegerField(default=0)
    reserved_micro = models.BigIntegerField(default=0)
    # Owed after an overflow or a claw-back; later paid grants repay it first.
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


class Budget(models.Model):
    """An app's limit in one wallet for each calendar month (UTC). No row: no limit.

    `spent_micro` is that month's spending, open reservations included. A row of an
    earlier month counts as 0 spent; the next movement updates it.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, db_index=False)
    app = models.ForeignKey(
        App, on_delete=models.PROTECT, db_index=False, related_name="+"
    )
    limit_micro = models.BigIntegerField()
    # The first day of the month that `spent_micro` counts.
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

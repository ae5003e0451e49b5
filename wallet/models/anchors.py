"""Signed heads of wallets' chains, which the chains must contain for ever."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from wallet.models.wallets import Wallet


class Anchor(models.Model):
    """A signed list of heads. A trigger refuses changes after the signature.

    See `wallet.anchors`.
    """

    # From 1, without a gap.
    number = models.BigIntegerField(unique=True)
    begun_at = models.DateTimeField(db_default=Now())
    # The id of the last listed wallet, while the anchor is being made.
    through = models.BigIntegerField(default=0)
    # The signed line and its signature; empty until all heads are listed.
    statement = models.TextField(blank=True)
    signature = models.BinaryField(max_length=64, null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                models.Value(1),
                condition=Q(signature=None),
                name="one_anchor_is_made_at_a_time",
            )
        ]

    def __str__(self) -> str:
        return f"anchor {self.number}"


class AnchoredHead(models.Model):
    """One wallet's head in an anchor: its entry `seq` has the hash `head`."""

    anchor = models.ForeignKey(
        Anchor, on_delete=models.PROTECT, db_index=False, related_name="heads"
    )
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, db_index=False)
    seq = models.BigIntegerField()
    head = models.BinaryField(max_length=32)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["anchor", "wallet"], name="an_anchor_has_a_wallet_once"
            ),
            models.UniqueConstraint(
                fields=["wallet", "seq"], name="a_head_is_anchored_once"
            ),
        ]

    def __str__(self) -> str:
        return f"head {self.seq} of wallet {self.wallet_id}"

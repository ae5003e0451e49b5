"""The ledger's tables. `wallet/sql/` writes them; other code only reads them.

Amounts are micro-credits. A wallet's row has its balance and the head of its chain of
entries. `manage.py check_ledger` proves that both follow from the entries.
"""

from wallet.models.adjustments import Adjustment
from wallet.models.anchors import Anchor, AnchoredHead
from wallet.models.entries import Entry, Text
from wallet.models.grants import ClawBack, Draw, Grant, Reservation
from wallet.models.verifications import Verification
from wallet.models.wallets import GENESIS, Budget, Wallet

__all__ = [
    "GENESIS",
    "Adjustment",
    "Anchor",
    "AnchoredHead",
    "Budget",
    "ClawBack",
    "Draw",
    "Entry",
    "Grant",
    "Reservation",
    "Text",
    "Verification",
    "Wallet",
]

"""The ledger for staff: to read, and to adjust with a reason. Nothing is editable."""

from wallet.admin import anchors, deciding, ledger, wallets

__all__ = ["anchors", "deciding", "ledger", "wallets"]

"""Staff pages of the ledger: read-only, with adjustments that need a reason."""

from wallet.admin import anchors, deciding, ledger, wallets

__all__ = ["anchors", "deciding", "ledger", "wallets"]

"""`manage.py check_ledger`: check every invariant and name the broken wallets."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from wallet import invariants
from wallet.models import Entry, Wallet


class Command(BaseCommand):
    help = "Recompute every invariant of the ledger; exit 1 naming each broken wallet."

    def handle(self, **_options: Any) -> None:
        broken = invariants.check(actor="command:check_ledger")
        for violation in broken:
            self.stderr.write(str(violation))
        if broken:
            wallets = len({violation.wallet_id for violation in broken})
            raise CommandError(f"The ledger does not add up in {wallets} wallet(s).")
        self.stdout.write(
            f"{invariants.count()} invariants hold over"
            f" {Wallet.objects.count()} wallets and {Entry.objects.count()} entries."
        )

"""`manage.py anchor_ledger`: sign the heads of the changed wallets now."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from wallet import anchors, ledger


class Command(BaseCommand):
    help = "Sign the heads of all wallets that changed since the last anchor, now."

    def handle(self, **_options: Any) -> None:
        while ledger.book_all_missing_terms():
            pass
        made = anchors.make()
        if made is None:
            raise CommandError("Another process is making an anchor right now.")
        self.stdout.write(made.statement)

"""`manage.py verify_anchor FILE`: verify a kept anchor, and compare the ledger."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from wallet import anchor_files, anchors


class Command(BaseCommand):
    help = (
        "Verify an anchor's signature and heads without a database. With --database,"
        " compare it with the ledger too. Exit 1 and name the differences."
    )
    # The command needs no database.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument(
            "--public-keys",
            metavar="PEM",
            type=Path,
            help="the keys to trust instead of those of ANCHOR_PRIVATE_KEY",
        )
        parser.add_argument(
            "--database", action="store_true", help="compare with the current ledger"
        )

    def handle(self, **options: Any) -> None:
        try:
            keys = (
                anchor_files.load_keys(options["public_keys"].read_text())
                if options["public_keys"]
                else anchors.own_keys()
            )
            file = anchor_files.verify(options["file"].read_text(), by=keys)
        except (OSError, UnicodeDecodeError, anchor_files.NoKey) as unreadable:
            raise CommandError(str(unreadable)) from unreadable
        except anchor_files.NotAnAnchor as wrong:
            raise CommandError(wrong.message) from wrong
        facts = file.facts
        self.stdout.write(
            f"Anchor {facts['number']} of {facts['made_at']} is whole:"
            f" {facts['wallets']} heads, signed with the key {facts['key']}."
        )
        if not options["database"]:
            return
        different = list(anchors.differences(file))
        for line in different:
            self.stderr.write(line)
        if different:
            raise CommandError("The ledger is not the one that was signed.")
        self.stdout.write("The ledger has every one of them.")

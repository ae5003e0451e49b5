"""`manage.py export_anchor [NUMBER]`: print an anchor's file, to keep elsewhere."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from wallet import anchors
from wallet.models import Anchor


class Command(BaseCommand):
    help = "Print an anchor's file (by default the last one's) or the public keys."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", metavar="NUMBER", nargs="?", type=int)
        parser.add_argument(
            "--public-keys", action="store_true", help="print the keys that verify"
        )

    def handle(self, **options: Any) -> None:
        if options["public_keys"]:
            self.stdout.write(anchors.own_keys().public(), ending="")
            return
        signed = Anchor.objects.exclude(signature=None).order_by("-number")
        if options["number"] is not None:
            signed = signed.filter(number=options["number"])
        anchor = signed.first()
        if anchor is None:
            raise CommandError("There is no such anchor. Run manage.py anchor_ledger.")
        for line in anchors.export(anchor):
            self.stdout.write(line, ending="")

"""`manage.py check_files`: compare every file's row with the storage."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs.files import retention, storage
from jobs.models import StoredFile


class Command(BaseCommand):
    help = "Compare the files with the storage; exit 1 if the content of one is lost."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--remove",
            action="store_true",
            help="remove the objects that belong to no file",
        )

    def handle(self, *, remove: bool, **_options: Any) -> None:
        lost = orphans = 0
        for prefix in storage.PREFIXES:
            found = retention.compare(prefix)
            for key in found.orphans:
                self.stdout.write(f"without a file: {key}")
            for file in found.lost:
                self.stderr.write(f"lost: {file.pk} of account {file.account_id}")
            if remove:
                retention.remove_orphans(found)
            lost, orphans = lost + len(found.lost), orphans + len(found.orphans)
        if lost:
            raise CommandError(f"The content of {lost} file(s) is lost.")
        done = "removed" if remove else "found"
        self.stdout.write(
            f"{StoredFile.objects.count()} files are there; {orphans} objects without"
            f" a file {done}."
        )

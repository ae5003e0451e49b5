"""`manage.py erase_texts EMAIL_OR_ID`: erase the free texts of an account."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.models import User
from jobs import purposes
from wallet import texts


class Command(BaseCommand):
    help = (
        "Erase the free texts of an account's entries, jobs and usage for ever. The"
        " chain of entries stays valid, and no amount changes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="EMAIL_OR_ID")

    def handle(self, **options: Any) -> None:
        owner = _account(options["account"])
        if owner is None:
            raise CommandError(f"No account has the email or id {options['account']}.")
        with transaction.atomic():
            entries = texts.erase(account_id=owner.pk, actor="command:erase_texts")
            rows = purposes.erase(account_id=owner.pk)
        self.stdout.write(f"Erased {entries} texts of entries and {rows} of jobs.")


def _account(named: str) -> User | None:
    try:
        return User.objects.filter(pk=UUID(named)).first()
    except ValueError:
        return User.objects.with_email(named).first()

"""`manage.py explain_balance EMAIL`: why this balance is what it is, line by line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import User
from wallet import explain


class Command(BaseCommand):
    help = "Tell in plain lines what makes up a balance; exit 1 if it does not add up."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", metavar="EMAIL")

    def handle(self, **options: Any) -> None:
        owner = User.objects.with_email(options["email"]).first()
        if owner is None:
            raise CommandError(f"Nobody here has the email {options['email']}.")
        explained = explain.explain(account_id=owner.pk)
        self.stdout.write(f"The balance of {owner} ({owner.pk})\n\n{explained}")
        if not explained.adds_up:
            raise CommandError("The ledger does not add up.")

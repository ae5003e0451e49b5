"""`manage.py explain_balance EMAIL`: explain a balance, line by line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import User
from wallet import explain


class Command(BaseCommand):
    help = "Explain a balance in lines that add up to it; exit 1 if they do not."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", metavar="EMAIL")

    def handle(self, **options: Any) -> None:
        owner = User.objects.with_email(options["email"]).first()
        if owner is None:
            raise CommandError(f"No account has the email {options['email']}.")
        explained = explain.explain(account_id=owner.pk)
        self.stdout.write(f"The balance of {owner} ({owner.pk})\n\n{explained}")
        if not explained.adds_up:
            raise CommandError("The ledger does not add up.")

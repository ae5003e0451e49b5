"""manage.py take_over_app: makes a partner's app the product's of the same name."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.partners import first_party
from focus.errors import DomainError


class Command(BaseCommand):
    help = (
        "Take the app reviv, cosmiv or clipforge over from the partner that registered"
        " it. Its keys are revoked, and its sale ends. Its past jobs stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", choices=[*first_party.APPS])

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            app = first_party.take_over(
                slug=options["slug"], actor="manage.py take_over_app"
            )
        except DomainError as refusal:
            raise CommandError(refusal.message) from refusal
        self.stdout.write(f"The app {app.slug} is the product {app.name}'s own now.")

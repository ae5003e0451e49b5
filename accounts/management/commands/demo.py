"""manage.py demo: what `./dev run` seeds, so that a guide's samples run as printed."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import partners
from accounts.models import App, User
from focus.money import MICRO

# They open nothing but a local database.
PERSON = ("demo@example.com", "focus-demo")
STAFF = ("staff@example.com", "focus-staff")


class Command(BaseCommand):
    help = "Make the demo app, person and staff, where they are missing. Local only."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--print-signins", action="store_true", help="say who can sign in"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.LOCAL:
            raise CommandError("Demo accounts have printed passwords: local mode only.")
        if not App.objects.filter(slug="video").exists():
            partners.create(
                slug="video",
                name="Focus Video",
                starter_credits_micro=20 * MICRO,
                allowed_origins=["http://localhost:5173"],
                actor="manage.py demo",
            )
        email, password = PERSON
        if not User.objects.with_email(email).exists():
            User.objects.create_user(email, password, first_name="Demo")
        email, password = STAFF
        if not User.objects.with_email(email).exists():
            User.objects.create_superuser(email, password)
        if options["print_signins"]:
            self.stdout.write(f"Sign in at {settings.PUBLIC_BASE_URL}/signin as")
            for email, password in (PERSON, STAFF):
                self.stdout.write(f"  {email}  {password}")

"""manage.py demo: the demo data of `./dev run`, for which the guides' samples run."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.credentials import app_keys
from accounts.models import App, AppKey, User
from accounts.partners import apps as partner_apps
from accounts.partners import origins
from focus.money import MICRO
from wallet import ledger

# The command refuses to run outside local mode, so these passwords may be printed.
PERSON = ("demo@example.com", "focus-demo")
PAGE = "http://localhost:5173"
TOOL = "image-tool"
STAFF = ("staff@example.com", "focus-staff")
# A second staff account, for adjustments that need an approval.
APPROVER = ("approver@example.com", "focus-approver")


class Command(BaseCommand):
    help = "Create the demo app, user and staff if they are missing. Local mode only."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--print-signins", action="store_true", help="say who can sign in"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.LOCAL:
            raise CommandError("Demo accounts have printed passwords: local mode only.")
        if not App.objects.filter(slug="video").exists():
            partner_apps.create(
                slug="video",
                name="Focus Video",
                starter_credits_micro=20 * MICRO,
                # The page's origin may be that of our own front end.
                allowed_origins=[] if origins.is_first_party(PAGE) else [PAGE],
                family=True,
                actor="manage.py demo",
            )
        email, password = PERSON
        if not User.objects.with_email(email).exists():
            person = User.objects.create_user(email, password, first_name="Demo")
            ledger.grant(
                account_id=person.pk,
                amount_micro=100 * MICRO,
                source="promo",
                actor="manage.py demo",
                reason="demo credits",
                key=f"demo:{person.pk}",
            )
        email, password = STAFF
        if not User.objects.with_email(email).exists():
            User.objects.create_superuser(email, password)
        email, password = APPROVER
        if not User.objects.with_email(email).exists():
            approver = User.objects.create_user(email, password, is_staff=True)
            approver.groups.add(Group.objects.get(name="finance"))
        if not App.objects.filter(slug=TOOL).exists():
            # The samples of 1sub's guide listen at this address.
            partner_apps.create(
                slug=TOOL,
                name="Demo Image Tool",
                owner=User.objects.with_email(PERSON[0]).first(),
                offer=partner_apps.Offer(
                    5 * MICRO, "http://localhost:3000/auth/callback"
                ),
                family=True,
                actor="manage.py demo",
            )
        if options["print_signins"]:
            self.stdout.write(f"Sign in at {settings.PUBLIC_BASE_URL}/signin as")
            for email, password in (PERSON, STAFF, APPROVER):
                self.stdout.write(f"  {email}  {password}")
            self._print_key()

    def _print_key(self) -> None:
        if AppKey.objects.filter(app__slug=TOOL).exists():
            return
        app = App.objects.get(slug=TOOL)
        issued = app_keys.issue(app=app, name="demo", actor="manage.py demo")
        self.stdout.write(f"The key of {TOOL}, sold at /tools, shown only now:")
        self.stdout.write(f"  {issued.secret}")

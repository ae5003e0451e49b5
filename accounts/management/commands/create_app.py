"""manage.py create_app: registers a partner app and shows its key, this once."""

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts import partners, tokens
from accounts.models import App, User
from focus.errors import DomainError
from focus.money import NotAnAmount, from_micro, to_micro


class Command(BaseCommand):
    help = "Register a partner app and make its first key, which is shown only now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="a-z, 0-9 and hyphens, such as video")
        parser.add_argument("--name", default="", help="what people read")
        parser.add_argument("--owner", metavar="EMAIL", help="the account that owns it")
        parser.add_argument(
            "--starter-credits",
            metavar="N",
            default="0",
            help="given once to each account that opens the app",
        )
        parser.add_argument(
            "--origin",
            metavar="URL",
            action="append",
            default=[],
            help="an exact origin of its pages; may be repeated",
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        owner = self._owner(options["owner"])
        starter_credits_micro = self._micro(options["starter_credits"])
        try:
            with transaction.atomic():
                app = partners.create(
                    slug=options["slug"],
                    name=options["name"],
                    owner=owner,
                    starter_credits_micro=starter_credits_micro,
                    allowed_origins=options["origin"],
                    actor="manage.py create_app",
                )
                issued = tokens.issue_app_key(
                    app=app, name="first key", actor="manage.py create_app"
                )
        except DomainError as refusal:
            raise CommandError(refusal.message) from refusal
        if options["json"]:
            self.stdout.write(json.dumps(_facts(app, issued.secret)))
        else:
            self.stdout.write(_sentences(app, issued.secret))

    def _owner(self, email: str | None) -> User | None:
        if email is None:
            return None
        owner = User.objects.with_email(email).first()
        if owner is None:
            raise CommandError(f"There is no account {email!r}.")
        return owner

    def _micro(self, text: str) -> int:
        try:
            micro = to_micro(Decimal(text))
        except InvalidOperation as broken:
            raise CommandError(f"{text!r} is not a number of credits.") from broken
        except NotAnAmount as refused:
            raise CommandError(f"--starter-credits {refused}") from refused
        if micro < 0:
            raise CommandError("--starter-credits must not be negative.")
        return micro


def _facts(app: App, secret: str) -> dict[str, Any]:
    amount = from_micro(app.starter_credits_micro)
    return {
        "id": str(app.pk),
        "slug": app.slug,
        "name": app.name,
        "owner": app.owner.email if app.owner else None,
        "starter_credits": amount if isinstance(amount, int) else float(amount),
        "origins": app.origins,
        "api_key": secret,
    }


def _sentences(app: App, secret: str) -> str:
    lines = [
        f"Registered {app.name} ({app.slug}).",
        f"  id       {app.pk}",
        f"  origins  {', '.join(app.origins) or 'none'}",
        f"  api key  {secret}",
        "The key is not stored and cannot be shown again.",
    ]
    return "\n".join(lines)

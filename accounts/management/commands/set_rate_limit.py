"""manage.py set_rate_limit: sets the rate limit of an account or of an app's keys."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.partners import allowances
from focus.errors import DomainError

USUAL = "usual"


class Command(BaseCommand):
    help = "Set the requests a minute of one account, or of each key of one app."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("holder", metavar="EMAIL_OR_SLUG")
        parser.add_argument(
            "limit", metavar="N", help=f"requests a minute, or {USUAL!r}"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        limit = options["limit"]
        if limit != USUAL and not limit.isdecimal():
            raise CommandError(f"{limit!r} is neither a number nor {USUAL!r}.")
        per_minute = None if limit == USUAL else int(limit)
        try:
            found = allowances.set_rate_limit(
                holder=options["holder"],
                per_minute=per_minute,
                actor="manage.py set_rate_limit",
            )
        except DomainError as refusal:
            raise CommandError(refusal.message) from refusal
        limit = "the usual limit" if per_minute is None else f"{per_minute} a minute"
        self.stdout.write(f"{found}: {limit}.")

"""`manage.py adjust_credits EMAIL AMOUNT --reason TEXT`: a staff adjustment."""

import getpass
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import User
from focus.errors import DomainError
from focus.money import NotAnAmount, from_micro
from wallet import adjustments


class Command(BaseCommand):
    help = "Give credits to an account, or take them with a negative AMOUNT."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument("amount", metavar="AMOUNT", help="such as 5, -2.5 or 0.01")
        parser.add_argument(
            "--reason",
            required=True,
            metavar="TEXT",
            help="the reason, which only staff can read",
        )
        parser.add_argument(
            "--customer-text",
            default="",
            metavar="TEXT",
            help="shown to the customer beside the movement, up to 200 characters",
        )
        parser.add_argument(
            "--key",
            help="names this adjustment, so that a repeat of the command books it once",
        )

    def handle(self, **options: Any) -> None:
        owner = User.objects.with_email(options["email"]).first()
        if owner is None:
            raise CommandError(f"No account has the email {options['email']}.")
        reason = options["reason"].strip()
        if not reason:
            raise CommandError("--reason must not be empty.")
        text = options["customer_text"].strip()
        if len(reason) > 400 or len(text) > 200:
            raise CommandError(
                "--reason takes at most 400 characters, --customer-text 200."
            )
        key = f"adjust:{options['key'] or uuid.uuid4()}"
        try:
            amount = adjustments.read_amount(options["amount"])
            done = adjustments.adjust_from_shell(
                owner=owner,
                amount_micro=amount,
                reason=reason,
                key=key,
                login=_login(),
                customer_text=text,
            )
        except NotAnAmount as wrong:
            raise CommandError(f"AMOUNT {wrong}") from wrong
        except DomainError as refusal:
            raise CommandError(_message(refusal)) from refusal
        if done.amount_micro != amount:
            raise CommandError(
                f"This key has booked {from_micro(done.amount_micro):+,} before."
                " Nothing has moved now."
            )
        if not done.created:
            self.stdout.write("This key was booked before. Nothing has moved now.")
        self.stdout.write(
            f"{owner}: {from_micro(done.before_micro):,}"
            f" {from_micro(done.amount_micro):+,}"
            f" = {from_micro(done.after_micro):,} credits"
            f" (movement {done.movement_id})"
        )


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container's user may have no name.
        return "unknown"


def _message(refusal: DomainError) -> str:
    facts = ", ".join(f"{name} {value:,}" for name, value in refusal.facts.items())
    return f"{refusal.message} Nothing has moved. {facts}".strip()

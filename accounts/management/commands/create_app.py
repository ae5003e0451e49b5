"""manage.py create_app: registers a partner app and prints its first key."""

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.credentials import app_keys
from accounts.models import App, User
from accounts.models.apps import LONGEST_TTL_SECONDS, SHORTEST_TTL_SECONDS
from accounts.partners import allowances
from accounts.partners import apps as partner_apps
from accounts.partners.apps import Offer
from focus.errors import DomainError
from focus.money import NotAnAmount, from_micro, to_micro


class Command(BaseCommand):
    help = "Register a partner app and create its first key, which is printed only now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="a-z, 0-9 and hyphens, such as video")
        parser.add_argument("--name", default="", help="the name that users see")
        parser.add_argument("--owner", metavar="EMAIL", help="the account that owns it")
        parser.add_argument(
            "--starter-credits",
            metavar="N",
            default="0",
            help="credits given once to each account that opens the app",
        )
        parser.add_argument(
            "--starter-credits-at",
            choices=App.StarterCreditsAt.values,
            default=App.StarterCreditsAt.APP,
            help="where starter credits can be spent: at this app or at every app",
        )
        parser.add_argument(
            "--origin",
            metavar="URL",
            action="append",
            default=[],
            help="an exact origin of its pages; may be repeated",
        )
        parser.add_argument(
            "--tool",
            action="store_true",
            help="users can buy it, as 1sub's guide says",
        )
        parser.add_argument("--price", metavar="N", help="credits; only with --tool")
        parser.add_argument(
            "--redirect-url",
            metavar="URL",
            help="where a buyer is sent with ?token=; needed with --tool",
        )
        parser.add_argument(
            "--rate-limit",
            metavar="N",
            type=int,
            help="requests a minute for each of its keys, instead of the default",
        )
        parser.add_argument(
            "--overage-policy",
            choices=App.OveragePolicy.values,
            default=App.OveragePolicy.CAP,
            help="what happens when a job costs more than its reservation",
        )
        parser.add_argument(
            "--settle-with-app-key-only",
            action="store_true",
            help="its users may not complete or fail its jobs themselves",
        )
        parser.add_argument(
            "--max-ttl-seconds",
            metavar="N",
            type=_ttl,
            default=LONGEST_TTL_SECONDS,
            help="how long its jobs may keep credits reserved, at most a day",
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        owner = self._owner(options["owner"])
        starter_credits_micro = self._micro("--starter-credits", options)
        offer = self._offer(options)
        try:
            with transaction.atomic():
                app = partner_apps.create(
                    slug=options["slug"],
                    name=options["name"],
                    owner=owner,
                    starter_credits_micro=starter_credits_micro,
                    allowed_origins=options["origin"],
                    offer=offer,
                    actor="manage.py create_app",
                    family=True,
                    starter_credits_at=options["starter_credits_at"],
                    overage_policy=options["overage_policy"],
                    settle_with_app_key_only=options["settle_with_app_key_only"],
                    max_ttl_seconds=options["max_ttl_seconds"],
                )
                if options["rate_limit"] is not None:
                    allowances.set_rate_limit(
                        holder=app.slug,
                        per_minute=options["rate_limit"],
                        actor="manage.py create_app",
                    )
                    app.refresh_from_db()
                issued = app_keys.issue(
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

    def _offer(self, options: dict[str, Any]) -> Offer | None:
        if not options["tool"]:
            if options["price"] is not None or options["redirect_url"] is not None:
                raise CommandError("--price and --redirect-url need --tool.")
            return None
        if options["redirect_url"] is None:
            raise CommandError("A tool needs its --redirect-url.")
        options["price"] = options["price"] or "0"
        return Offer(self._micro("--price", options), options["redirect_url"])

    def _micro(self, option: str, options: dict[str, Any]) -> int:
        text = options[option.removeprefix("--").replace("-", "_")]
        try:
            micro = to_micro(Decimal(text))
        except InvalidOperation as broken:
            raise CommandError(f"{text!r} is not a number of credits.") from broken
        except NotAnAmount as refused:
            raise CommandError(f"{option} {refused}") from refused
        if micro < 0:
            raise CommandError(f"{option} must not be negative.")
        return micro


def _ttl(text: str) -> int:
    seconds = int(text)
    if not SHORTEST_TTL_SECONDS <= seconds <= LONGEST_TTL_SECONDS:
        raise ValueError
    return seconds


def _facts(app: App, secret: str) -> dict[str, Any]:
    return {
        "id": str(app.pk),
        "slug": app.slug,
        "name": app.name,
        "owner": app.owner.email if app.owner else None,
        "starter_credits": _number(app.starter_credits_micro),
        "origins": app.origins,
        **_agreed(app),
        "api_key": secret,
    }


def _agreed(app: App) -> dict[str, Any]:
    """Return the settings that differ from their defaults."""
    facts: dict[str, Any] = {}
    if app.rate_limit_per_minute is not None:
        facts["rate_limit"] = app.rate_limit_per_minute
    if app.is_tool:
        facts["price"] = _number(app.price_micro)
        facts["redirect_url"] = app.tool_url
    return facts


def _number(micro: int) -> int | float:
    amount = from_micro(micro)
    return amount if isinstance(amount, int) else float(amount)


def _sentences(app: App, secret: str) -> str:
    lines = [
        f"Registered {app.name} ({app.slug}).",
        f"  id       {app.pk}",
        f"  origins  {', '.join(app.origins) or 'none'}",
        *(
            [f"  price    {from_micro(app.price_micro)}", f"  tool at  {app.tool_url}"]
            if app.is_tool
            else []
        ),
        f"  api key  {secret}",
        "The key is not stored and cannot be shown again.",
    ]
    return "\n".join(lines)

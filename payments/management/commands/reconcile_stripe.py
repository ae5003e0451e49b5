"""`manage.py reconcile_stripe`: compare our books with Stripe's, and repair ours."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from focus.errors import DomainError
from payments import reconciliation


class Command(BaseCommand):
    help = (
        "Compare payments, refunds, disputes and subscriptions with Stripe, both ways,"
        " and credit what was missed. Exit 1 and list every difference that is left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=3, help="how far back (3)")

    def handle(self, *, days: int, **_options: Any) -> None:
        try:
            report = reconciliation.reconcile(days=days)
        except DomainError as refusal:
            raise CommandError(refusal.message) from refusal
        for healed in report.healed:
            self.stdout.write(f"made good: {healed}")
        for drift in report.drifts:
            self.stderr.write(f"differs: {drift.kind} {drift.subject}: {drift.detail}")
        if report.drifts:
            raise CommandError(f"{len(report.drifts)} difference(s) from Stripe.")
        self.stdout.write(
            f"{report.looked_at} payments and subscriptions since"
            f" {report.since:%Y-%m-%d %H:%M} UTC agree with Stripe."
        )

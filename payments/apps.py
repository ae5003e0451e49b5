"""Payments as a Django app."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class PaymentsConfig(AppConfig):
    name = "payments"

    def ready(self) -> None:
        from payments.invariants import INVARIANTS, TABLES
        from wallet.invariants import register

        register(INVARIANTS, TABLES)
        # Django's own hook for what must follow a migrate; not plumbing of ours.
        post_migrate.connect(seed_catalog, sender=self)


def seed_catalog(**_signal: Any) -> None:
    """What the guides show for sale, where it is missing. Staff's changes stay."""
    from payments import packs
    from payments.plans import catalog as plan_catalog

    packs.seed()
    plan_catalog.seed()

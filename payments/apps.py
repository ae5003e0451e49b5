"""Django's configuration of the payments app: invariants, and the offers to seed."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class PaymentsConfig(AppConfig):
    name = "payments"

    def ready(self) -> None:
        from payments.invariants import INVARIANTS, TABLES
        from wallet.invariants import register

        register(INVARIANTS, TABLES)
        # post_migrate is the only hook that Django offers for seeding after a migrate.
        post_migrate.connect(seed_catalog, sender=self)


def seed_catalog(**_signal: Any) -> None:
    """Create the packs and plans that the guides show, where they are missing.

    Rows that staff changed stay as they are.
    """
    from payments import packs
    from payments.plans import catalog as plan_catalog

    packs.seed()
    plan_catalog.seed()

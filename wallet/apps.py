from django.apps import AppConfig
from django.db.models.signals import post_migrate


class WalletConfig(AppConfig):
    name = "wallet"

    def ready(self) -> None:
        from wallet.install import install_functions

        # Django's own hook for work after a migrate.
        post_migrate.connect(install_functions, sender=self)

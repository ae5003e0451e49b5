from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "jobs"

    def ready(self) -> None:
        from jobs.invariants import INVARIANTS, TABLES
        from wallet.invariants import register

        register(INVARIANTS, TABLES)

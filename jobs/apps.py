from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "jobs"

    def ready(self) -> None:
        # The import registers the kind of hosted work in every process.
        from jobs.hosted.restorations import restoring  # noqa: F401
        from jobs.invariants import INVARIANTS, TABLES
        from wallet.invariants import register

        register(INVARIANTS, TABLES)

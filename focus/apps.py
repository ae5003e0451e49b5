"""The project as a Django app: its commands, templates and static files."""

from django.apps import AppConfig


class FocusConfig(AppConfig):
    name = "focus"
    verbose_name = "Focus"

    def ready(self) -> None:
        # Binds @shared_task to our Celery app in every process that uses Django.
        import focus.celery  # noqa: F401

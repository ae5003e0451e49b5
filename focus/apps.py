"""The project as a Django app: its commands, templates and static files."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class FocusConfig(AppConfig):
    name = "focus"
    verbose_name = "Focus"

    def ready(self) -> None:
        # Binds @shared_task to our Celery app in every process that uses Django.
        import focus.celery  # noqa: F401


class StaffSiteConfig(AdminConfig):
    """Django's admin with our site in place of its own."""

    default = False
    default_site = "focus.admin_site.site.StaffSite"

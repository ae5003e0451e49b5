"""The project as a Django app: its commands, templates and static files."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class FocusConfig(AppConfig):
    name = "focus"
    verbose_name = "Focus"

    def ready(self) -> None:
        # Binds @shared_task to our Celery app in every process that uses Django.
        import focus.celery  # noqa: F401

        # Prices of hosted work depend on the plan. Jobs and payments do not know each
        # other.
        from jobs.hosted import prices
        from payments.plans import catalog

        prices.read_plans_by(catalog.plan_of)


class StaffSiteConfig(AdminConfig):
    """Django's admin with our site in place of its own."""

    default = False
    default_site = "focus.admin_site.site.StaffSite"

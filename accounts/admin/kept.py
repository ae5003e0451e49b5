"""The base of staff pages for rows that staff read and act on but do not edit."""

from typing import Any

from django.http import HttpRequest

from focus.admin_site.base import StaffAdmin

ONLY_SUPERUSERS = "Only superusers can change accounts of staff."


class Kept(StaffAdmin):
    """A page without add and delete; without change unless a subclass allows it."""

    list_fullwidth = True
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def may_change(self, request: HttpRequest) -> bool:
        """Return whether staff may use this model's actions."""
        name = f"{self.opts.app_label}.change_{self.opts.model_name}"
        return request.user.has_perm(name)

    # Actions name their permission "act".
    has_act_permission = may_change

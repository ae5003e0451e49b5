"""How staff see rows that stay: to read, and to act on where a rule has an action."""

from typing import Any

from django.http import HttpRequest

from focus.admin_site.base import StaffAdmin

ONLY_SUPERUSERS = "Only superusers change accounts of staff."


class Kept(StaffAdmin):
    """Rows that are looked at: neither deleted nor, unless a class says so, changed."""

    list_fullwidth = True
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def may_change(self, request: HttpRequest) -> bool:
        """Whether staff may use this model's actions, editable or not."""
        name = f"{self.opts.app_label}.change_{self.opts.model_name}"
        return request.user.has_perm(name)

    # Actions name their permission "act".
    has_act_permission = may_change

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

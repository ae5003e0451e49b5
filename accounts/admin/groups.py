"""The staff page of groups (roles), which only superusers read and change."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import ManyToManyField
from django.http import HttpRequest

from accounts import audit
from accounts.authentication import user_of, visitor
from focus.admin_site.base import StaffAdmin

# Django registers its own class, which is not a StaffAdmin.
admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(StaffAdmin):
    """The roles of `accounts.roles`, which every migrate restores, and others."""

    search_fields = ["name"]
    ordering = ["name"]
    fields = ["name", "permissions"]
    filter_horizontal = ["permissions"]

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self._is_superuser(request)

    def _is_superuser(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(getattr(request.user, "is_superuser", False))

    # A change of a group can give every permission to its members.
    has_view_permission = _is_superuser
    has_add_permission = _is_superuser
    has_change_permission = _is_superuser
    has_delete_permission = _is_superuser

    def formfield_for_manytomany(
        self, db_field: ManyToManyField, request: HttpRequest, **options: Any
    ) -> Any:
        if db_field.name == "permissions":
            # The widget shows each permission's model: one query instead of one each.
            options["queryset"] = Permission.objects.select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **options)

    def save_related(
        self, request: HttpRequest, form: Any, formsets: Any, change: bool
    ) -> None:
        super().save_related(request, form, formsets, change)
        self._record(
            request,
            "group_changed" if change else "group_created",
            form.instance,
            fields=form.changed_data,
        )

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        self._record(request, "group_deleted", obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for group in queryset:
            self.delete_model(request, group)

    def _record(
        self, request: HttpRequest, kind: str, group: Group, **facts: Any
    ) -> None:
        audit.record(
            kind,
            actor=str(user_of(request)),
            visitor=visitor(request),
            group=group.name,
            **facts,
        )

"""Staff pages of accounts, identities, consents and security events."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import audit, roles
from accounts.admin.kept import ONLY_SUPERUSERS, Kept
from accounts.authentication import user_of, visitor
from accounts.models import Consent, Identity, SecurityEvent, User
from accounts.signin import closing


@admin.register(User)
class UserAdmin(Kept):
    """Accounts, which staff may close and reopen."""

    list_display = ["email", "first_name", "last_name", "is_active", "created_at"]
    list_filter = ["is_active", "is_staff"]
    search_fields = ["id", "email", "first_name", "last_name", "clerk_id"]
    ordering = ["-created_at", "-id"]
    fields = [
        "id",
        "email",
        "email_verified_at",
        "first_name",
        "last_name",
        "clerk_id",
        "is_active",
        "is_staff",
        "is_superuser",
        "groups",
        "created_at",
        "last_login",
    ]
    readonly_fields = [
        "id",
        "email",
        "email_verified_at",
        "clerk_id",
        "is_active",
        "created_at",
        "last_login",
    ]
    filter_horizontal = ["groups"]
    actions = ["close", "reopen"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not self.may_change(request):
            return False
        return obj is None or roles.may_change_account(staff=user_of(request), user=obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # A person who can make staff can give every permission.
        power = (
            [] if request.user.is_superuser else ["is_staff", "is_superuser", "groups"]
        )
        return [*self.readonly_fields, *power]

    def save_model(
        self, request: HttpRequest, obj: User, form: Any, change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        if form.changed_data:
            audit.record(
                "account_changed",
                user=obj,
                actor=str(user_of(request)),
                visitor=visitor(request),
                fields=form.changed_data,
            )

    @admin.action(
        description="Close account (signs out everywhere)", permissions=["act"]
    )
    def close(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            if not self.has_change_permission(request, user):
                text = f"You cannot close {user}. {ONLY_SUPERUSERS}"
                self.message_user(request, text, messages.ERROR)
            elif user == request.user:
                self.message_user(
                    request, "You cannot close your own account.", messages.ERROR
                )
            else:
                closing.close(
                    user=user, actor=str(user_of(request)), visitor=visitor(request)
                )
                self.message_user(
                    request, f"The account {user} is closed.", messages.SUCCESS
                )

    @admin.action(description="Reopen account", permissions=["act"])
    def reopen(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            if not self.has_change_permission(request, user):
                text = f"You cannot reopen {user}. {ONLY_SUPERUSERS}"
                self.message_user(request, text, messages.ERROR)
                continue
            closing.reopen(
                user=user, actor=str(user_of(request)), visitor=visitor(request)
            )
            self.message_user(request, f"The account {user} is open.", messages.SUCCESS)


@admin.register(Identity)
class IdentityAdmin(Kept):
    """Linked sign-ins."""

    list_display = ["provider", "email", "user", "created_at", "last_used_at"]
    list_filter = ["provider"]
    list_select_related = ["user"]
    search_fields = ["user__email", "email", "=subject"]
    ordering = ["-created_at", "-id"]


@admin.register(Consent)
class ConsentAdmin(Kept):
    """Consents of accounts to apps."""

    list_display = ["user", "app", "granted_at", "revoked_at"]
    list_select_related = ["user", "app"]
    search_fields = ["user__email", "app__slug"]
    ordering = ["-granted_at", "-id"]


@admin.register(SecurityEvent)
class SecurityEventAdmin(Kept):
    """The audit."""

    list_display = ["at", "kind", "user", "actor", "ip"]
    list_select_related = ["user"]
    search_fields = ["=kind", "user__email", "actor", "ip"]
    ordering = ["-at", "-id"]

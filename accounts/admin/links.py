"""Read-only staff pages of linked accounts and syncs. Provider tokens are sealed."""

from django.contrib import admin

from accounts.admin.kept import Kept
from accounts.models import Link, Sync


@admin.register(Link)
class LinkAdmin(Kept):
    """Linked accounts of other services, without tokens."""

    list_display = [
        "provider",
        "username",
        "subject",
        "user",
        "is_active",
        "created_at",
        "last_synced_at",
    ]
    list_filter = ["provider", "is_active"]
    list_select_related = ["user"]
    search_fields = ["=id", "=subject", "username", "user__email"]
    ordering = ["-created_at", "-id"]
    fields = [
        "id",
        "user",
        "provider",
        "subject",
        "username",
        "scopes",
        "is_active",
        "created_at",
        "expires_at",
        "renewing_until",
        "last_synced_at",
        "profile",
    ]


@admin.register(Sync)
class SyncAdmin(Kept):
    """Syncs of linked accounts."""

    list_display = [
        "link",
        "requested_at",
        "due_at",
        "tries",
        "finished_at",
        "error",
    ]
    list_filter = ["link__provider"]
    list_select_related = ["link"]
    search_fields = ["=link__subject", "link__username", "link__user__email"]
    ordering = ["-requested_at", "-id"]

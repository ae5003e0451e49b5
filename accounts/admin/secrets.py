"""Staff pages of sessions, access tokens, API keys, devices and mailed links."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import roles
from accounts.admin.kept import ONLY_SUPERUSERS, Kept
from accounts.authentication import user_of, visitor
from accounts.credentials import tokens
from accounts.models import (
    DeviceGrant,
    MailboxProof,
    PersonalAccessToken,
    Session,
    UserKey,
)
from accounts.signin import sessions
from focus.admin_site import columns


@admin.register(Session)
class SessionAdmin(Kept):
    """Sessions, which staff may sign out."""

    list_display = ["user", "kind", "client", "ip", "last_used_at", "revoked_at"]
    list_filter = ["kind"]
    list_select_related = ["user"]
    search_fields = ["id", "user__email", "ip"]
    ordering = ["-created_at", "-id"]
    exclude = ["browser_key"]
    actions = ["revoke"]

    @admin.action(description="Sign out", permissions=["act"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        for session in queryset.select_related("user"):
            if not roles.may_change_account(staff=user_of(request), user=session.user):
                self.message_user(request, ONLY_SUPERUSERS, messages.ERROR)
                continue
            sessions.revoke(
                session=session, actor=str(user_of(request)), visitor=visitor(request)
            )
            self.message_user(
                request, f"The session {session} is signed out.", messages.SUCCESS
            )


@admin.register(PersonalAccessToken)
class PersonalAccessTokenAdmin(Kept):
    """Access tokens, which staff may revoke."""

    list_display = ["name", "user", "hint", "created_at", "expires_at", "revoked_at"]
    list_select_related = ["user"]
    search_fields = ["id", "name", "user__email", "last4"]
    ordering = ["-created_at", "-id"]
    actions = ["revoke"]

    hint = columns.itself("token")

    @admin.action(description="Revoke", permissions=["act"])
    def revoke(
        self, request: HttpRequest, queryset: QuerySet[PersonalAccessToken]
    ) -> None:
        for token in queryset.select_related("user"):
            if not roles.may_change_account(staff=user_of(request), user=token.user):
                self.message_user(request, ONLY_SUPERUSERS, messages.ERROR)
                continue
            tokens.revoke(
                user=token.user,
                token_id=token.pk,
                actor=str(user_of(request)),
                visitor=visitor(request),
            )
            self.message_user(
                request, f"The token {token} is revoked.", messages.SUCCESS
            )


@admin.register(UserKey)
class UserKeyAdmin(Kept):
    """API keys of customers."""

    list_display = [
        "name",
        "user",
        "hint",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
    ]
    list_select_related = ["user"]
    search_fields = ["=id", "name", "user__email", "last4"]
    ordering = ["-created_at", "-id"]

    hint = columns.itself("key")


@admin.register(DeviceGrant)
class DeviceGrantAdmin(Kept):
    """Device sign-ins, without their codes."""

    list_display = ["client_name", "status", "decided_by", "ip", "created_at"]
    list_filter = ["status"]
    list_select_related = ["decided_by"]
    search_fields = ["client_name", "decided_by__email", "ip"]
    ordering = ["-created_at", "-id"]
    # Staff that read a pending code could approve it for an account of their own.
    exclude = ["user_code", "code_challenge"]


@admin.register(MailboxProof)
class MailboxProofAdmin(Kept):
    """Mailed links, without their digests."""

    list_display = ["email", "purpose", "user", "asked_at", "used_at", "ip"]
    list_filter = ["purpose"]
    list_select_related = ["user"]
    search_fields = ["email", "user__email", "ip"]
    ordering = ["-asked_at", "-id"]
    exclude = ["digest"]

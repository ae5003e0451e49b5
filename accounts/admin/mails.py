"""The read-only staff page of mails. A secret link is sealed and not in the body."""

from django.contrib import admin

from accounts.admin.kept import Kept
from accounts.models import Mail


@admin.register(Mail)
class MailAdmin(Kept):
    """Mails to customers, without secret links."""

    list_display = ["created_at", "subject", "to", "tries", "due_at", "sent_at"]
    list_select_related = ["user"]
    search_fields = ["to", "subject"]
    ordering = ["-created_at", "-id"]
    fields = [
        "user",
        "to",
        "subject",
        "body",
        "created_at",
        "due_at",
        "tries",
        "sent_at",
    ]

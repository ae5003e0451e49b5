"""New Clerk users with a profile that Clerk could not send at their first sign-in."""

from django.conf import settings
from django.db import models


class ClerkLookup(models.Model):
    """A user to look up at Clerk from `due_at` on. Deleted once Clerk has answered."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    due_at = models.DateTimeField(db_index=True)
    tries = models.PositiveSmallIntegerField(default=0)
    lease = models.UUIDField(null=True, editable=False)

    def __str__(self) -> str:
        return f"{self.user} · {self.due_at:%Y-%m-%d %H:%M}"

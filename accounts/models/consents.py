"""The apps that a user allows to act for the account."""

from django.conf import settings
from django.db import models


class Consent(models.Model):
    """A user's consent to one app. A revoked row stays as a record."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False
    )
    app = models.ForeignKey("accounts.App", on_delete=models.PROTECT)
    granted_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "app"], name="a_person_answers_an_app_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.app}"

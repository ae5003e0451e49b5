"""Which apps a person lets act for them."""

from django.conf import settings
from django.db import models


class Consent(models.Model):
    """One person's yes to one app. Revoked, it stays as a record of both times."""

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

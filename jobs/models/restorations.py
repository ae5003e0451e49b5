"""Restorations: the photos of reviv's guide."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from jobs.models.files import StoredFile
from jobs.models.hosted import Run


class Restoration(models.Model):
    """One photo to restore. Its integer id is the guide's `job_id`.

    The state of the work is its run's. A file that was deleted reads as null.
    """

    class UnlockMethod(models.TextChoices):
        PAID = "paid"
        SOCIAL_SHARE = "social_share"

    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False
    )
    run = models.OneToOneField(Run, on_delete=models.PROTECT)
    original = models.OneToOneField(
        StoredFile, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    preview = models.OneToOneField(
        StoredFile, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    full = models.OneToOneField(
        StoredFile, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    unlock_method = models.CharField(
        max_length=12, choices=UnlockMethod, null=True, blank=True
    )
    unlocked_at = models.DateTimeField(null=True)
    # The charge of a paid unlock. Null for a free one.
    unlock_movement_id = models.UUIDField(null=True)
    # When the person last opened a share address.
    share_opened_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(unlock_method__isnull=True, unlocked_at__isnull=True)
                | Q(unlock_method__isnull=False, unlocked_at__isnull=False),
                name="an_unlocked_restoration_says_when",
            ),
        ]
        indexes = [
            models.Index(
                fields=["account", "-created_at"], name="restorations_of_an_account"
            ),
            models.Index(fields=["expires_at"], name="restorations_by_expiry"),
        ]

    def __str__(self) -> str:
        return f"restoration {self.pk}"

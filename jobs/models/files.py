"""Files of hosted work: uploads of people, and results of the engine."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class StoredFile(models.Model):
    """One object in the storage, and the account that owns it.

    The row is written before the object, and removed after it, so that no object is
    without a row. A file goes through these states:

    1. Without `arrived_at`, the content is still expected, up to `most_bytes`.
    2. With `arrived_at`, the file is complete and never changes.
    3. With `deleted_at`, its address answers 404, and a worker removes the object and
       then the row.

    `due_at` is when a worker looks at the file next: its expiry, or its removal.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False
    )
    # What the file is for, such as "photo" or "preview".
    purpose = models.CharField(max_length=20)
    # The name in the storage. It cannot be guessed.
    key = models.CharField(max_length=100, unique=True)
    # The name that a download suggests.
    name = models.CharField(max_length=255)
    content_type = models.CharField(max_length=100)
    most_bytes = models.BigIntegerField()
    # Null until the file has arrived.
    size = models.BigIntegerField(null=True)
    sha256 = models.BinaryField(max_length=32, null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now())
    arrived_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    tries = models.PositiveSmallIntegerField(default=0, db_default=0)
    lease = models.UUIDField(null=True, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(arrived_at__isnull=True)
                | Q(size__gte=0, size__lte=models.F("most_bytes")),
                name="an_arrived_file_has_its_size",
            ),
        ]
        indexes = [
            models.Index(fields=["account", "-created_at"], name="files_of_an_account"),
            models.Index(fields=["-created_at"], name="files_by_age"),
            models.Index(
                fields=["due_at"],
                condition=Q(due_at__isnull=False),
                name="files_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.purpose}, {self.created_at:%Y-%m-%d %H:%M} UTC"

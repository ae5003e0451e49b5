"""Opaque cursors for lists that are sorted by `-created_at, -pk`.

Unlike page numbers, they neither repeat nor skip rows when new rows are added.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from uuid import UUID

from django.db.models import Q
from rest_framework.serializers import ValidationError


def after(created_at: datetime, pk: UUID) -> str:
    """Return the cursor of the page after this row."""
    place = f"{created_at.isoformat()}|{pk.hex}"
    return urlsafe_b64encode(place.encode()).decode().rstrip("=")


def rest(cursor: str) -> Q:
    """Return the filter for the rows after `cursor`.

    Raises DRF's `ValidationError` for a text that is no cursor.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        moment, _, pk = urlsafe_b64decode(padded).decode().partition("|")
        created_at, last = datetime.fromisoformat(moment), UUID(hex=pk)
        if created_at.tzinfo is None:
            raise ValueError("a cursor of ours carries its time zone")
    except ValueError:
        message = "is not a cursor of this list."
        raise ValidationError({"cursor": [message]}) from None
    return Q(created_at__lt=created_at) | Q(created_at=created_at, pk__lt=last)

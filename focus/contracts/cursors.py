"""Where a list of newest-first rows goes on: an opaque place, not a page number.

Rows added meanwhile neither repeat nor skip any.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from uuid import UUID

from django.db.models import Q
from rest_framework.serializers import ValidationError


def after(created_at: datetime, pk: UUID) -> str:
    """The cursor that goes on after this row."""
    place = f"{created_at.isoformat()}|{pk.hex}"
    return urlsafe_b64encode(place.encode()).decode().rstrip("=")


def rest(cursor: str) -> Q:
    """The rows after a cursor in a list by `-created_at, -pk`. A made-up one is 400."""
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

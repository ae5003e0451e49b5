"""Django's sessions, stored under a digest of the cookie's key.

The key in the cookie opens the account. A row stores only the SHA-256 of the key.
Neither the admin nor a copy of the database reveals a key that a browser could send.
The keys have 165 random bits, so the digest needs no salt and no pepper.
"""

import hashlib
from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.utils import timezone

# The width of Django's column; 160 bits are enough to find a row and to hide a key.
_DIGITS = 40


def digest(key: str) -> str:
    """Return the digest of a key, as stored in `django_session` and `Session`."""
    return hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]


class SessionStore(db.SessionStore):
    """The settings' SESSION_ENGINE. Its callers pass and get keys, never digests."""

    def load(self) -> dict[str, Any]:
        if self.session_key is None:
            return {}
        row = Session.objects.filter(
            session_key=digest(self.session_key), expire_date__gt=timezone.now()
        ).first()
        if row is None:
            self._session_key = None
            return {}
        return self.decode(row.session_data)

    def exists(self, session_key: str) -> bool:
        return super().exists(digest(session_key))

    def create_model_instance(self, data: Any) -> Any:
        row = super().create_model_instance(data)
        row.session_key = digest(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(digest(key))

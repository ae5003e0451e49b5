"""`Principal`: the verified caller of a request, and the refusals of credentials."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from accounts.models import App, User
from focus.errors import DomainError


class InvalidToken(DomainError):
    """The credential is unknown, malformed, forged or revoked. The sender is not told
    which.
    """

    code = "invalid_token"
    wrong_guess = True


class NotAGuess(InvalidToken):
    """An invalid credential that is not counted as a guess (decision 0029)."""

    wrong_guess = False


class TokenEnded(NotAGuess):
    """A genuine credential that was revoked or replaced."""


class MalformedToken(NotAGuess):
    """Text that cannot be one of our credentials, such as `Bearer null`."""


class TokenExpired(DomainError):
    """A genuine credential that has expired."""

    code = "token_expired"


class AppInactive(DomainError):
    code = "app_inactive"


class KeyInactive(DomainError):
    code = "key_inactive"


class Kind(StrEnum):
    """The six kinds of credential."""

    SESSION = "session"
    JWT = "jwt"
    PAT = "pat"
    APP_KEY = "app_key"
    USER_KEY = "user_key"
    CLERK = "clerk"


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified credential of a user (`user`) or of a partner's server (`app`).

    `scopes` limits a personal access token; None means no limit. `session_id` is the
    session of a cookie or JWT. `token_id` is the row of a personal access token, app
    key or user key. `token` and `expires_at` are set for Clerk tokens only. `read_only`
    is True when support acts as the user.

    `bound_to` is the app that received this credential. The credential is valid for
    that app's part of the account only. `may_consent` is False for a cookie request
    that a link or an image on another page may have caused.
    """

    kind: Kind
    user: User | None = None
    app: App | None = None
    scopes: frozenset[str] | None = None
    session_id: uuid.UUID | None = None
    token_id: uuid.UUID | None = None
    token: str = field(default="", repr=False)
    expires_at: datetime | None = None
    read_only: bool = False
    bound_to: App | None = None
    may_consent: bool = True

    # An app's key has no account, so `request.user` is the principal. DRF and Django
    # read these attributes.
    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False

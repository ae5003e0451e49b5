"""Who a request speaks for, once its credential has been believed."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from accounts.models import App, User
from focus.errors import DomainError


class InvalidToken(DomainError):
    """Unknown, misspelled, forged or revoked: which one is not the sender's to know."""

    code = "invalid_token"
    wrong_guess = True


class NotAGuess(InvalidToken):
    """Refused like any other, and not counted: it does not help to find a secret."""

    wrong_guess = False


class TokenEnded(NotAGuess):
    """Genuine, and revoked or superseded since."""


class MalformedToken(NotAGuess):
    """Shaped like no credential of ours (`Bearer null`), so it can never succeed."""


class TokenExpired(DomainError):
    """Genuine, and past its time."""

    code = "token_expired"


class AppInactive(DomainError):
    code = "app_inactive"


class KeyInactive(DomainError):
    code = "key_inactive"


class Kind(StrEnum):
    """The six ways to be somebody here."""

    SESSION = "session"
    JWT = "jwt"
    PAT = "pat"
    APP_KEY = "app_key"
    USER_KEY = "user_key"
    CLERK = "clerk"


@dataclass(frozen=True, slots=True)
class Principal:
    """A believed credential: a person (`user`) or a partner's server (`app`).

    `scopes` limits a personal access token and is None where nothing is limited.
    `session_id` is the sign-in behind a cookie or JWT, `token_id` the row of a personal
    access token, app key or person's key. Only a token of Clerk's comes with itself
    (`token`, `expires_at`). With `read_only` somebody acts in the person's place.

    `bound_to` is the app that this credential was handed to: the credential carries
    that app's part of the account and no more. `may_consent` is False for a cookie that
    a link or an image on another page may have made the browser send.
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

    # What DRF and Django ask of `request.user`, for an app that is nobody's account.
    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False

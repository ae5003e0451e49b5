"""What a provider may tell about an account elsewhere, and how it may refuse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from focus.errors import DomainError

# A query as it came: each name with all of its values.
CallbackQuery = Mapping[str, Sequence[str]]


class LinkNotProven(DomainError):
    """The answer is forged, used, too old, or for another question."""

    code = "link_not_proven"


class LinkDeclined(DomainError):
    """The person said no at the provider."""

    code = "access_denied"


class ConsentGone(DomainError):
    """The provider no longer takes the refresh or access token that we have."""

    code = "reconnect_required"


@dataclass(frozen=True, slots=True)
class OAuthTokens:
    """A provider's tokens for one account, as it gave them."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    scopes: list[str]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProvenAccount:
    """Who was there: the provider's unchanging id, the name it shows, and tokens."""

    subject: str
    username: str = ""
    tokens: OAuthTokens | None = None


def single_value(query: CallbackQuery, name: str) -> str:
    """Return the only value of `name`. Raises `LinkNotProven` for none and for several.

    With two values, a check of one of them says nothing about the other.
    """
    values = query.get(name) or ()
    if len(values) != 1:
        raise LinkNotProven(f"The provider's answer must have {name} once.")
    return values[0]

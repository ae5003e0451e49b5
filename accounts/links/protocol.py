"""The types between `linking` and the providers: an external account, and refusals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from focus.errors import DomainError

# The callback's query string: each name with all of its values.
CallbackQuery = Mapping[str, Sequence[str]]


class LinkNotProven(DomainError):
    """The provider's answer is forged, already used, too old, or for another state."""

    code = "link_not_proven"


class LinkDeclined(DomainError):
    """The user declined at the provider."""

    code = "access_denied"


class ConsentGone(DomainError):
    """The provider no longer accepts our refresh or access token."""

    code = "reconnect_required"


@dataclass(frozen=True, slots=True)
class OAuthTokens:
    """The tokens that a provider issued for one account."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    scopes: list[str]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProvenAccount:
    """A proven external account: the provider's permanent id, its name and tokens."""

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

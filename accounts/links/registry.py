"""The services whose accounts people may link. A link is never a way to sign in."""

from dataclasses import dataclass
from typing import Any, Protocol

from accounts.links import steam
from accounts.links import x as x_link
from accounts.links.protocol import CallbackQuery, OAuthTokens, ProvenAccount
from focus.errors import NotFound


class LinkService(Protocol):
    """How a provider is asked whose account it is, and what it tells about it."""

    def is_configured(self) -> bool: ...

    def origin(self) -> str: ...

    def authorization_url(self, *, callback: str, state: str, verifier: str) -> str: ...

    def verify_callback(
        self, *, query: CallbackQuery, callback: str, state: str, verifier: str
    ) -> ProvenAccount: ...

    def look_up(self, *, subject: str, access_token: str | None) -> dict[str, Any]: ...


class TokenIssuer(Protocol):
    """How tokens that a provider gave are renewed and given back."""

    def renew(self, *, tokens: OAuthTokens) -> OAuthTokens: ...

    def revoke(self, *, tokens: OAuthTokens) -> None: ...


@dataclass(frozen=True, slots=True)
class Provider:
    """One line of the list. Without a `service` it cannot be linked yet."""

    id: str
    name: str
    icon: str
    description: str
    service: LinkService | None = None
    issuer: TokenIssuer | None = None

    @property
    def available(self) -> bool:
        return self.service is not None and self.service.is_configured()


PROVIDERS = [
    Provider("steam", "Steam", "🎮", "Steam Library", service=steam),
    Provider("xbox", "Xbox", "🟢", "Xbox Live"),
    Provider("playstation", "PlayStation", "🔵", "PlayStation Network"),
    Provider("switch", "Nintendo Switch", "🔴", "Nintendo Switch Online"),
    Provider("x", "X", "𝕏", "X (Twitter)", service=x_link, issuer=x_link),
]


def listed() -> list[Provider]:
    """All that can be linked, and the consoles that cannot be yet."""
    return [one for one in PROVIDERS if one.available or one.service is None]


def find(provider_id: str) -> Provider:
    """One that can be linked here. Raises `NotFound`."""
    for provider in PROVIDERS:
        if provider.id == provider_id and provider.available:
            return provider
    raise NotFound("Accounts of this provider cannot be linked.")


def named(provider_id: str) -> Provider | None:
    """Any that we know, to show or to clean up after, configured or not."""
    return next((one for one in PROVIDERS if one.id == provider_id), None)

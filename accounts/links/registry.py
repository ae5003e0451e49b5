"""The list of providers with accounts to link. A link is not a sign-in method."""

from dataclasses import dataclass
from typing import Any, Protocol

from accounts.links import steam
from accounts.links import x as x_link
from accounts.links.protocol import CallbackQuery, OAuthTokens, ProvenAccount
from focus.errors import NotFound


class LinkService(Protocol):
    """A provider's module: prove an account by a redirect, and look up its profile."""

    def is_configured(self) -> bool:
        """Return whether this server has the provider's credentials."""

    def origin(self) -> str:
        """Return the provider's URL that forms redirect to, for the page's CSP."""

    def authorization_url(self, *, callback: str, state: str, verifier: str) -> str:
        """Return the URL to redirect the user to. `verifier` is for PKCE."""

    def verify_callback(
        self, *, query: CallbackQuery, callback: str, state: str, verifier: str
    ) -> ProvenAccount:
        """Verify the callback's query string and return the external account.

        Raises `LinkDeclined`, `LinkNotProven` and `ServiceDown`.
        """

    def look_up(self, *, subject: str, access_token: str | None) -> dict[str, Any]:
        """Return the account's profile. Raises `ConsentGone` and `ServiceDown`."""


class TokenIssuer(Protocol):
    """A provider's module that also issues tokens: renew and revoke them."""

    def renew(self, *, tokens: OAuthTokens) -> OAuthTokens:
        """Return new tokens. Raises `ConsentGone` and `ServiceDown`."""

    def revoke(self, *, tokens: OAuthTokens) -> None:
        """Revoke the tokens at the provider. Raises `ServiceDown`."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider. Without a `service` its accounts cannot be linked yet."""

    id: str
    name: str
    icon: str
    description: str
    service: LinkService | None = None
    issuer: TokenIssuer | None = None

    @property
    def available(self) -> bool:
        """Whether its accounts can be linked on this server."""
        return self.service is not None and self.service.is_configured()


PROVIDERS = [
    Provider("steam", "Steam", "🎮", "Steam Library", service=steam),
    Provider("xbox", "Xbox", "🟢", "Xbox Live"),
    Provider("playstation", "PlayStation", "🔵", "PlayStation Network"),
    Provider("switch", "Nintendo Switch", "🔴", "Nintendo Switch Online"),
    Provider("x", "X", "𝕏", "X (Twitter)", service=x_link, issuer=x_link),
]


def listed() -> list[Provider]:
    """Return the providers to show: those that work here, and those still to come."""
    return [one for one in PROVIDERS if one.available or one.service is None]


def find(provider_id: str) -> Provider:
    """Return the provider if its accounts can be linked here. Raises `NotFound`."""
    for provider in PROVIDERS:
        if provider.id == provider_id and provider.available:
            return provider
    raise NotFound("Accounts of this provider cannot be linked.")


def named(provider_id: str) -> Provider | None:
    """Return the provider, configured or not, to show or revoke an existing link."""
    return next((one for one in PROVIDERS if one.id == provider_id), None)

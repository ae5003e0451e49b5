"""Find a user's access token at another service, such as X."""

import re

from django.conf import settings

from accounts.links import linking
from accounts.links.linking import NotLinked, ProviderToken, ReconnectRequired
from accounts.models import User
from accounts.providers import clerk_backend

__all__ = ["NotLinked", "ProviderToken", "ReconnectRequired", "find"]

_PROVIDER = re.compile(r"[a-z0-9_-]{1,64}")


def find(*, user: User, provider: str) -> ProviderToken:
    """Return the token of `user`'s account at `provider`: from our links, else Clerk.

    Raises `NotLinked`, `ReconnectRequired`, and `ServiceDown` if the provider or Clerk
    does not answer. Never call it inside a transaction.
    """
    try:
        return linking.token(user=user, provider=provider)
    except NotLinked:
        return _at_clerk(user, provider)


def _at_clerk(user: User, provider: str) -> ProviderToken:
    if user.clerk_id is None or not clerk_backend.is_configured():
        raise _not_linked(provider)
    # The name becomes part of a URL.
    if not _PROVIDER.fullmatch(provider):
        raise _not_linked("such")
    try:
        found = clerk_backend.fetch_linked_token(
            clerk_id=user.clerk_id, provider=provider
        )
    except clerk_backend.ConsentNeeded as refused:
        raise ReconnectRequired(
            f"Your {provider} account has to be connected again.",
            reconnect_url=settings.CLERK_PROFILE_URL,
        ) from refused
    if found is None:
        raise _not_linked(provider)
    return ProviderToken(found.token, found.scopes, found.expires_at)


def _not_linked(provider: str) -> NotLinked:
    return NotLinked(f"No {provider} account is linked to yours.")

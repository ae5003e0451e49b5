"""A person's access tokens at other services, such as X."""

import re
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings

from accounts import clerk_backend
from accounts.models import User
from focus.errors import DomainError

_PROVIDER = re.compile(r"[a-z0-9_-]{1,64}")


class NotLinked(DomainError):
    code = "not_linked"


class ReconnectRequired(DomainError):
    """The provider wants the person's consent anew; `reconnect_url` is where."""

    code = "reconnect_required"


@dataclass(frozen=True, slots=True)
class ProviderToken:
    token: str = field(repr=False)
    scopes: list[str]
    expires_at: datetime | None


def find(*, user: User, provider: str) -> ProviderToken:
    """The token of `user`'s account at `provider`, kept for us by Clerk.

    Raises `NotLinked`, `ReconnectRequired`, and `ServiceDown` where Clerk does not
    answer. Never call it in a transaction.
    """
    if user.clerk_id is None or not clerk_backend.configured():
        raise _not_linked(provider)
    # It becomes part of an address.
    if not _PROVIDER.fullmatch(provider):
        raise _not_linked("such")
    try:
        found = clerk_backend.linked_token(clerk_id=user.clerk_id, provider=provider)
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

"""The OAuth tokens of linked accounts: sealed at rest, renewed by one caller at a time.

A provider accepts a refresh token once and revokes the link if it sees it twice. So a
caller renews in these steps:

1. Take a lease on the row by one UPDATE. Only one caller gets it; the others poll.
2. Send the refresh token to the provider, with no open transaction.
3. Store the new tokens if the lease is still this caller's. Otherwise revoke them.
"""

import logging
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from accounts import sealed
from accounts.links import registry as link_registry
from accounts.links.protocol import ConsentGone, OAuthTokens
from accounts.models import Link, User
from accounts.providers.outbound import ServiceDown
from focus.errors import DomainError

log = logging.getLogger(__name__)

PURPOSE = "link-tokens"
# A token this close to its expiry could expire before it is used.
SPARE = timedelta(seconds=60)
# Longer than one request (outbound.MAX_SECONDS and connecting). If the caller with the
# lease is killed, the others wait this long.
LEASE = timedelta(seconds=20)
WAIT_SECONDS = 10
_LOOK_EVERY_SECONDS = 0.1


class NotLinked(DomainError):
    """The user has no linked account of this provider, or one without a token."""

    code = "not_linked"


class ReconnectRequired(DomainError):
    """The provider needs the user's consent again, at `reconnect_url`."""

    code = "reconnect_required"


@dataclass(frozen=True, slots=True)
class ProviderToken:
    """A provider's valid access token.

    `expires_at` is None if the provider sent none.
    """

    token: str = field(repr=False)
    scopes: list[str]
    expires_at: datetime | None


def token(*, user: User, provider: str) -> ProviderToken:
    """Return the access token of `user`'s linked account; renew it first if it expired.

    Waits up to `WAIT_SECONDS` for another caller's renewal. Raises `NotLinked`,
    `ReconnectRequired`, and `ServiceDown` if the provider does not answer. Never call
    it inside a transaction.
    """
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        link = Link.objects.filter(user=user, provider=provider).first()
        if link is None or link.sealed_tokens is None:
            raise not_linked(provider)
        if not link.is_active:
            raise reconnect(provider)
        tokens = unseal(link)
        if tokens is None:
            # The sealing key has changed. The user can reconnect to get new tokens.
            raise reconnect(provider)
        if link.expires_at is None or link.expires_at > timezone.now() + SPARE:
            return ProviderToken(tokens.access, link.scopes, link.expires_at)
        if (lease := _lease(link)) is not None:
            _renew(link, tokens, lease)
        else:
            time.sleep(_LOOK_EVERY_SECONDS)
    raise ServiceDown("The token is being renewed. Please retry in a moment.")


def mark_rejected(link: Link, *, access_token: str | None) -> None:
    """Record that the provider rejected `access_token` before its expiry.

    The next call of `token` renews it. Without a refresh token, the user must
    reconnect. Does nothing if the token has been replaced since.
    """
    tokens = unseal(link)
    if tokens is None or tokens.access != access_token:
        return
    same = Link.objects.filter(
        pk=link.pk, expires_at=link.expires_at, renewing_until=link.renewing_until
    )
    if tokens.refresh is None:
        same.update(is_active=False)
    else:
        same.update(expires_at=timezone.now())


def store(link: Link, tokens: OAuthTokens) -> None:
    """Seal `tokens` into `link`, which the caller saves."""
    for name, value in _row(tokens).items():
        setattr(link, name, value)


def unseal(link: Link) -> OAuthTokens | None:
    """Return the link's tokens; None if it has none, or none that our key opens."""
    if link.sealed_tokens is None:
        return None
    try:
        kept = sealed.unseal(bytes(link.sealed_tokens), purpose=PURPOSE)
    except sealed.Unreadable:
        log.error("the tokens of link %s were sealed with another key", link.pk)
        return None
    token_pair = msgspec.json.decode(kept, type=dict[str, str | None])
    return OAuthTokens(
        token_pair["access"] or "",
        token_pair["refresh"],
        list(link.scopes),
        link.expires_at,
    )


def revoke(provider: str, tokens: OAuthTokens) -> None:
    """Revoke `tokens` at the provider. Tries once and only logs a failure."""
    try:
        _issuer(provider).revoke(tokens=tokens)
    except ServiceDown as down:
        log.warning("could not revoke tokens at %s: %s", _name(provider), down)


def not_linked(provider: str) -> NotLinked:
    """Return the refusal for a missing link of this provider."""
    return NotLinked(f"No {_name(provider)} account with a token is linked.")


def reconnect(provider: str) -> ReconnectRequired:
    """Return the refusal that sends the user to reconnect the account."""
    return ReconnectRequired(
        f"{_name(provider)} asks you to connect your account again.",
        reconnect_url=f"{settings.PUBLIC_BASE_URL}/security#links",
    )


def _lease(link: Link) -> datetime | None:
    """Take the lease to renew and return its end, which identifies it. None: taken."""
    now = timezone.now()
    free = Q(renewing_until=None) | Q(renewing_until__lte=now)
    # `expires_at` must still be what this caller has read: no renewal came between.
    same = Link.objects.filter(
        free, pk=link.pk, is_active=True, expires_at=link.expires_at
    )
    until = now + LEASE
    return until if same.update(renewing_until=until) else None


def _renew(link: Link, tokens: OAuthTokens, lease: datetime) -> None:
    mine = Link.objects.filter(pk=link.pk, renewing_until=lease)
    try:
        fresh = _issuer(link.provider).renew(tokens=tokens)
    except ConsentGone:
        mine.update(is_active=False, renewing_until=None)
        return
    except ServiceDown:
        mine.update(renewing_until=None)
        raise
    if not mine.update(**_row(fresh), renewing_until=None):
        # The user has unlinked or relinked meanwhile. No row holds these new tokens, so
        # revoke them now.
        revoke(link.provider, fresh)


def _issuer(provider: str) -> link_registry.TokenIssuer:
    known = link_registry.named(provider)
    if known is None or known.issuer is None or not known.available:
        raise ServiceDown("This provider is no longer configured here.")
    return known.issuer


def _row(tokens: OAuthTokens) -> dict[str, Any]:
    token_pair = {"access": tokens.access, "refresh": tokens.refresh}
    return {
        "sealed_tokens": sealed.seal(msgspec.json.encode(token_pair), purpose=PURPOSE),
        "scopes": tokens.scopes,
        "expires_at": tokens.expires_at,
    }


def _name(provider: str) -> str:
    known = link_registry.named(provider)
    return known.name if known else provider

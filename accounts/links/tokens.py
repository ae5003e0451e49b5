"""The tokens of linked accounts: sealed at rest, and renewed by one at a time.

A refresh token is taken once, so two who present the same one lose the link. Who renews
first takes a lease on the row, by one statement; the others wait for what comes of it.
No transaction is open while the provider is asked.
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
# A token this near its end may be over before it is used.
SPARE = timedelta(seconds=60)
# Longer than outbound.MAX_SECONDS and a connection; a killed renewer costs this much.
LEASE = timedelta(seconds=20)
WAIT_SECONDS = 10
_LOOK_EVERY_SECONDS = 0.1


class NotLinked(DomainError):
    """The person has no account of this provider linked, or one without a token."""

    code = "not_linked"


class ReconnectRequired(DomainError):
    """The provider wants to hear it from the person again; `reconnect_url` is where."""

    code = "reconnect_required"


@dataclass(frozen=True, slots=True)
class ProviderToken:
    """A provider's access token that works now; `expires_at` None: it does not say."""

    token: str = field(repr=False)
    scopes: list[str]
    expires_at: datetime | None


def token(*, user: User, provider: str) -> ProviderToken:
    """The access token of `user`'s linked account, renewed if it is over.

    Raises `NotLinked`, `ReconnectRequired`, and `ServiceDown` where the provider must
    be asked and does not answer. Never call it inside a transaction.
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
            # The key it was sealed with is gone; the person can give a new token.
            raise reconnect(provider)
        if link.expires_at is None or link.expires_at > timezone.now() + SPARE:
            return ProviderToken(tokens.access, link.scopes, link.expires_at)
        if (lease := _lease(link)) is not None:
            _renew(link, tokens, lease)
        else:
            time.sleep(_LOOK_EVERY_SECONDS)
    raise ServiceDown("The token is being renewed. Please retry in a moment.")


def mark_rejected(link: Link, *, access_token: str | None) -> None:
    """The provider refused `access_token` although its time is not over.

    The next who asks renews it; without a refresh token the person must reconnect.
    A token that has been replaced since changes nothing.
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
    """Lay `tokens` into the row, which the caller saves."""
    for name, value in _row(tokens).items():
        setattr(link, name, value)


def unseal(link: Link) -> OAuthTokens | None:
    """The tokens in the row; None where there are none that we can read."""
    if link.sealed_tokens is None:
        return None
    try:
        kept = sealed.unseal(bytes(link.sealed_tokens), purpose=PURPOSE)
    except sealed.Unreadable:
        log.error("the tokens of link %s were sealed with another key", link.pk)
        return None
    said = msgspec.json.decode(kept, type=dict[str, str | None])
    return OAuthTokens(
        said["access"] or "", said["refresh"], list(link.scopes), link.expires_at
    )


def revoke(provider: str, tokens: OAuthTokens) -> None:
    """Tell the provider that we need these no more. Tried once: here they are gone."""
    try:
        _issuer(provider).revoke(tokens=tokens)
    except ServiceDown as down:
        log.warning("%s kept tokens that we gave up: %s", _name(provider), down)


def not_linked(provider: str) -> NotLinked:
    return NotLinked(f"No {_name(provider)} account with a token is linked.")


def reconnect(provider: str) -> ReconnectRequired:
    return ReconnectRequired(
        f"{_name(provider)} asks you to connect your account again.",
        reconnect_url=f"{settings.PUBLIC_BASE_URL}/security#links",
    )


def _lease(link: Link) -> datetime | None:
    """Whoever gets one renews; its end names the attempt. None: another has it."""
    now = timezone.now()
    free = Q(renewing_until=None) | Q(renewing_until__lte=now)
    # Only if nothing was renewed since the row was read.
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
        # Unlinked, or linked anew, meanwhile: nobody would ever give these back.
        revoke(link.provider, fresh)


def _issuer(provider: str) -> link_registry.TokenIssuer:
    known = link_registry.named(provider)
    if known is None or known.issuer is None or not known.available:
        raise ServiceDown("This provider is not configured here any more.")
    return known.issuer


def _row(tokens: OAuthTokens) -> dict[str, Any]:
    said = {"access": tokens.access, "refresh": tokens.refresh}
    return {
        "sealed_tokens": sealed.seal(msgspec.json.encode(said), purpose=PURPOSE),
        "scopes": tokens.scopes,
        "expires_at": tokens.expires_at,
    }


def _name(provider: str) -> str:
    known = link_registry.named(provider)
    return known.name if known else provider

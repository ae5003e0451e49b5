"""Linked accounts: a user proves an account at another service and links it to theirs.

An external account is linked to at most one account here and never moves to another.
A link is not a sign-in method, and we never request the external account's email.
"""

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit, mails, nonces
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import proofs
from accounts.credentials.principals import TokenEnded
from accounts.links import registry as link_registry
from accounts.links import tokens as link_tokens
from accounts.links.protocol import CallbackQuery, LinkNotProven, ProvenAccount
from accounts.links.tokens import (
    NotLinked,
    ProviderToken,
    ReconnectRequired,
    token,
)
from accounts.models import Link, Sync, User
from focus.errors import DomainError

__all__ = [
    "InvalidLinkState",
    "LinkTaken",
    "NotLinked",
    "OtherAccountLinked",
    "ProviderToken",
    "ReconnectRequired",
    "callback",
    "delete_all",
    "finish",
    "linked_accounts",
    "revoke_tokens",
    "start",
    "take_state",
    "token",
    "unlink",
]

# docs/contracts.md: an OAuth state lives 10 minutes and works once.
STATE_SECONDS = 600
_PURPOSE = "link"


class InvalidLinkState(DomainError):
    """The state is unknown, used or expired, or another user or browser started it."""

    code = "invalid_state"


class LinkTaken(DomainError):
    """The external account is linked to another account here."""

    code = "link_taken"


class OtherAccountLinked(DomainError):
    """The user has linked another account of this provider."""

    code = "already_linked"


@dataclass(frozen=True, slots=True)
class LinkRedirect:
    """The provider's URL, and the secret for the browser's cookie (`binder`)."""

    url: str
    state: str = field(repr=False)
    binder: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LinkAttempt:
    """A valid state, taken by the user or browser that may finish the linking."""

    provider: str
    user_id: uuid.UUID
    epoch: int
    state: str = field(repr=False)
    verifier: str = field(repr=False)
    return_to: str


def start(
    *, user: User, provider: str, in_browser: bool, return_to: str = ""
) -> LinkRedirect:
    """Start to link an account. With `in_browser`, only this browser may finish it.

    The `LinkAttempt` returns `return_to`, which the caller has checked. Raises
    `NotFound` for a provider that cannot be linked, `Unavailable` without Redis.
    """
    service = _service(provider)
    verifier, binder = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    state = nonces.keep(
        purpose=_PURPOSE,
        facts={
            "provider": provider,
            "user": str(user.pk),
            "epoch": user.epoch,
            "verifier": verifier,
            "binder": _digest(binder),
            "in_browser": in_browser,
            "return_to": return_to,
        },
        seconds=STATE_SECONDS,
    )
    url = service.authorization_url(
        callback=callback(provider), state=state, verifier=verifier
    )
    return LinkRedirect(url, state, binder)


def take_state(
    *, provider: str, state: str, user: User | None, binder: str | None
) -> LinkAttempt:
    """Take the attempt of a state, once. `user` is the signed-in user, if any.

    The user that started the attempt must be the one that returns. Otherwise an
    attacker could link their own external account to a victim's account, or the
    reverse.

    1. An attempt that started in a browser session needs that user and the `binder`.
    2. An attempt that started with a bearer token needs that user or the `binder`.
    3. Another signed-in user is refused in both cases.

    Raises `InvalidLinkState`.
    """
    try:
        facts = nonces.take(purpose=_PURPOSE, nonce=state)
    except nonces.OtherPurpose:
        facts = None
    if facts is None or facts["provider"] != provider:
        raise InvalidLinkState("This link has expired or was used. Please start again.")
    bound = binder is not None and hmac.compare_digest(facts["binder"], _digest(binder))
    is_starter = user is not None and str(user.pk) == facts["user"]
    is_another = user is not None and not is_starter
    proven = bound and is_starter if facts["in_browser"] else bound or is_starter
    if is_another or not proven:
        raise InvalidLinkState(
            "Another user or another browser started this. Please start again."
        )
    return LinkAttempt(
        provider,
        uuid.UUID(facts["user"]),
        facts["epoch"],
        state,
        facts["verifier"],
        facts["return_to"],
    )


def finish(
    *, attempt: LinkAttempt, query: CallbackQuery, visitor: Visitor = NO_VISITOR
) -> Link:
    """Verify the provider's answer and link that account. Linking it again renews it.

    Raises `LinkDeclined`, `LinkNotProven`, `LinkTaken`, `OtherAccountLinked`,
    `ServiceDown` and `Unavailable`. Never call it inside a transaction: it sends HTTP
    requests to the provider.
    """
    proven = _service(attempt.provider).verify_callback(
        query=query,
        callback=callback(attempt.provider),
        state=attempt.state,
        verifier=attempt.verifier,
    )
    if not 0 < len(proven.subject) <= 64:
        raise LinkNotProven("The provider named no account.")
    try:
        return _store_link(attempt, proven, visitor)
    except IntegrityError:
        # Another request inserted the link first. The second try sees its row.
        return _store_link(attempt, proven, visitor)


def linked_accounts(*, user: User) -> QuerySet[Link]:
    """Return the linked accounts of `user`, newest first."""
    return Link.objects.filter(user=user).order_by("-created_at", "-id")


def unlink(*, user: User, provider: str, visitor: Visitor = NO_VISITOR) -> Link:
    """Delete a linked account and its tokens, then revoke the tokens at the provider.

    The revocation is tried once; the link is deleted even if it fails. Raises
    `NotLinked`. Never call it inside a transaction.
    """
    with transaction.atomic():
        link = (
            Link.objects.select_for_update().filter(**_link_of(user, provider)).first()
        )
        if link is None:
            raise link_tokens.not_linked(provider)
        _delete(link, user=user, visitor=visitor)
    revoke_tokens(links=[link])
    return link


def delete_all(
    *, user: User, actor: str = "", visitor: Visitor = NO_VISITOR
) -> list[Link]:
    """Delete every linked account of `user`, in the caller's transaction.

    After the commit, the caller must pass the returned links to `revoke_tokens`.
    """
    rows = list(Link.objects.select_for_update().filter(user=user).order_by("pk"))
    for link in rows:
        _delete(link, user=user, actor=actor, visitor=visitor)
    return rows


def revoke_tokens(*, links: Iterable[Link]) -> None:
    """Revoke the tokens of deleted `links` at their providers, once each.

    Never call it inside a transaction.
    """
    for link in links:
        if (tokens := link_tokens.unseal(link)) is not None:
            link_tokens.revoke(link.provider, tokens)


def callback(provider: str) -> str:
    """Return our callback URL, which the provider redirects to."""
    return f"{settings.PUBLIC_BASE_URL}/api/v2/accounts/oauth/{provider}/callback"


@transaction.atomic
def _store_link(attempt: LinkAttempt, proven: ProvenAccount, visitor: Visitor) -> Link:
    try:
        # If the owner has ended all access since the start, this must add no link.
        user = proofs.lock_account(user=User(pk=attempt.user_id, epoch=attempt.epoch))
    except TokenEnded as ended:
        raise InvalidLinkState(
            "You were signed out everywhere. Sign in and start again."
        ) from ended
    now = timezone.now()
    links = Link.objects.select_for_update()
    taken = links.filter(provider=attempt.provider, subject=proven.subject).first()
    if taken is not None and taken.user_id != user.pk:
        raise LinkTaken("That account is already linked to another account here.")
    mine = taken or links.filter(**_link_of(user, attempt.provider)).first()
    if mine is not None and mine.subject != proven.subject:
        raise OtherAccountLinked(
            "You have linked another account of this provider. Unlink it first."
        )
    link = mine or Link(
        user=user,
        provider=attempt.provider,
        subject=proven.subject,
        created_at=now,
    )
    link.username = proven.username or link.username
    link.is_active, link.renewing_until = True, None
    if proven.tokens:
        link_tokens.store(link, proven.tokens)
    link.save()
    # Queue the first sync now, so that the profile appears soon.
    Sync.objects.bulk_create(
        [Sync(link=link, requested_at=now, due_at=now)], ignore_conflicts=True
    )
    if mine is None:
        _record_and_mail(user, link, visitor)
    return link


def _delete(
    link: Link, *, user: User, actor: str = "", visitor: Visitor = NO_VISITOR
) -> None:
    facts, link_id = _facts(link), link.pk
    link.delete()
    link.pk = link_id
    audit.record("account_unlinked", user=user, actor=actor, visitor=visitor, **facts)


def _record_and_mail(user: User, link: Link, visitor: Visitor) -> None:
    audit.record("account_linked", user=user, visitor=visitor, **_facts(link))
    known = link_registry.named(link.provider)
    name = known.name if known else link.provider
    mails.write(
        user=user,
        subject=f"A {name} account is linked to yours",
        what=f"The {name} account {link.subject} was linked to your account.",
        visitor=visitor,
    )


def _facts(link: Link) -> dict[str, str]:
    return {"provider": link.provider, "subject": link.subject}


def _link_of(user: User, provider: str) -> dict[str, Any]:
    return {"user": user, "provider": provider}


def _service(provider: str) -> link_registry.LinkService:
    service = link_registry.find(provider).service
    assert service is not None  # noqa: S101 — `find` only returns providers with a service
    return service


def _digest(binder: str) -> str:
    return hashlib.sha256(binder.encode()).hexdigest()

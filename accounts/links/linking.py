"""Linked accounts: a person proves an account elsewhere, and keeps it beside theirs.

One account elsewhere belongs to one person here: it is refused to a second one and
never moved. It is never a way to sign in, and its email is never asked for.
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
    "finish",
    "forget_all",
    "linked_accounts",
    "revoke_tokens",
    "start",
    "take_state",
    "token",
    "unlink",
]

# CONTRACTS: an OAuth state lives 10 minutes and is used once.
STATE_SECONDS = 600
_PURPOSE = "link"


class InvalidLinkState(DomainError):
    """The state is unknown, used or expired, or was begun by or for somebody else."""

    code = "invalid_state"


class LinkTaken(DomainError):
    """The account elsewhere is linked to another person here."""

    code = "link_taken"


class OtherAccountLinked(DomainError):
    """The person has another account of this provider linked."""

    code = "already_linked"


@dataclass(frozen=True, slots=True)
class LinkRedirect:
    """Where to send the person, and what their browser must show on the way back."""

    url: str
    state: str = field(repr=False)
    binder: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LinkAttempt:
    """A state that was ours, taken by whoever may finish with it."""

    provider: str
    user_id: uuid.UUID
    epoch: int
    state: str = field(repr=False)
    verifier: str = field(repr=False)
    return_to: str


def start(
    *, user: User, provider: str, in_browser: bool, return_to: str = ""
) -> LinkRedirect:
    """Begin to link. `in_browser`: this very browser must come back.

    `return_to`, which the caller has checked, comes back in the `LinkAttempt`. Raises
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
    """Take a state, once, for whoever came back: `user` is who is signed in.

    Who started must be who returns, or the account of one would end with the other:
    a browser that was signed in still is, and has the `binder`. For what was started by
    a bearer either will do. Nobody else may be signed in. Raises `InvalidLinkState`.
    """
    try:
        facts = nonces.take(purpose=_PURPOSE, nonce=state)
    except nonces.OtherPurpose:
        facts = None
    if facts is None or facts["provider"] != provider:
        raise InvalidLinkState("This was used, or took too long. Please start again.")
    bound = binder is not None and hmac.compare_digest(facts["binder"], _digest(binder))
    theirs = user is not None and str(user.pk) == facts["user"]
    stranger = user is not None and not theirs
    proven = bound and theirs if facts["in_browser"] else bound or theirs
    if stranger or not proven:
        raise InvalidLinkState(
            "This was started by somebody else, or in another browser. Please start "
            "again."
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
    """Check what the provider says, and link that account. Linking it again renews it.

    Raises `LinkDeclined`, `LinkNotProven`, `LinkTaken`, `OtherAccountLinked`,
    `ServiceDown` and `Unavailable`. Asks the provider: never call it in a transaction.
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
        return _kept(attempt, proven, visitor)
    except IntegrityError:
        # Somebody was a moment faster; now it can be seen who.
        return _kept(attempt, proven, visitor)


def linked_accounts(*, user: User) -> QuerySet[Link]:
    """The linked accounts of `user`, newest first."""
    return Link.objects.filter(user=user).order_by("-created_at", "-id")


def unlink(*, user: User, provider: str, visitor: Visitor = NO_VISITOR) -> Link:
    """Forget a linked account and its tokens, and tell the provider.

    That the provider hears of it is tried once: it is gone here all the same. Raises
    `NotLinked`. Never call it inside a transaction.
    """
    with transaction.atomic():
        link = Link.objects.select_for_update().filter(**_one(user, provider)).first()
        if link is None:
            raise link_tokens.not_linked(provider)
        _forget(link, user=user, visitor=visitor)
    revoke_tokens(links=[link])
    return link


def forget_all(
    *, user: User, actor: str = "", visitor: Visitor = NO_VISITOR
) -> list[Link]:
    """Forget every linked account of `user`, in the caller's transaction.

    Once that is committed the caller owes the providers a `revoke_tokens` of what this
    returns.
    """
    rows = list(Link.objects.select_for_update().filter(user=user).order_by("pk"))
    for link in rows:
        _forget(link, user=user, actor=actor, visitor=visitor)
    return rows


def revoke_tokens(*, links: Iterable[Link]) -> None:
    """Tell the providers of forgotten `links` that their tokens are needed no more.

    Never call it inside a transaction.
    """
    for link in links:
        if (tokens := link_tokens.unseal(link)) is not None:
            link_tokens.revoke(link.provider, tokens)


def callback(provider: str) -> str:
    """Where the provider sends people back to."""
    return f"{settings.PUBLIC_BASE_URL}/api/v2/accounts/oauth/{provider}/callback"


@transaction.atomic
def _kept(attempt: LinkAttempt, proven: ProvenAccount, visitor: Visitor) -> Link:
    try:
        # What the account's owner has ended since it was started, adds nothing.
        user = proofs.lock_account(user=User(pk=attempt.user_id, epoch=attempt.epoch))
    except TokenEnded as ended:
        raise InvalidLinkState(
            "Everything that opened the account was ended."
        ) from ended
    now = timezone.now()
    links = Link.objects.select_for_update()
    taken = links.filter(provider=attempt.provider, subject=proven.subject).first()
    if taken is not None and taken.user_id != user.pk:
        raise LinkTaken("That account is linked to somebody else's account here.")
    mine = taken or links.filter(**_one(user, attempt.provider)).first()
    if mine is not None and mine.subject != proven.subject:
        raise OtherAccountLinked(
            "You have another account of this provider linked. Unlink it first."
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
    # What it looks like is the first thing that people want to see.
    Sync.objects.bulk_create(
        [Sync(link=link, requested_at=now, due_at=now)], ignore_conflicts=True
    )
    if mine is None:
        _tell(user, link, visitor)
    return link


def _forget(
    link: Link, *, user: User, actor: str = "", visitor: Visitor = NO_VISITOR
) -> None:
    facts, link_id = _facts(link), link.pk
    link.delete()
    link.pk = link_id
    audit.record("account_unlinked", user=user, actor=actor, visitor=visitor, **facts)


def _tell(user: User, link: Link, visitor: Visitor) -> None:
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


def _one(user: User, provider: str) -> dict[str, Any]:
    return {"user": user, "provider": provider}


def _service(provider: str) -> link_registry.LinkService:
    service = link_registry.find(provider).service
    assert service is not None  # noqa: S101 — what `find` gives has one
    return service


def _digest(binder: str) -> str:
    return hashlib.sha256(binder.encode()).hexdigest()

"""Looks at linked accounts: asked for as rows, run by beat, each by one at a time.

Taking a row moves it on to when its lease is over, so that a run whose worker was
killed is taken up again; what a run of before then still says changes nothing.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.links import linking
from accounts.links import registry as link_registry
from accounts.links import tokens as link_tokens
from accounts.links.protocol import ConsentGone
from accounts.models import Link, Sync, User
from accounts.providers.outbound import ServiceDown
from focus.background.sweeps import Sweep
from focus.errors import NotFound

log = logging.getLogger(__name__)

# Longer than two requests and the wait for a token may take.
LEASE = timedelta(seconds=60)
TRIES = 5
# Somebody who presses the button all day asks the provider once a minute.
APART = timedelta(seconds=60)
KEPT = timedelta(days=90)


def request(*, user: User) -> list[Sync]:
    """Ask for a look at each linked account of `user`. Twice before it ran is once.

    Raises `NotFound` where nothing is linked that could be asked.
    """
    wanted = list(Link.objects.filter(user=user, is_active=True))
    if not wanted:
        raise NotFound("No account is linked, or it has to be connected again.")
    now = timezone.now()
    Sync.objects.bulk_create(
        [
            Sync(
                link=link,
                requested_at=now,
                due_at=max(now, (link.last_synced_at or now - APART) + APART),
            )
            for link in wanted
        ],
        ignore_conflicts=True,
    )
    return list(
        Sync.objects.filter(link__in=wanted, finished_at=None).select_related("link")
    )


def run_due(*, limit: int = 10) -> int:
    """Run what is due, one at a time. Returns how many were finished.

    A provider that does not answer ends the round: the others have their beat, too.
    """
    sweep, finished = Sweep("accounts.sync_links"), 0
    for _ in range(limit):
        sync = _claim(timezone.now())
        if sync is None:
            break
        answered = True
        with sweep.each(sync.pk):
            answered = _run(sync)
            finished += answered
        if not answered:
            break
    return finished


def forget_old() -> int:
    """Drop what was finished long ago. Returns how many."""
    long_ago = timezone.now() - KEPT
    return Sync.objects.filter(finished_at__lt=long_ago).delete()[0]


@transaction.atomic
def _claim(now: datetime) -> Sync | None:
    sync = (
        Sync.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
        .select_related("link__user")
        .filter(due_at__lte=now)
        .order_by("tries", "due_at", "pk")
        .first()
    )
    if sync is not None:
        sync.tries += 1
        sync.started_at, sync.due_at = now, now + LEASE
        sync.save(update_fields=["tries", "started_at", "due_at"])
    return sync


def _run(sync: Sync) -> bool:
    if sync.tries > TRIES:
        return _close(sync, error="The provider did not answer.")
    try:
        found = _look_up(sync.link)
    except ServiceDown as down:
        log.warning("sync %s, try %s: %s", sync.pk, sync.tries, down)
        if sync.tries == TRIES:
            _close(sync, error="The provider did not answer.")
        return False
    except (linking.NotLinked, linking.ReconnectRequired, NotFound) as refusal:
        return _close(sync, error=refusal.message)
    return _close(sync, found=found)


def _look_up(link: Link) -> dict[str, Any]:
    provider = link_registry.find(link.provider)
    assert provider.service is not None  # noqa: S101 — what `find` gives has one
    access_token = None
    if provider.issuer:
        access_token = linking.token(user=link.user, provider=link.provider).token
    try:
        return provider.service.look_up(subject=link.subject, access_token=access_token)
    except ConsentGone as gone:
        link.refresh_from_db()
        link_tokens.rejected(link, access_token=access_token)
        # Tried again with a renewed token, or then told to reconnect.
        raise ServiceDown("The provider refused the token.") from gone


@transaction.atomic
def _close(sync: Sync, *, found: dict[str, Any] | None = None, error: str = "") -> bool:
    """Write down what came of it, unless the run is somebody else's by now."""
    now = timezone.now()
    # The link first, as unlinking does.
    link = Link.objects.select_for_update(no_key=True).filter(pk=sync.link_id).first()
    mine = Q(pk=sync.pk, tries=sync.tries, finished_at=None)
    closed = Sync.objects.filter(mine).update(
        finished_at=now, due_at=None, found=found, error=error[:120]
    )
    if closed and link is not None and found is not None:
        link.last_synced_at, link.profile = now, found
        link.username = found.get("username") or link.username
        link.save(update_fields=["last_synced_at", "profile", "username"])
    return bool(closed)

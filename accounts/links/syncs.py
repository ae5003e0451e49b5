"""Syncs: lookups of linked accounts, requested as rows and run by a worker.

The rows are a row queue (`focus.due`). A worker that dies leaves its sync to the next
one, and what a worker finds after it lost its lease changes nothing.
"""

import logging
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.links import linking
from accounts.links import registry as link_registry
from accounts.links import tokens as link_tokens
from accounts.links.protocol import ConsentGone
from accounts.models import Link, Sync, User
from accounts.providers.outbound import ServiceDown
from focus import due
from focus.background.sweeps import Sweep
from focus.errors import NotFound

log = logging.getLogger(__name__)

TRIES = 5
QUEUE = due.Queue(
    Sync.objects.select_related("link__user"),
    task="accounts.sync_links",
    # Longer than two requests and the wait for a token may take.
    lease=timedelta(seconds=60),
    backoff=due.Backoff(first=timedelta(seconds=60), longest=timedelta(seconds=60)),
    most_tries=TRIES,
)
# A user who presses the button all day asks the provider once a minute.
APART = timedelta(seconds=60)
KEPT = timedelta(days=90)
UNANSWERED = "The provider did not answer."


def request(*, user: User) -> list[Sync]:
    """Request a sync of each linked account of `user`; return those that now wait.

    A link that already has an unfinished sync gets no second one. Raises `NotFound`
    where no link is active.
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
    """Run due syncs one at a time. Returns how many were finished.

    A provider that does not answer ends the run; beat starts the next one.
    """
    sweep, finished = Sweep("accounts.sync_links"), 0
    for _ in range(limit):
        sync = _claim()
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
    """Delete syncs that finished more than `KEPT` ago. Returns how many."""
    long_ago = timezone.now() - KEPT
    return Sync.objects.filter(finished_at__lt=long_ago).delete()[0]


def _claim() -> Sync | None:
    return QUEUE.claim(started_at=timezone.now())


def _run(sync: Sync) -> bool:
    """Look the linked account up. Returns whether the sync is finished."""
    if QUEUE.is_spent(sync):
        return _close(sync, error=UNANSWERED)
    try:
        found = _look_up(sync.link)
    except ServiceDown as down:
        log.warning("sync %s, try %s: %s", sync.pk, sync.tries, down)
        if QUEUE.is_last(sync):
            _close(sync, error=UNANSWERED)
        else:
            QUEUE.retry(sync)
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
        link_tokens.mark_rejected(link, access_token=access_token)
        # The next try renews the token, or finds that the user must reconnect.
        raise ServiceDown("The provider refused the token.") from gone


@transaction.atomic
def _close(sync: Sync, *, found: dict[str, Any] | None = None, error: str = "") -> bool:
    """Finish the sync and update its link. False, and nothing written, where this
    worker has lost the sync.
    """
    now = timezone.now()
    # The link before the sync, as unlinking locks them.
    link = Link.objects.select_for_update(no_key=True).filter(pk=sync.link_id).first()
    if not QUEUE.finish(sync, finished_at=now, found=found, error=error[:120]):
        return False
    if link is not None and found is not None:
        link.last_synced_at, link.profile = now, found
        link.username = found.get("username") or link.username
        link.save(update_fields=["last_synced_at", "profile", "username"])
    return True

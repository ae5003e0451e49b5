"""Mails to people about their own access, written as rows and sent by a worker.

A caller writes a mail in the transaction of the change that the mail is about. The
worker sends mails from a row queue (`focus.due`), so two workers never send the same
mail at once. A worker that dies while it sends costs a second copy, never a lost mail.

A mail holds no secret, apart from the sealed link of `write_link`. A mail holds no text
that another person may have chosen: an attacker could name a token to phish its reader.
"""

import logging
import time
from datetime import timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import timezone

from accounts import sealed
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import Mail, User
from focus import due

log = logging.getLogger(__name__)

TRIES = 12
QUEUE = due.Queue(
    Mail.objects.all(),
    task="accounts.send_mails",
    # A mail waits for the server at most 15 times, for EMAIL_TIMEOUT each: two
    # addresses, TLS, sign-in, and the mail. Two workers with a slow server would
    # otherwise take the mail from each other, and send a copy with each try.
    lease=15 * timedelta(seconds=settings.EMAIL_TIMEOUT),
    backoff=due.Backoff(first=timedelta(minutes=1), longest=timedelta(hours=6)),
    most_tries=TRIES,
)
# How long one run goes on. Beat starts the next one five seconds later.
RUN_SECONDS = 20
_LINK, _PURPOSE = "[link]", "mail"


def write(
    *, user: User, subject: str, what: str, visitor: Visitor = NO_VISITOR
) -> None:
    """Mail `user` what happened to their access. Does nothing without an address."""
    if not user.email:
        return
    now = timezone.now()
    came_from = f" from {visitor.ip}" if visitor.ip else ""
    Mail.objects.create(
        user=user,
        to=user.email,
        subject=subject,
        body=f"{what}\n\n"
        f"When: {now:%Y-%m-%d %H:%M} UTC{came_from}.\n\n"
        "If this was not you, sign out sessions you don't recognise and change your "
        f"password on your security page:\n{settings.PUBLIC_BASE_URL}/security\n",
        created_at=now,
        due_at=due.NOW,
    )


def remind(*, user: User, subject: str, what: str, page: str) -> None:
    """Mail `user` a reminder. They act on it at `page`, a path of this server."""
    if not user.email:
        return
    now = timezone.now()
    Mail.objects.create(
        user=user,
        to=user.email,
        subject=subject,
        body=f"{what}\n\n{settings.PUBLIC_BASE_URL}{page}\n",
        created_at=now,
        due_at=due.NOW,
    )


def write_link(
    *, user: User, subject: str, what: str, link: str, visitor: Visitor = NO_VISITOR
) -> None:
    """Mail a secret `link`. The row holds it sealed, and drops it once it is sent."""
    now = timezone.now()
    asked = f" The request came from {visitor.ip}." if visitor.ip else ""
    Mail.objects.create(
        user=user,
        to=str(user.email),
        subject=subject,
        body=f"{what}\n\n{_LINK}\n\n"
        f"The link works once, within one hour.{asked}\n\n"
        "If you did not ask for this, ignore this email. Nothing changes without the "
        "link.\n",
        sealed=sealed.seal(link.encode(), purpose=_PURPOSE),
        created_at=now,
        due_at=due.NOW,
    )


def send_due(*, limit: int = 100, seconds: float = RUN_SECONDS) -> int:
    """Send due mails one at a time, for `seconds` at most. Returns how many were sent.

    A mail that was never tried goes before a mail that failed.
    """
    sent = 0
    ends = time.monotonic() + seconds
    for _ in range(limit):
        mail = QUEUE.claim() if time.monotonic() < ends else None
        if mail is None:
            break
        sent += _send(mail)
    return sent


def _send(mail: Mail) -> bool:
    if QUEUE.is_spent(mail):
        log.error("mail %s: a worker died in each of %s tries", mail.pk, TRIES)
        QUEUE.finish(mail, sealed=None)
        return False
    try:
        EmailMessage(mail.subject, _text(mail), to=[mail.to]).send()
    # smtplib, sockets and TLS have no common base class below Exception.
    except Exception as failure:
        final = QUEUE.is_last(mail)
        say = log.error if final else log.warning
        say("mail %s, try %s: %s", mail.pk, mail.tries, type(failure).__name__)
        if final:
            QUEUE.finish(mail, sealed=None)
        else:
            QUEUE.retry(mail)
        return False
    QUEUE.finish(mail, sent_at=timezone.now(), sealed=None)
    return True


def _text(mail: Mail) -> str:
    """Return the body with its sealed link opened."""
    if mail.sealed is None:
        return mail.body
    link = sealed.unseal(bytes(mail.sealed), purpose=_PURPOSE).decode()
    return mail.body.replace(_LINK, link)

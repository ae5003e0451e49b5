"""Notices to people about their own access, written as rows and sent by beat.

A notice is written in the transaction of what it tells of. Each try moves the row on
before it sends, so two workers never have the same one, and one that dies while sending
costs a second letter, never a lost one. No notice holds a secret, nor any text that
somebody else may have chosen: a token's name could be an invitation to phishing.
"""

import logging
import time
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone

from accounts import sealed
from accounts.audit import NOBODY, Visitor
from accounts.models import Mail, User

log = logging.getLogger(__name__)

# The first wait is longer than a mail server may take (EMAIL_TIMEOUT).
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=6)
TRIES = 12
# How long one run goes on; the next is rung for five seconds later.
RUN_SECONDS = 20
_LINK, _PURPOSE = "[link]", "mail"


def write(*, user: User, subject: str, what: str, visitor: Visitor = NOBODY) -> None:
    """Tell `user` what happened to their access. Nobody is told without an address."""
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
        due_at=now,
    )


def remind(*, user: User, subject: str, what: str, page: str) -> None:
    """Tell `user` of what nobody did; `page` of ours is where to act on it."""
    if not user.email:
        return
    now = timezone.now()
    Mail.objects.create(
        user=user,
        to=user.email,
        subject=subject,
        body=f"{what}\n\n{settings.PUBLIC_BASE_URL}{page}\n",
        created_at=now,
        due_at=now,
    )


def write_link(
    *, user: User, subject: str, what: str, link: str, visitor: Visitor = NOBODY
) -> None:
    """Mail a `link` that is itself a secret: it is kept sealed, and only until it went
    out.
    """
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
        due_at=now,
    )


def send_due(*, limit: int = 100, seconds: float = RUN_SECONDS) -> int:
    """Send what is due, one at a time, until time is up. Returns how many went out."""
    sent = 0
    ends = time.monotonic() + seconds
    for _ in range(limit):
        mail = _claim(timezone.now()) if time.monotonic() < ends else None
        if mail is None:
            break
        sent += _send(mail)
    return sent


@transaction.atomic
def _claim(now: datetime) -> Mail | None:
    mail = (
        Mail.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(due_at__lte=now)
        # A letter that is new goes before one that failed.
        .order_by("tries", "due_at", "pk")
        .first()
    )
    if mail is not None:
        wait = min(FIRST_WAIT * 2**mail.tries, LONGEST_WAIT)
        mail.tries += 1
        mail.due_at = now + wait
        mail.save(update_fields=["tries", "due_at"])
    return mail


def _send(mail: Mail) -> bool:
    try:
        EmailMessage(mail.subject, _text(mail), to=[mail.to]).send()
    # smtplib, sockets and TLS have no common root below this.
    except Exception as failure:
        final = mail.tries >= TRIES
        say = log.error if final else log.warning
        say("mail %s, try %s: %s", mail.pk, mail.tries, type(failure).__name__)
        if final:
            Mail.objects.filter(pk=mail.pk).update(due_at=None, sealed=None)
        return False
    Mail.objects.filter(pk=mail.pk).update(
        due_at=None, sent_at=timezone.now(), sealed=None
    )
    return True


def _text(mail: Mail) -> str:
    if mail.sealed is None:
        return mail.body
    link = sealed.unseal(bytes(mail.sealed), purpose=_PURPOSE).decode()
    return mail.body.replace(_LINK, link)

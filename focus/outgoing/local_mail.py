"""Mail backend for development: stores mails as files, shown at /dev/mail.

It sends no mail. The log masks one-time codes, so a developer opens mailed links on
that page.
"""

import logging
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage as Parsed
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

log = logging.getLogger(__name__)

KEPT = 200


@dataclass(frozen=True, slots=True)
class LocalMail:
    """One stored mail, decoded."""

    to: str
    subject: str
    at: datetime
    body: str


class Backend(BaseEmailBackend):
    """Writes each mail to a file that only its owner can read."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        folder: Path = settings.LOCAL_MAIL_FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        where = f"{settings.PUBLIC_BASE_URL}/dev/mail"
        for mail in email_messages:
            path = _write(folder, mail.message().as_bytes())
            place = where if settings.LOCAL_MAIL_PAGE else path
            log.info("mail to %s: “%s”. Read it: %s", mail.to, mail.subject, place)
        for old in _newest(folder)[KEPT:]:
            old.unlink(missing_ok=True)
        return len(email_messages)


def recent_mails(*, limit: int = 50) -> list[LocalMail]:
    """Return the last `limit` mails, newest first."""
    found = []
    for path in _newest(settings.LOCAL_MAIL_FOLDER)[:limit]:
        try:
            text = path.read_bytes()
        except FileNotFoundError:  # The backend has just removed it.
            continue
        found.append(_read(text, path))
    return found


def _write(folder: Path, text: bytes) -> Path:
    # The name sorts by time. The rename shows readers only complete files.
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}"
    draft, path = folder / f"{stem}.part", folder / f"{stem}.eml"
    with open(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
    ) as file:
        file.write(text)
    draft.rename(path)
    return path


def _newest(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.eml"), reverse=True)


def _read(text: bytes, path: Path) -> LocalMail:
    mail = message_from_bytes(text, Parsed, policy=policy.default)
    body = mail.get_body(("plain",))
    return LocalMail(
        to=str(mail["To"]),
        subject=str(mail["Subject"]),
        at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        body=body.get_content() if body is not None else "",
    )

"""Proof of a mailbox: a mailed link that works once, within one hour.

A link either verifies the email of a signed-in user, or lets its holder set a new
password. A new password at an unproven address first ends everything on the account.
The attack: open an account with the victim's address, and wait for the reset.

A request reveals nothing about an address: every request writes the same row, and a
worker mails the link where there is an account. The worker handles a row in one
transaction, so the row lock replaces a lease: a killed worker's row is due at once.
Therefore these rows are swept (`focus.background.sweeps`) and are no queue of
`focus.due`.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit, mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import opaque
from accounts.links import linking
from accounts.models import Link as AccountElsewhere
from accounts.models import MailboxProof, User
from accounts.recovery import purge
from accounts.signin import passwords, sessions
from focus.background.sweeps import Sweep
from focus.database import locks
from focus.errors import DomainError

LIVES = timedelta(hours=1)
# Links to one address within LIVES. Further requests are dropped silently.
MOST = 3
KEPT = timedelta(days=30)
RESET, VERIFY = MailboxProof.Purpose.RESET, MailboxProof.Purpose.VERIFY


class InvalidLink(DomainError):
    """The link is unknown, used or expired, or its account has another email now."""

    code = "invalid_link"


class AlreadyVerified(DomainError):
    """There is no unproven email to verify."""

    code = "already_verified"


@dataclass(frozen=True, slots=True)
class MailedLink:
    """A usable link and its account."""

    purpose: str
    user: User

    @property
    def proves(self) -> bool:
        """Whether the link is the first proof of the address."""
        return self.user.email_verified_at is None


def request_reset(*, email: str, visitor: Visitor = NO_VISITOR) -> None:
    """Request a link to set the password of `email`. Never says whether it exists."""
    try:
        address = passwords.normal_email(email)
    except passwords.InvalidEmail:
        return
    _store_request(RESET, address, None, visitor)


def request_verification(*, user: User, visitor: Visitor = NO_VISITOR) -> None:
    """Request a link that verifies the email of `user`, who is signed in.

    Raises `AlreadyVerified`, also for an account without an email.
    """
    if user.email is None or user.email_verified_at is not None:
        raise AlreadyVerified("Your email address is verified already.")
    _store_request(VERIFY, user.email, user, visitor)


def read_link(*, secret: str) -> MailedLink:
    """Return a link's purpose and account. Changes nothing: mail scanners open links.

    Raises `InvalidLink`.
    """
    proof = _usable(secret, timezone.now())
    user = _account(proof)
    if user is None:
        raise _invalid()
    return MailedLink(proof.purpose, user)


@transaction.atomic
def verify(*, secret: str, user: User, visitor: Visitor = NO_VISITOR) -> None:
    """Use a link to verify the email of `user`, who is signed in.

    Nothing on the account ends. Raises `InvalidLink`, also for another user's link.
    """
    row = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    proof = _use(secret, row)
    if proof.purpose != VERIFY or proof.user_id != row.pk:
        raise _invalid()
    _mark_verified(row, visitor)


def set_password(
    *,
    secret: str,
    password: str,
    visitor: Visitor = NO_VISITOR,
    end_more: Callable[[User], None] | None = None,
) -> User:
    """Use a link to set the password of its account; end the account's sessions.

    At an unproven address, everything on the account ends and the address becomes
    proven. `end_more` then ends what other Django apps keep for the account, in the
    same transaction. Raises `InvalidLink`, `passwords.WeakPassword` or `HashingBusy`,
    and writes nothing then. Calls providers at the end to revoke the tokens of links,
    so no transaction may be open.
    """
    link = read_link(secret=secret)
    fresh = User(email=link.user.email)
    # Hash the password before any row is locked: a hash is slow.
    passwords.set_password(user=fresh, password=password)
    gone: list[AccountElsewhere] = []
    with transaction.atomic():
        user = User.objects.select_for_update(no_key=True).get(pk=link.user.pk)
        _use(secret, user)
        user.password = fresh.password
        user.epoch += 1
        user.save(update_fields=["password", "epoch"])
        if user.email_verified_at is None:
            gone = purge.end_all_access(user=user, visitor=visitor)
            if end_more is not None:
                end_more(user)
            _mark_verified(user, visitor)
        else:
            sessions.revoke_all(user=user, actor="system:reset", visitor=visitor)
        audit.record("password_reset", user=user, visitor=visitor)
        mails.write(
            user=user,
            subject="Your password was changed",
            what="A new password was set with a link that we sent to this address. All "
            "browsers and apps were signed out.",
            visitor=visitor,
        )
    linking.revoke_tokens(links=gone)
    return user


def void_reset_links(*, user: User, now: datetime) -> None:
    """Void every reset link of `user`, mailed or still to be mailed.

    The caller sets the new password in the same transaction.
    """
    asked = MailboxProof.objects.filter(purpose=RESET, used_at=None)
    about = Q(user=user) | Q(user=None, email__iexact=user.email)
    asked.filter(about).update(used_at=now, due_at=None)


def mail_due(*, limit: int = 100) -> int:
    """Write the mails of due requests. Returns how many requests are done."""
    sweep, done = Sweep("accounts.mail_links"), 0
    due = MailboxProof.objects.filter(due_at__lte=timezone.now())
    rested = due.exclude(pk__in=sweep.backing_off).order_by("due_at", "pk")
    proof_ids = list(rested.values_list("pk", flat=True)[:limit])
    for proof_id in proof_ids:
        with sweep.each(proof_id):
            done += _mail_one(proof_id, timezone.now())
    sweep.end(complete=len(proof_ids) < limit)
    return done


def forget_old() -> int:
    """Delete requests older than `KEPT`. Returns how many."""
    old = MailboxProof.objects.filter(asked_at__lt=timezone.now() - KEPT)
    return old.delete()[0]


@transaction.atomic
def _store_request(
    purpose: str, email: str, user: User | None, visitor: Visitor
) -> None:
    # One request for an address at a time: parallel requests would each count fewer
    # than MOST before them.
    locks.lock(f"mailbox:{purpose}:{email.lower()}")
    now = timezone.now()
    before = MailboxProof.objects.filter(
        email__iexact=email, purpose=purpose, asked_at__gt=now - LIVES
    )
    MailboxProof.objects.create(
        purpose=purpose,
        email=email,
        user=user,
        ip=visitor.ip,
        asked_at=now,
        due_at=now if before.count() < MOST else None,
        expires_at=now + LIVES,
    )


@transaction.atomic
def _mail_one(proof_id: int, now: datetime) -> bool:
    proof = (
        MailboxProof.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(pk=proof_id, due_at__lte=now)
        .first()
    )
    if proof is None:
        return False
    user = _account(proof)
    if user is not None and proof.expires_at > now:
        secret = secrets.token_urlsafe(32)
        proof.digest, proof.user = opaque.digest(secret), user
        reset = proof.purpose == RESET
        mails.write_link(
            user=user,
            subject="Set a new password" if reset else "Verify your email address",
            what="We received a request to reset your password. Use this link to set a "
            "new one:"
            if reset
            else "Your account uses this address. Open this link in the browser that "
            "is signed in to your account to verify it:",
            link=f"{settings.PUBLIC_BASE_URL}/mailbox?code={secret}",
            visitor=Visitor(ip=proof.ip),
        )
    proof.due_at = None
    proof.save(update_fields=["digest", "user", "due_at"])
    return True


def _usable(secret: str, now: datetime) -> MailboxProof:
    digest = opaque.digest(secret)
    live = MailboxProof.objects.filter(digest=digest, used_at=None, expires_at__gt=now)
    proof = live.first()
    if proof is None:
        raise _invalid()
    return proof


def _use(secret: str, user: User) -> MailboxProof:
    """Use up a link of the locked `user`. One of many parallel attempts succeeds."""
    now = timezone.now()
    proof = _usable(secret, now)
    account = _account(proof)
    if account is None or account.pk != user.pk:
        raise _invalid()
    mine = MailboxProof.objects.filter(user=user, used_at=None)
    if not mine.filter(pk=proof.pk).update(used_at=now):
        raise _invalid()
    # Void the links of older mails and of mails on their way.
    mine.update(used_at=now, due_at=None)
    return proof


def _account(proof: MailboxProof) -> User | None:
    """Return the open account that has the address, unless it has changed hands."""
    user = User.objects.with_email(proof.email).filter(is_active=True).first()
    if user is not None and proof.user_id in (None, user.pk):
        return user
    return None


def _mark_verified(user: User, visitor: Visitor) -> None:
    if user.email_verified_at is None:
        user.email_verified_at = timezone.now()
        user.save(update_fields=["email_verified_at"])
        audit.record("email_verified", user=user, visitor=visitor)


def _invalid() -> InvalidLink:
    return InvalidLink("This link was used or has expired. Request a new one.")

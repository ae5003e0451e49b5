"""Proving a mailbox: a link is mailed to it, and works once within the hour.

Who asks learns nothing: the same row is written for any address, and beat mails the
link where there is an account. Two things can be done with one. Whoever is signed in to
the account says that the address is theirs. Or anybody who reads the mail sets a new
password; where the address was never proven, everything that was on the account ends
first, because it may be somebody else's, who waited for just this.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
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
from focus.errors import DomainError

LIVES = timedelta(hours=1)
# To one address within LIVES; more are asked for in vain, and in silence.
MOST = 3
KEPT = timedelta(days=30)
RESET, VERIFY = MailboxProof.Purpose.RESET, MailboxProof.Purpose.VERIFY


class InvalidLink(DomainError):
    """Never mailed, used, too old, or its account has another email by now."""

    code = "invalid_link"


class AlreadyVerified(DomainError):
    code = "already_verified"


@dataclass(frozen=True, slots=True)
class MailedLink:
    """A live link, and the account that it is about."""

    purpose: str
    user: User

    @property
    def proves(self) -> bool:
        """Whether using it is the first proof of the address."""
        return self.user.email_verified_at is None


def request_reset(*, email: str, visitor: Visitor = NO_VISITOR) -> None:
    """Somebody forgot the password of `email`, they say. Never says anything back."""
    try:
        address = passwords.normal_email(email)
    except passwords.InvalidEmail:
        return
    _ask(RESET, address, None, visitor)


def request_verification(*, user: User, visitor: Visitor = NO_VISITOR) -> None:
    """Mail `user`, who is signed in, a link. Raises `AlreadyVerified`."""
    if user.email is None or user.email_verified_at is not None:
        raise AlreadyVerified("Your email address is verified already.")
    _ask(VERIFY, user.email, user, visitor)


def read_link(*, secret: str) -> MailedLink:
    """What a link is for. Looking does nothing: mail scanners look.

    Raises `InvalidLink`.
    """
    proof = _live(secret, timezone.now())
    user = _account(proof)
    if user is None:
        raise _invalid()
    return MailedLink(proof.purpose, user)


@transaction.atomic
def verify(*, secret: str, user: User, visitor: Visitor = NO_VISITOR) -> None:
    """`user`, signed in, says that the address is theirs, and the link says so too.

    Nothing on the account ends. Raises `InvalidLink` for anybody else's.
    """
    row = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    proof = _use(secret, row)
    if proof.purpose != VERIFY or proof.user_id != row.pk:
        raise _invalid()
    _verified(row, visitor)


def set_password(
    *,
    secret: str,
    password: str,
    visitor: Visitor = NO_VISITOR,
    end_more: Callable[[User], None] | None = None,
) -> User:
    """Give the account of this link a new password, and end its sessions.

    Where the address was not proven, all that was on the account ends, and it is proven
    now; `end_more` ends, in the same transaction, what other apps keep for it. Raises
    `InvalidLink` or `passwords.WeakPassword`; nothing is written then.
    """
    link = read_link(secret=secret)
    fresh = User(email=link.user.email)
    # The slow part comes first: it holds no lock.
    passwords.set_new(user=fresh, password=password)
    gone: list[AccountElsewhere] = []
    with transaction.atomic():
        user = User.objects.select_for_update(no_key=True).get(pk=link.user.pk)
        _use(secret, user)
        user.password = fresh.password
        user.epoch += 1
        user.save(update_fields=["password", "epoch"])
        if user.email_verified_at is None:
            gone = purge.everything(user=user, visitor=visitor)
            if end_more is not None:
                end_more(user)
            _verified(user, visitor)
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
    linking.give_back(links=gone)
    return user


def void_reset_links(*, user: User, now: datetime) -> None:
    """Make every reset link of `user` useless, mailed or still to be mailed.

    For a caller that sets a new password in its own transaction.
    """
    asked = MailboxProof.objects.filter(purpose=RESET, used_at=None)
    about = Q(user=user) | Q(user=None, email__iexact=user.email)
    asked.filter(about).update(used_at=now, due_at=None)


def mail_due(*, limit: int = 100) -> int:
    """Write the mails that were asked for. Returns how many wishes are settled."""
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
    """Remove wishes that nobody can use any more. Returns how many."""
    old = MailboxProof.objects.filter(asked_at__lt=timezone.now() - KEPT)
    return old.delete()[0]


@transaction.atomic
def _ask(purpose: str, email: str, user: User | None, visitor: Visitor) -> None:
    # One at a time for an address, or as many as ask at once would be the first three.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
            [f"mailbox:{purpose}:{email.lower()}"],
        )
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


def _live(secret: str, now: datetime) -> MailboxProof:
    digest = opaque.digest(secret)
    live = MailboxProof.objects.filter(digest=digest, used_at=None, expires_at__gt=now)
    proof = live.first()
    if proof is None:
        raise _invalid()
    return proof


def _use(secret: str, user: User) -> MailboxProof:
    """Spend the link, for one of however many try, on the account that it is about."""
    now = timezone.now()
    proof = _live(secret, now)
    account = _account(proof)
    if account is None or account.pk != user.pk:
        raise _invalid()
    mine = MailboxProof.objects.filter(user=user, used_at=None)
    if not mine.filter(pk=proof.pk).update(used_at=now):
        raise _invalid()
    # An older mail, and one on its way, open nothing any more.
    mine.update(used_at=now, due_at=None)
    return proof


def _account(proof: MailboxProof) -> User | None:
    """The open account that has the address, if it is still the same."""
    user = User.objects.with_email(proof.email).filter(is_active=True).first()
    if user is not None and proof.user_id in (None, user.pk):
        return user
    return None


def _verified(user: User, visitor: Visitor) -> None:
    if user.email_verified_at is None:
        user.email_verified_at = timezone.now()
        user.save(update_fields=["email_verified_at"])
        audit.record("email_verified", user=user, visitor=visitor)


def _invalid() -> InvalidLink:
    return InvalidLink("This link was used or has expired. Request a new one.")

"""Change the password of a signed-in user, or set the first one.

Each change ends every session of the account, also the caller's own; the caller begins
a new one. Personal access tokens, keys and passkeys stay valid.
"""

from django.db import transaction
from django.utils import timezone

from accounts import audit, mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import proofs
from accounts.credentials.principals import TokenEnded
from accounts.models import Session, User
from accounts.recovery import mailbox
from accounts.signin import guesses, hashing, passwords, sessions
from focus.errors import DomainError


class WrongCurrentPassword(DomainError):
    """The current password does not match. It counts as a wrong guess."""

    code = "wrong_current_password"
    wrong_guess = True


class NoEmail(DomainError):
    """A password works only together with an email address."""

    code = "no_email"


class ChangedMeanwhile(DomainError):
    """Another request changed the password after this one read it."""

    code = "password_changed_meanwhile"


def change(
    *, session: Session, current: str, new: str, visitor: Visitor = NO_VISITOR
) -> User:
    """Replace the password of the account behind `session`.

    An account without a password ignores `current`: its caller must have asked for a
    recent second proof. Returns the account, with the new epoch.

    1. Check `current` and hash `new`, which is slow, before any lock.
    2. Lock the account, then the session. Refuse if either has ended meanwhile, or if
       another request has changed the password: of two changes at once one wins.
    3. Store the password and move the epoch on, so that requests under way in other
       sessions add no token or key. End all sessions and spend all mailed reset links.
    4. Write the audit event and the mail in the same transaction.

    Raises `Limited`, `hashing.HashingBusy`, `WrongCurrentPassword`,
    `passwords.WeakPassword`, `NoEmail`, `ChangedMeanwhile` or `TokenEnded`; nothing but
    the audit of a wrong password is written then.
    """
    user = session.user
    if user.email is None:
        raise NoEmail("Add an email address to this account before you set a password.")
    first = not user.has_usable_password()
    if not first:
        _check_current(user, current, visitor)
        if hashing.normal(new) == hashing.normal(current):
            raise passwords.WeakPassword("Choose a password that you do not use now.")
    fresh = User(email=user.email)
    passwords.set_password(user=fresh, password=new)
    with transaction.atomic():
        row = proofs.lock_account(user=user)
        live = Session.objects.select_for_update(no_key=True)
        if not live.filter(pk=session.pk, revoked_at=None).exists():
            raise TokenEnded("You were signed out just now.")
        if row.password != user.password:
            raise ChangedMeanwhile("Your password was changed just now. Try again.")
        row.password = fresh.password
        row.epoch += 1
        row.save(update_fields=["password", "epoch"])
        sessions.revoke_all(user=row, visitor=visitor)
        mailbox.void_reset_links(user=row, now=timezone.now())
        kind = "password_set" if first else "password_changed"
        audit.record(kind, user=row, visitor=visitor)
        mails.write(
            user=row,
            subject="Your account has a password now"
            if first
            else "Your password was changed",
            what="A first password was set on your security page."
            if first
            else "Your password was changed on your security page. All other "
            "sessions were signed out.",
            visitor=visitor,
        )
    return row


def _check_current(user: User, current: str, visitor: Visitor) -> None:
    email = str(user.email)
    guesses.check_wait(email=email, visitor=visitor)
    if passwords.verify(user=user, password=current):
        guesses.remember_address(email=email, visitor=visitor)
        return
    guesses.count_wrong(email=email)
    audit.record("password_change_failed", user=user, visitor=visitor)
    raise WrongCurrentPassword("The current password is wrong.")

"""Accounts as such: closed and reopened, never deleted."""

from django.db import transaction

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import User
from accounts.signin import sessions


@transaction.atomic
def close(*, user: User, actor: str, visitor: Visitor = NO_VISITOR) -> None:
    """Shut the person out at once: every session ends and no token works any more.

    What they own and owe stays in the ledger, and their apps are not live any more.
    Twice is once.
    """
    # The one FOR UPDATE of an account: it waits for every movement of credits that
    # found the account open (wallet/sql/16_permission.sql), and they wait for it.
    row = User.objects.select_for_update().get(pk=user.pk)
    if row.is_active:
        row.is_active = False
        row.save(update_fields=["is_active"])
        sessions.revoke_all(user=row, actor=actor, visitor=visitor)
        audit.record("account_closed", user=row, actor=actor, visitor=visitor)


@transaction.atomic
def reopen(*, user: User, actor: str, visitor: Visitor = NO_VISITOR) -> None:
    """Let the person in again. Tokens that are neither revoked nor expired work again;
    sessions do not. Twice is once.
    """
    row = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if not row.is_active:
        row.is_active = True
        row.save(update_fields=["is_active"])
        audit.record("account_reopened", user=row, actor=actor, visitor=visitor)

"""Closing and reopening accounts. Accounts are never deleted."""

from django.db import transaction

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import User
from accounts.signin import sessions


@transaction.atomic
def close(*, user: User, actor: str, visitor: Visitor = NO_VISITOR) -> None:
    """Close an account: every session ends and every token stops working at once.

    Credits and debt stay in the ledger. The account's apps are no longer live. A second
    call changes nothing.
    """
    # This is the only FOR UPDATE on an account. It waits for every movement of credits
    # that found the account open (wallet/sql/16_permission.sql), and they wait for it.
    row = User.objects.select_for_update().get(pk=user.pk)
    if row.is_active:
        row.is_active = False
        row.save(update_fields=["is_active"])
        sessions.revoke_all(user=row, actor=actor, visitor=visitor)
        audit.record("account_closed", user=row, actor=actor, visitor=visitor)


@transaction.atomic
def reopen(*, user: User, actor: str, visitor: Visitor = NO_VISITOR) -> None:
    """Reopen an account. A second call changes nothing.

    Tokens that are neither revoked nor expired work again. The old sessions stay ended.
    """
    row = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if not row.is_active:
        row.is_active = True
        row.save(update_fields=["is_active"])
        audit.record("account_reopened", user=row, actor=actor, visitor=visitor)

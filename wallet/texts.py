"""The texts beside the ledger's entries, which can be erased from under the chain."""

from uuid import UUID

from django.db import transaction

from accounts import audit
from accounts.models import User
from wallet.ledger import NOW
from wallet.models import Adjustment, Text


@transaction.atomic
def erase(*, account_id: UUID, actor: str) -> int:
    """Erase all that was said of an account's movements; returns how many texts.

    Each goes together with its salt, so that the digest in the chain confirms no guess.
    What staff wrote to adjustments goes too. Entries of version 1 keep their reasons,
    which are hashed as they are.
    """
    erased = Text.objects.filter(
        entries__wallet__account=account_id, said__isnull=False
    ).update(said=None, salt=None, erased_at=NOW)
    Adjustment.objects.filter(account=account_id).update(note="", customer_text="")
    owner = User.objects.get(pk=account_id)
    audit.record("ledger_texts_erased", user=owner, actor=actor, texts=erased)
    return erased

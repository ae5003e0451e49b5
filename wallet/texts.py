"""The texts beside the ledger's entries; erasing one leaves the chain valid."""

from uuid import UUID

from django.db import transaction

from accounts import audit
from accounts.models import User
from wallet.ledger import NOW
from wallet.models import Adjustment, Text


@transaction.atomic
def erase(*, account_id: UUID, actor: str) -> int:
    """Erase the texts of an account's movements; returns the number of texts.

    Each text is erased with its salt, so that the digest in the chain confirms no
    guess. The notes of adjustments are erased too. Entries of version 1 keep their
    reasons, which are part of their hash.
    """
    erased = Text.objects.filter(
        entries__wallet__account=account_id, said__isnull=False
    ).update(said=None, salt=None, erased_at=NOW)
    Adjustment.objects.filter(account=account_id).update(note="", customer_text="")
    owner = User.objects.get(pk=account_id)
    audit.record("ledger_texts_erased", user=owner, actor=actor, texts=erased)
    return erased

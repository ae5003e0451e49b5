"""Lookups for the terms of search boxes: an id, an email or the beginning of one."""

from uuid import UUID

from django.db.models.functions import Lower

from accounts.models import User

# A beginning that more accounts share is too short to mean one of them.
MOST = 200


def as_uuid(term: str) -> UUID | None:
    """Return `term` as a UUID, or None if it is not one."""
    try:
        return UUID(term)
    except ValueError:
        return None


def accounts(term: str) -> list[UUID]:
    """Return the ids of the accounts that `term` means: an id, or part of an email."""
    known = as_uuid(term)
    return [known] if known else accounts_by_email(term)


def accounts_by_email(term: str) -> list[UUID]:
    """Return the id of the account with the email `term`.

    Without such an account, return up to `MOST` accounts that begin with `term`.
    """
    exact = list(User.objects.with_email(term).values_list("pk", flat=True))
    if exact or not term:
        return exact
    folded = User.objects.alias(folded=Lower("email"))
    begins = folded.filter(folded__startswith=term.lower())
    return list(begins.values_list("pk", flat=True)[:MOST])

"""What staff type into a search box: an id, or the beginning of an email."""

from uuid import UUID

from django.db.models.functions import Lower

from accounts.models import User

# More people than this share no beginning that anybody meant.
MOST = 200


def as_uuid(term: str) -> UUID | None:
    try:
        return UUID(term)
    except ValueError:
        return None


def accounts_by_email(term: str) -> list[UUID]:
    """The account of this very email; where there is none, those that begin so."""
    exact = list(User.objects.with_email(term).values_list("pk", flat=True))
    if exact or not term:
        return exact
    folded = User.objects.alias(folded=Lower("email"))
    begins = folded.filter(folded__startswith=term.lower())
    return list(begins.values_list("pk", flat=True)[:MOST])

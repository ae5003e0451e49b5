"""Detect tool names that users could mistake for another app or an official one."""

import unicodedata
import uuid
from functools import cache

from confusable_homoglyphs.confusables import confusables_data
from django.db import connection

from accounts.models import App
from accounts.partners import first_party

# A name with one of these words needs the staff's approval.
RESERVED = ("official",)


def needs_approval(
    *, name: str, slug: str, owner_id: uuid.UUID, app_id: uuid.UUID | None = None
) -> bool:
    """Return whether staff must approve this name before users can buy the tool.

    True if the name or the slug looks like that of another owner's app or of a product
    of ours, or contains "official". Takes an advisory lock until the transaction ends,
    so that of two similar names at the same time the second one is detected.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('accounts.app_names'))")
    mine = {look for look in (skeleton(name), skeleton(slug)) if look}
    if any(skeleton(word) in look for word in RESERVED for look in mine):
        return True
    if any(
        skeleton(text) in mine for pair in first_party.APPS.items() for text in pair
    ):
        return True
    others = App.objects.exclude(owner_id__isnull=False, owner_id=owner_id)
    if app_id is not None:
        others = others.exclude(pk=app_id)
    return any(
        skeleton(text) in mine
        for pair in others.values_list("name", "slug")
        for text in pair
    )


def skeleton(text: str) -> str:
    """Return the text's skeleton: texts that look alike have the same one.

    This is the skeleton of Unicode's UTS 39, without case, accents, spaces and
    punctuation. Capital I, small l and 1 look alike, so small i counts as l too.
    """
    prototype = _prototypes()
    seen = "".join(prototype.get(char, char) for char in _decomposed(text))
    again = "".join(prototype.get(char, char) for char in _decomposed(seen.casefold()))
    letters = (char for char in again.casefold() if char.isalnum())
    return "".join(letters).replace("i", "l")


def _decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text))


@cache
def _prototypes() -> dict[str, str]:
    """Return each character's prototype.

    The data only lists which texts look alike. The prototype is the longest of them
    ("rn" for "m"); of equal lengths, a lowercase ASCII letter.
    """
    group: dict[str, set[str]] = {}
    for one, others in confusables_data.items():
        alike = {_visible(one)} | {_visible(other["c"]) for other in others}
        for known in [group[each] for each in alike if each in group]:
            alike |= known
        for each in alike:
            group[each] = alike
    return {
        each: min(alike, key=_rank) for each, alike in group.items() if len(each) == 1
    }


def _rank(text: str) -> tuple[int, bool, bool, bool, str]:
    plain = text.isascii()
    return -len(text), not plain, not text.isalpha(), not text.islower(), text


def _visible(text: str) -> str:
    """Remove the direction marks that the data puts around right-to-left letters."""
    return text.replace("\u200e", "").replace("\u200f", "")

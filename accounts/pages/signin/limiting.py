"""The monthly limit that pages suggest where a person lets an app in."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from accounts.audit import Visitor
from accounts.models import App, User
from accounts.partners import consents
from focus.errors import DomainError
from focus.money import MICRO, NotAnAmount, from_micro
from wallet import budgets
from wallet.adjustments import read_credits

FIELD, NONE = "monthly_limit", "no_limit"


# One sentence for all that may be wrong: each is a way to write another number.
_LIMITS = (
    "The limit must be a number of credits such as 5, 0.5 or 0, with at most 6 "
    "decimals and at most 1,000,000,000. Leave the field empty for no limit."
)


class BadLimit(DomainError):
    code = "invalid_limit"


def suggested(spent_micro: int = 0) -> str:
    """What a limit's field shows: the usual, doubled until it covers this month."""
    micro = max(1, int(settings.SUGGESTED_MONTHLY_LIMIT_CREDITS * MICRO))
    while micro < spent_micro:
        micro *= 2
    return str(from_micro(micro))


def read(form: Mapping[str, Any], name: str = FIELD) -> int | None:
    """The limit that a form asks for, None for no limit. Raises `BadLimit`."""
    typed = form.get(name, "").strip()
    if form.get(NONE) or not typed:
        return None
    try:
        micro = read_credits(typed)
    except NotAnAmount as wrong:
        raise BadLimit(_LIMITS) from wrong
    if micro < 0:
        raise BadLimit(_LIMITS)
    return micro


def set_first(
    *, user: User, app: App, form: Mapping[str, Any], visitor: Visitor
) -> None:
    """Set the limit of a person's first sign-in to `app`; a later one changes nothing.

    For a form that cannot know who will sign in. Raises `BadLimit`.
    """
    limit_micro = read(form)
    if limit_micro is None or consents.was_ever_granted(user=user, app_id=app.pk):
        return
    if budgets.limit_of(user=user, app=app) is None:
        budgets.set_limit(user=user, app=app, limit_micro=limit_micro, visitor=visitor)

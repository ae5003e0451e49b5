"""The monthly limit that pages suggest when a person allows an app."""

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


# One text for every mistake, so that no advice leads to a second refusal.
_LIMITS = (
    "The limit must be a number of credits such as 5, 0.5 or 0, with at most 6 "
    "decimals and at most 1,000,000,000. Leave the field empty for no limit."
)


class BadLimit(DomainError):
    """The form contains no valid limit."""

    code = "invalid_limit"


def suggested(spent_micro: int = 0) -> str:
    """Return the usual limit, doubled until it covers `spent_micro`."""
    micro = max(1, int(settings.SUGGESTED_MONTHLY_LIMIT_CREDITS * MICRO))
    while micro < spent_micro:
        micro *= 2
    return str(from_micro(micro))


def read(form: Mapping[str, Any], name: str = FIELD) -> int | None:
    """Return the limit in the form, or None for no limit. Raises `BadLimit`."""
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
    """Set the limit at a person's first sign-in to `app`; do nothing at later ones.

    The form is shown before the sign-in, so it does not know the person. Raises
    `BadLimit`.
    """
    limit_micro = read(form)
    if limit_micro is None or consents.was_ever_granted(user=user, app_id=app.pk):
        return
    if budgets.limit_of(user=user, app=app) is None:
        budgets.set_limit(user=user, app=app, limit_micro=limit_micro, visitor=visitor)

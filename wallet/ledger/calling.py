"""Call a function in `wallet/sql/`, and translate its refusals into `DomainError`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString

from django.db import IntegrityError

from accounts.credentials.principals import AppInactive, TokenEnded
from accounts.partners.consents import AppNotGranted
from focus.database.statements import rows, with_items
from focus.money import from_micro
from wallet.outcomes import (
    AlreadyResolved,
    Balance,
    BudgetExceeded,
    Consequence,
    DuplicateKey,
    InsufficientCredits,
)

Refusal = (
    InsufficientCredits | BudgetExceeded | AppNotGranted | AppInactive | TokenEnded
)

# The unique constraint of every money key.
ONCE = "a_money_key_moves_credits_once"


@contextmanager
def one_account_per_key() -> Iterator[None]:
    """Raise `DuplicateKey` if the money key has moved another account's credits."""
    try:
        yield
    except IntegrityError as taken:
        if ONCE not in str(taken):
            raise
        raise DuplicateKey("This key has moved another account's credits.") from taken


def raise_refusal(row: Mapping[str, Any], required_micro: int) -> None:
    """Raise the refusal of the wallet, the budget or the consent, if there is one."""
    if refused := refusal_of(row, required_micro):
        raise refused


def refusal_of(row: Mapping[str, Any], required_micro: int) -> Refusal | None:
    """Return the refusal of a charge, or None if the charge was made."""
    match row["outcome"]:
        case "app_not_granted":
            return AppNotGranted("This person has not let the app spend their credits.")
        case "account_closed":
            return TokenEnded("The account was closed just now.")
        case "app_inactive":
            return AppInactive("This app is inactive.")
        case "insufficient_credits":
            return insufficient_credits(
                required_micro, Balance.from_row(row).credits_micro
            )
        case "spending_limit_reached":
            return BudgetExceeded(
                "This is more than the monthly spending limit of the app allows.",
                limit=from_micro(row["limit_micro"]),
                spent=from_micro(row["spent_micro"]),
                required=from_micro(required_micro),
            )
    return None


def insufficient_credits(
    required_micro: int, available_micro: int
) -> InsufficientCredits:
    """Return the refusal with its facts in credits."""
    return InsufficientCredits(
        "There are not enough credits for this.",
        required=from_micro(required_micro),
        # A wallet in debt reads as 0 available, not as a negative number.
        available=from_micro(max(0, available_micro)),
    )


def refuse_resolved(row: dict[str, Any]) -> None:
    """Raise `AlreadyResolved` if the function answered so."""
    if row["outcome"] == "already_resolved":
        raise AlreadyResolved("The reservation was settled or released before.")


def call(
    sql: LiteralString, params: Mapping[str, Any], then: Consequence | None = None
) -> dict[str, Any]:
    checked_actor(params.get("actor", ""))
    if then is not None:
        after = with_items({"consequence": then.sql, **then.items})
        # All of it is ours.
        also = "".join(f", ({query}) AS {name}" for name, query in then.columns.items())
        sql = f"WITH moved AS MATERIALIZED ({sql}), {after} SELECT *{also} FROM moved"  # noqa: S608
        params = {**params, **then.params}
    (row,) = rows(sql, params)
    return row


def checked_actor(actor: str) -> str:
    """Return the actor. Raises `ValueError` for an email address.

    Entries keep the actor for ever, so it must not be personal data.
    """
    if "@" in actor:
        raise ValueError("An entry's actor is an id or a code, such as user:<id>.")
    return actor

"""The scopes of personal access tokens."""

from collections.abc import Sequence

from focus.errors import DomainError

# The approval page shows these sentences.
SCOPES = {
    "account:read": "See who you are",
    "wallet:read": "See your balance",
    "jobs:read": "See your jobs",
    "jobs:write": "Start and settle jobs, which spends your credits",
    "oauth:read": "Read tokens of accounts you linked, such as X",
}
DEFAULT = list(SCOPES)


class InvalidScope(DomainError):
    code = "invalid_scope"


def parse(text: str) -> list[str]:
    """Return the scopes of a space-separated text, in our order; all for an empty text.

    Raises `InvalidScope`.
    """
    return exactly(text.split()) or DEFAULT


def exactly(names: Sequence[str] | None) -> list[str]:
    """Return these scopes in our order. None means all; an empty list means none.

    Raises `InvalidScope`.
    """
    wanted = set(DEFAULT if names is None else names)
    if unknown := sorted(wanted - set(SCOPES)):
        raise InvalidScope(
            f"There is no such scope: {', '.join(unknown)}.", scopes=list(SCOPES)
        )
    return [scope for scope in SCOPES if scope in wanted]

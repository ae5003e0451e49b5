"""What a personal access token may be limited to."""

from collections.abc import Sequence

from focus.errors import DomainError

# The sentence is what a person reads before approving.
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
    """Scopes of a space-separated wish, in our order; all of them for an empty one."""
    return exactly(text.split()) or DEFAULT


def exactly(names: Sequence[str] | None) -> list[str]:
    """These scopes, in our order. None asks for all of them; an empty list for none."""
    wanted = set(DEFAULT if names is None else names)
    if unknown := sorted(wanted - set(SCOPES)):
        raise InvalidScope(
            f"There is no such scope: {', '.join(unknown)}.", scopes=list(SCOPES)
        )
    return [scope for scope in SCOPES if scope in wanted]

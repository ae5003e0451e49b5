"""How a command ends when it can't do what was asked."""

from __future__ import annotations

from typing import Any

OK = 0
REFUSED = 1
USAGE = 2
AUTH = 3
NOT_FOUND = 4
RATE_LIMITED = 5
SERVER = 6


class Failure(Exception):
    """One line for the person, a code for the script, JSON for `--json`."""

    def __init__(
        self,
        message: str,
        *,
        code: int = REFUSED,
        error: str = "failed",
        status: int | None = None,
        answer: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.error = error
        self.status = status
        self.answer = answer

    @property
    def body(self) -> dict[str, Any]:
        """The server's own JSON; ours, in its shape, where it sent none."""
        return self.answer or {"error": self.error, "message": self.message}


class Unreachable(Failure):
    """No answer came back; whether the server acted on the request is unknown."""

    def __init__(self, message: str, *, may_pass: bool = True) -> None:
        super().__init__(message, code=SERVER, error="unreachable")
        self.may_pass = may_pass


def code_for(status: int) -> int:
    """The exit code that stands for an HTTP status."""
    if status >= 500 or status < 400:
        return SERVER
    return {401: AUTH, 403: AUTH, 404: NOT_FOUND, 429: RATE_LIMITED}.get(
        status, REFUSED
    )

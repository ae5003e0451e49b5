"""The failures of commands, and their exit codes."""

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
    """An expected failure: a line for the user, an exit code, and JSON for `--json`."""

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
        """The server's JSON, or our own in the same shape if the server sent none."""
        return self.answer or {"error": self.error, "message": self.message}


class Unreachable(Failure):
    """No response arrived, so it is unknown whether the server acted on the request."""

    def __init__(self, message: str, *, may_pass: bool = True) -> None:
        super().__init__(message, code=SERVER, error="unreachable")
        self.may_pass = may_pass


def code_for(status: int) -> int:
    """Return the exit code of an HTTP status."""
    if status >= 500 or status < 400:
        return SERVER
    return {401: AUTH, 403: AUTH, 404: NOT_FOUND, 429: RATE_LIMITED}.get(
        status, REFUSED
    )

"""The three ways in which a piece of work ends without a result."""

from __future__ import annotations

from typing import Any


class BadRequest(Exception):
    """The worker sent a malformed request. Exit 2: a bug, so never retry it."""

    exit_code = 2

    def as_json(self) -> dict[str, Any]:
        return {"outcome": "bad_request", "sentence": str(self)}


class MediaRefused(Exception):
    """The owner's file cannot be used. Exit 3: never retry, show it to the owner.

    `code` is stable and meant for programs. `sentence` says what is wrong and
    `change` says what the owner can do about it.
    """

    exit_code = 3

    def __init__(self, code: str, sentence: str, change: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence
        self.change = change

    def as_json(self) -> dict[str, Any]:
        return {
            "outcome": "refused",
            "code": self.code,
            "sentence": self.sentence,
            "change": self.change,
        }


class EngineFailed(Exception):
    """The engine failed on a file that it accepted. Exit 4: the worker may retry.

    `detail` is for the operator's log; the owner never sees it.
    """

    exit_code = 4

    def __init__(self, code: str, sentence: str, detail: str = "") -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence
        self.detail = detail

    def as_json(self) -> dict[str, Any]:
        return {
            "outcome": "failed",
            "code": self.code,
            "sentence": self.sentence,
            "detail": self.detail[-2000:],
        }

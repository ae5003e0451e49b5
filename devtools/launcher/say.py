"""The output of ./dev, and its expected failures."""

from __future__ import annotations

import errno
import os
import sys


class Trouble(Exception):
    """A failure that the developer can repair. Its text is printed as one line."""


class Stop(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal. It is not an error."""


def say(text: str = "") -> None:
    """Print to stdout at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """Print to stderr at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def last_lines(text: str, count: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


def explain_output(text: str, where: object) -> str:
    """As `explain`, for another program's output. Returns "" for other failures."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        if os.strerror(number) in text:
            return explain(OSError(number, "", str(where)))
    return ""


def explain(error: OSError) -> str:
    """Turn an error of the operating system into a line that says what to do."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{where}. Free some space, then run this again."
    if error.errno == errno.EROFS:
        return f"This folder is read-only{where}. Clone Focus where you may write."
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"No permission{where}. Run as the user this folder belongs to, "
            "or clone Focus where you may write."
        )
    return f"{error.strerror or error}{where}."

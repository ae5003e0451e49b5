"""What ./dev says, and how it gives up."""

from __future__ import annotations

import errno
import os
import sys


class Trouble(Exception):
    """Something a person can put right. Its text is the one line they read."""


class Stop(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal. Not an error."""


def say(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def last_lines(text: str, count: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


def explain_output(text: str, where: object) -> str:
    """The same for what another program said; "" when it is nothing of the kind."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        if os.strerror(number) in text:
            return explain(OSError(number, "", str(where)))
    return ""


def explain(error: OSError) -> str:
    """Turn an operating system error into the line that helps."""
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

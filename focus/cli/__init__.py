"""The `focus` command: a client of the public API, independent of the server's code.

The client uses only what the Focus guide promises and imports nothing of the server, so
it can be shipped alone. Exit codes are in `failure.py`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn, TextIO

__version__ = "0.1.0"


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    try:
        _escape_unencodable_output()
        # Imported here so that Ctrl-C during the imports is quiet as well.
        from focus.cli.app import run

        code = run()
    except KeyboardInterrupt:
        code = 130
    raise SystemExit(_close_output(code))


def _escape_unencodable_output() -> None:
    """Print characters that the terminal's encoding lacks as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _close_output(code: int) -> int:
    """Flush the output. A closed pipe (`| head`) prints no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            _silence(stream)
            code = code or 1
    return code


def _silence(stream: TextIO) -> None:
    # Python flushes again at exit and would print "Exception ignored in …".
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

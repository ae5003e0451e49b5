"""Logging: each line of a request has its id, and secrets are masked."""

import json
import logging
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

# `focus.web.middleware.RequestId` sets it for the duration of a request.
request_id: ContextVar[str] = ContextVar("request_id", default="")

MASK = "***"
_NAMES = (
    "access|access_token|api_key|client_secret|code|code_verifier|device_code|id_token"
    "|password|refresh|refresh_token|s|secret|signature|state|ticket|token|user_code"
)
# A word may also begin after a percent-encoded character: a URL inside a URL.
_START = r"(?:\b|(?<=%[0-9A-F][0-9A-F]))"
# Each pattern, and its replacement.
_SECRETS = [
    (re.compile(pattern, re.IGNORECASE), stays)
    for pattern, stays in [
        # By form: our prefixes, Stripe's, and JWTs.
        (
            rf"{_START}(focus_pat_|sk-tool-|sk_live_|sk_test_|whsec_)[\w+/=-]+",
            rf"\1{MASK}",
        ),
        (rf"{_START}eyJ[\w-]+\.[\w-]+\.[\w-]*", MASK),
        # By place: signed addresses of files, headers, and the password in a URL.
        (r"(/files/(?:upload/)?)[\w-]{22}\.[\w-]+\.[\w-]+", rf"\1{MASK}"),
        (r"\b(Bearer|Basic) +[^\s\"',;]+", rf"\1 {MASK}"),
        (
            r"\b((?:HTTP_)?(?:Authorization|X[-_]Api[-_]Key)[\"']?[:=] *[\"']?)"
            r"(?!Bearer|Basic)[^\"',;}\n]+",
            rf"\1{MASK}",
        ),
        (r"\b((?:Set-)?Cookie[\"']?: *[\"']?)[^\"'\n]+", rf"\1{MASK}"),
        (r"(://[^\s:/@]*:)[^\s/@]+@", rf"\1{MASK}@"),
        # By name: name=…, "name": "…" and 'name': '…'.
        (
            rf"(?:(?<![\w-])|(?<=%26)|(?<=%3F))({_NAMES})(=|%3D)"
            r"(?:(?!%26)[^\s&;,\"')}\]])+",
            rf"\1\2{MASK}",
        ),
        (
            rf"([\"'](?:{_NAMES})[\"']\s*:\s*)([\"'])(?:\\.|(?!\2).)*\2",
            rf"\1\2{MASK}\2",
        ),
    ]
]


def scrub(text: str) -> str:
    """Return `text` with every token, key, password and one-time code masked."""
    for pattern, stays in _SECRETS:
        text = pattern.sub(stays, text)
    return text


class Scrub(logging.Filter):
    """Masks secrets in the message and in the traceback of every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            # A format string that does not fit its arguments must not lose the line.
            message = f"{record.msg} {record.args}"
        record.msg, record.args = scrub(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = scrub(record.exc_text)
        return True


def _request_of(record: logging.LogRecord) -> str:
    # Django logs a 4xx or 5xx after the middleware, and attaches the request.
    request = getattr(record, "request", None)
    return request_id.get() or getattr(request, "request_id", "")


class Plain(logging.Formatter):
    """For a person at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        line = super().formatMessage(record)
        current = _request_of(record)
        return f"{line} [{current}]" if current else line


class Json(logging.Formatter):
    """For a machine: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := _request_of(record):
            line["request_id"] = current
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        return json.dumps(line, ensure_ascii=False)


def logging_to_console(*, plain: bool, level: str) -> dict[str, Any]:
    """Return Django's LOGGING: all lines to the console, with secrets masked.

    `plain` is for a terminal; otherwise each line is a JSON object.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"scrub": {"()": Scrub}},
        "formatters": {"plain": {"()": Plain}, "json": {"()": Json}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "filters": ["scrub"],
                "formatter": "plain" if plain else "json",
            }
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Django's default handler would mail tracebacks with secrets in them.
            "django": {"handlers": []},
            "django.server": {"handlers": ["console"], "propagate": False},
            "kombu": {"level": "WARNING"},
            # At INFO it logs each request; payments.stripe_client logs failures.
            "stripe": {"level": "ERROR"},
        },
    }

"""Reads the environment for the settings, and refuses by name what cannot be right."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict


def env(name: str, default: str | None = None) -> str:
    """Read NAME, or the file NAME_FILE points at; refuse to start without either."""
    if path := os.environ.get(f"{name}_FILE"):
        return Path(path).read_text().strip()
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE.")
    return value


def env_list(name: str) -> list[str]:
    return [part.strip() for part in env(name, "").split(",") if part.strip()]


def database(url: str) -> dict[str, Any]:
    """Django's form of a libpq URL. libpq itself parses it, so all it knows works."""
    parts: dict[str, Any] = conninfo_to_dict(url)
    settings = {
        "ENGINE": "focus.database",
        "NAME": parts.pop("dbname", "focus"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", None) or env("DATABASE_PASSWORD", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }
    # A stuck lock must become a clean 503, never a web thread lost for ever.
    limits = "-c statement_timeout=15s -c lock_timeout=5s"
    limits += " -c idle_in_transaction_session_timeout=30s"
    given = parts.pop("options", "")
    # And so must a server that vanished without a word.
    timeouts = {"connect_timeout": "5", "tcp_user_timeout": "15000"}
    settings["OPTIONS"] = timeouts | parts | {"options": f"{limits} {given}".strip()}
    settings["TEST"] = {"NAME": f"test_{settings['NAME']}"}
    return settings


def with_password(url: str, password: str) -> str:
    """The address of a Redis server, with the password unless it names one itself."""
    parts = urlsplit(url)
    if not password or parts.scheme not in ("redis", "rediss") or "@" in parts.netloc:
        return url
    return parts._replace(netloc=f":{quote(password, safe='')}@{parts.netloc}").geturl()

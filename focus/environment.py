"""Readers of environment variables for the settings. Each names the variable it
refuses.

A value that is empty, malformed or too weak stops the start (decision 27). No default
replaces a bad value: a server without a limit or with a guessable key is worse than
one that does not run.
"""

import logging
import math
import os
import re
from decimal import Decimal, InvalidOperation
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict

# 32 characters of hex are 128 bits.
SHORTEST_SECRET = 32
# `aaaa…` is long, but not a secret.
FEWEST_CHARACTERS = 8
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----", re.DOTALL)
_HOST = re.compile(r"\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\]")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def refuse(name: str, why: str) -> NoReturn:
    """Stop the start with the variable's name and the reason."""
    raise ImproperlyConfigured(f"{name} {why}")


def load_local(folder: Path) -> bool:
    """Set variables from `folder`/env where the environment does not set them.

    Only `./dev` writes that file, and its presence alone means local mode. Returns
    whether the file exists. FOCUS_TESTING, which `./dev test` sets, is refused without
    the file.
    """
    local = folder / "env"
    if flag("FOCUS_TESTING", False):
        if not local.exists():
            refuse("FOCUS_TESTING", "is for ./dev test alone: unset it.")
        return True
    if not local.exists():
        return False
    for line in local.read_text().splitlines():
        name, _, value = line.partition("=")
        # NAME and NAME_FILE are one variable: either of them overrides both.
        bare = name.removesuffix("_FILE")
        if bare not in os.environ and f"{bare}_FILE" not in os.environ:
            os.environ[name] = value
    return True


def env(name: str, default: str | None = None) -> str:
    """Return NAME, or the content of the file that NAME_FILE names.

    Without a default the value may be neither missing nor empty.
    """
    value, path = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if path:
        if value:
            refuse(name, f"and {name}_FILE are both set: unset one of them.")
        try:
            value = Path(path).read_text().strip()
        except (OSError, ValueError) as unreadable:
            refuse(f"{name}_FILE", f"cannot be read: {unreadable}")
        if not value:
            refuse(f"{name}_FILE", "names an empty file.")
    elif value is None:
        value = default
    if value is None or (default is None and not value.strip()):
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE.")
    if "\x00" in value:
        refuse(name, "holds a NUL character.")
    return value


def env_list(name: str) -> list[str]:
    """Return a comma-separated list. An empty part is refused: `a,,b` is a mistake."""
    text = env(name, "")
    if not text.strip():
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        refuse(name, "has an empty part: separate its parts by single commas.")
    return parts


def flag(name: str, default: bool) -> bool:
    """Return whether a variable is 1. Any value but 0, 1 and empty is refused."""
    text = env(name, "").strip()
    if text not in ("", "0", "1"):
        refuse(name, f"must be 0 or 1, not {text!r}.")
    return text == "1" if text else default


def integer(name: str, default: int, *, least: int = 1, most: int = 1_000_000) -> int:
    """Return a whole number from `least` to `most`."""
    text = env(name, str(default)).strip()
    if not re.fullmatch(r"[0-9]{1,16}", text) or not least <= int(text) <= most:
        refuse(name, f"must be a whole number from {least} to {most}, not {text!r}.")
    return int(text)


def number(name: str, default: str, *, zero: bool = False) -> Decimal:
    """Return a positive decimal number, or 0 if `zero` allows that."""
    text = env(name, default)
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0 or (value == 0 and not zero):
        refuse(name, f"must be a positive number, not {text!r}.")
    if not math.isfinite(float(value)):
        refuse(name, "is too large.")
    return value


def choice(name: str, default: str, values: list[str]) -> str:
    """Return one of `values`."""
    text = env(name, default)
    if text not in values:
        refuse(name, f"must be one of {', '.join(values)}, not {text!r}.")
    return text


def log_level(name: str, default: str) -> str:
    """Return the name of one of logging's levels."""
    return choice(name, default, sorted(logging.getLevelNamesMapping()))


# --- secrets --------------------------------------------------------------------------


def secret(name: str) -> str:
    """Return a secret that is long and varied enough. It must be set."""
    return _strong(name, env(name))


def secrets(name: str) -> list[str]:
    """Return a comma-separated list of at least one secret."""
    env(name)
    return [_strong(name, part) for part in env_list(name)]


def secrets_before(name: str) -> list[str]:
    """Return a comma-separated list of earlier secrets, which may be empty."""
    return [_strong(name, part) for part in env_list(name)]


def _strong(name: str, value: str) -> str:
    if len(value) < SHORTEST_SECRET or len(set(value)) < FEWEST_CHARACTERS:
        refuse(
            name,
            f"is too weak: use {SHORTEST_SECRET} random characters or more"
            " (openssl rand -hex 32).",
        )
    return value


def signing_keys(name: str) -> str:
    """Return PEM private keys on the curve P-256, and nothing else."""
    text = env(name)
    for key in _pem_keys(name, text):
        curve = getattr(key, "curve", None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
            curve, ec.SECP256R1
        ):
            refuse(name, "must hold private keys on the curve P-256 (ES256).")
    return text


def anchor_keys(name: str) -> str:
    """Return PEM keys of Ed25519: a private one first, then private or public ones."""
    text = env(name)
    first, *others = _pem_keys(name, text)
    kinds = (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)
    if not isinstance(first, kinds[0]) or not all(
        isinstance(key, kinds) for key in others
    ):
        refuse(name, "must hold Ed25519 keys, and a private one first.")
    return text


def _pem_keys(name: str, text: str) -> list[object]:
    pems = _PEM.findall(text)
    if not pems or _PEM.sub("", text).strip():
        refuse(name, "must hold PEM private keys and nothing else.")
    return [_pem_key(name, pem) for pem in pems]


def _pem_key(name: str, pem: str) -> object:
    try:
        if "PUBLIC KEY" in pem:
            return load_pem_public_key(pem.encode())
        return load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as broken:
        refuse(name, f"is not a PEM private key without a password: {broken}")
    except Exception as broken:  # cryptography's own UnsupportedAlgorithm
        refuse(name, f"is not a key that can be used: {broken}")


def rsa_public_key(name: str) -> str:
    """Return an RSA public key in PEM, or an empty string if it is not set."""
    text = env(name, "")
    if not text:
        return ""
    try:
        key = load_pem_public_key(text.encode())
    except Exception as broken:
        refuse(name, f"is not a PEM public key: {broken}")
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < 2048:
        refuse(name, "must be an RSA public key of 2048 bits or more.")
    return text


def require_together(*names: str) -> None:
    """Refuse a part of `names`: all of them must be set, or none."""
    given = [name for name in names if env(name, "")]
    for missing in names:
        if given and missing not in given:
            refuse(missing, f"must be set too, because {given[0]} is.")


def require_any_of(name: str, *others: str) -> None:
    """Refuse `name` without any of `others`, because it would be ignored."""
    if env(name, "") and not any(env(other, "") for other in others):
        refuse(name, f"is ignored without {' or '.join(others)}: set that too.")


# --- addresses ------------------------------------------------------------------------


def url(name: str, default: str, *, local: bool, query: bool = False) -> str:
    """Return an https URL without its last slash.

    http is allowed for this machine and in local mode. An empty value is allowed if the
    default is empty.
    """
    text = env(name, default).strip().rstrip("/")
    if not text and not default:
        return ""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        refuse(name, f"is not an address: {text!r}")
    plain = parts.scheme == "http" and (local or host in _LOOPBACK)
    if not host or not (parts.scheme == "https" or plain):
        refuse(name, f"must be an https address, not {text!r}.")
    strange = parts.username is not None or parts.fragment or re.search(r"\s", text)
    if strange or (parts.query and not query) or not _is_host(host):
        refuse(name, "must have no user, fragment or space, and no query.")
    return text


def origin(name: str, default: str) -> str:
    """Return an http or https origin: the address under which browsers reach us."""
    return _origin(name, env(name, default).strip().rstrip("/"))


def origins(name: str) -> list[str]:
    """Return the origins of the comma list `name`, or []. Refuse any other text."""
    return [_origin(name, part) for part in env_list(name)]


def _origin(name: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        refuse(name, f"is not an origin: {text!r}")
    bare = f"[{host}]" if ":" in host else host
    plain = f"{parts.scheme}://{bare}" + (f":{port}" if port is not None else "")
    if parts.scheme not in ("http", "https") or not _is_host(host) or plain != text:
        refuse(name, f"must be like https://example.com, in small letters: {text!r}")
    return text


def hosts(name: str, *, local: bool) -> list[str]:
    """Return host names without scheme or port. Only local mode may allow `*`."""
    found = env_list(name)
    for host in found:
        if not (_HOST.fullmatch(host) or (host == "*" and local)):
            refuse(name, f"must hold host names, not {host!r}.")
    return found


def _is_host(host: str) -> bool:
    bare = f"[{host}]" if ":" in host else host
    return _HOST.fullmatch(bare) is not None


def domain(name: str) -> str:
    """Return a domain name, or an empty string."""
    text = env(name, "")
    if text and not _HOST.fullmatch(text):
        refuse(name, f"must be a domain, not {text!r}.")
    return text


def networks(name: str) -> list[str]:
    """Return networks (CIDR) and `unix`. A network of every address is refused: it
    would trust every client.
    """
    found = env_list(name)
    for part in found:
        if part == "unix":
            continue
        try:
            network = ip_network(part, strict=False)
        except ValueError:
            refuse(name, f"must hold networks such as 10.0.0.0/8, not {part!r}.")
        if network.prefixlen == 0:
            refuse(name, f"must not trust every address: {part!r}")
    return found


def email(name: str, default: str) -> str:
    """Return an email address. Line breaks are refused: they could add headers."""
    text = env(name, default)
    if "@" not in text or re.search(r"[\r\n]", text):
        refuse(name, f"must be an email address, not {text!r}.")
    return text


def backend(name: str, default: str) -> str:
    """Return the dotted name of a class. Its module must exist."""
    text = env(name, default)
    module, _, _ = text.rpartition(".")
    try:
        known = bool(module) and find_spec(module) is not None
    except (ImportError, ValueError):
        known = False
    if not known:
        refuse(name, f"names no class that is there: {text!r}")
    return text


# --- engines --------------------------------------------------------------------------


def database(name: str) -> dict[str, Any]:
    """Return Django's form of a libpq URL. libpq parses it, so all its options work."""
    try:
        parts: dict[str, Any] = conninfo_to_dict(env(name))
    except psycopg.Error as broken:
        refuse(name, f"is not an address of PostgreSQL: {broken}")
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
    # A stuck lock must become a 503, and must not keep a web thread for ever.
    limits = "-c statement_timeout=15s -c lock_timeout=5s"
    limits += " -c idle_in_transaction_session_timeout=30s"
    given = parts.pop("options", "")
    # The same for a database server that vanishes without closing its connections.
    timeouts = {"connect_timeout": "5", "tcp_user_timeout": "15000"}
    settings["OPTIONS"] = timeouts | parts | {"options": f"{limits} {given}".strip()}
    settings["TEST"] = {"NAME": f"test_{settings['NAME']}"}
    return settings


def redis_url(name: str, password: str) -> str:
    """Return the URL of a Redis server.

    The value of the variable `password` is added, unless the URL has a password.
    """
    text, word = env(name), env(password, "")
    try:
        parts = urlsplit(text)
        known = parts.scheme == "unix" and parts.path.startswith("/")
        known |= parts.scheme in ("redis", "rediss") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        known = False
    if not known:
        refuse(name, "must begin with redis://, rediss:// or unix:///.")
    if not word or parts.scheme == "unix" or "@" in parts.netloc:
        return text
    return parts._replace(netloc=f":{quote(word, safe='')}@{parts.netloc}").geturl()

"""var/env: the secrets and addresses of this clone, one NAME=value per line.

focus/settings.py reads the file for variables that are not set; its presence means
local mode. Secrets are made once and kept. Each start writes the addresses again. Lines
that were added by hand stay.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from . import stripe
from .family import Family
from .places import PYTHON, VAR
from .say import Trouble, last_lines

FILE = VAR / "env"
SECRETS = ("SECRET_KEY", "TOKEN_PEPPER", "SEALING_KEY")
COMPOSE_SECRETS = (
    "secret_key",
    "token_pepper",
    "sealing_key",
    "database_password",
    "valkey_password",
    "jwt_private_key",
    "anchor_private_key",
)

MAKE_KEY = """
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import serialization as form
print(ec.generate_private_key(ec.SECP256R1()).private_bytes(
    form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode(), end="")
"""


MAKE_ANCHOR_KEY = """
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives import serialization as form
print(ed25519.Ed25519PrivateKey.generate().private_bytes(
    form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode(), end="")
"""
# The code that generates each PEM key.
MAKERS = {"jwt_private_key": MAKE_KEY, "anchor_private_key": MAKE_ANCHOR_KEY}


def port() -> int:
    """Return the web server's port. Raises `Trouble` for a bad PORT."""
    text = os.environ.get("PORT", "8000")
    if text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise Trouble(f"PORT={text} is not a port number: use 1 to 65535.")


def is_here(base: str) -> bool:
    """Whether `base` is plain http on this machine: only then /dev/mail exists."""
    parts = urlsplit(base)
    return parts.scheme == "http" and parts.hostname in (
        "localhost",
        "127.0.0.1",
        "::1",
    )


def read() -> dict[str, str]:
    """Return the variables of var/env, or none without the file."""
    if not FILE.exists():
        return {}
    pairs = (line.partition("=") for line in FILE.read_text().splitlines() if line)
    return {name: value for name, _, value in pairs}


def write(family: Family, addresses: dict[str, str]) -> None:
    """Write var/env: keep its secrets and added lines, replace the addresses."""
    values = {**read(), **addresses, "PORT": str(port())}
    for name in SECRETS:
        values.setdefault(name, secrets.token_hex(32))
    values |= key_files(family, VAR)
    base = os.environ.get("PUBLIC_BASE_URL") or f"http://localhost:{port()}"
    values["PUBLIC_BASE_URL"] = base
    values = stripe.with_emulator(values, port())
    private_file(FILE, "".join(f"{name}={value}\n" for name, value in values.items()))


def throwaway(family: Family, folder: Path) -> dict[str, str]:
    """Return new secrets for one test run."""
    values = {name: secrets.token_hex(32) for name in SECRETS}
    return values | key_files(family, folder)


def compose_secrets(family: Family, folder: Path) -> list[str]:
    """Write the secret files that docker-compose.yml mounts, and return new names.

    Existing files are kept. Compose mounts them with their owner and mode, and the
    image's user must read them. So the folder's mode keeps other users out.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    made = []
    for name in COMPOSE_SECRETS:
        path = folder / name
        if path.exists():
            continue
        if name in MAKERS:
            key_file(family, path, MAKERS[name])
        else:
            private_file(path, secrets.token_hex(32))
        path.chmod(0o444)
        made.append(name)
    return made


def key_files(family: Family, folder: Path) -> dict[str, str]:
    jwt = key_file(family, folder / "jwt.pem", MAKE_KEY)
    anchor = key_file(family, folder / "anchor.pem", MAKE_ANCHOR_KEY)
    return {"JWT_PRIVATE_KEY_FILE": str(jwt), "ANCHOR_PRIVATE_KEY_FILE": str(anchor)}


def key_file(family: Family, path: Path, maker: str) -> Path:
    if not path.exists():
        status, text = family.run([PYTHON, "-c", maker], os.environ)
        if status:
            raise Trouble(f"Cannot make a signing key: {last_lines(text, 1)}")
        private_file(path, text)
    return path


def private_file(path: Path, text: str) -> None:
    """Replace a file atomically, with mode 0600 from the start."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with open(
            os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
        ) as f:
            f.write(text)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise

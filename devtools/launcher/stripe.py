"""Chooses between Stripe, if the developer gave a key, and the emulator."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .places import VAR
from .say import Trouble

# The beginnings of values that belong to the emulator, and not to the developer.
OURS = {
    "STRIPE_SECRET_KEY": "sk_test_emulator",
    "STRIPE_WEBHOOK_SECRET": "whsec_emulator",
    "STRIPE_API_BASE": "http://localhost:",
}


SECRET = "STRIPE_WEBHOOK_SECRET"  # noqa: S105 — its name


def port(of_web: int) -> int:
    """Return the emulator's port, which follows from the web server's."""
    return of_web + 4000 if of_web + 4000 < 65536 else of_web - 4000


def is_emulated(known: Mapping[str, str]) -> bool:
    """Whether neither the environment nor var/env has a Stripe key of the developer."""
    if os.environ.get("STRIPE_SECRET_KEY") or os.environ.get("STRIPE_SECRET_KEY_FILE"):
        return False
    if known.get("STRIPE_SECRET_KEY_FILE"):
        return False
    key = known.get("STRIPE_SECRET_KEY", "")
    return not key or key.startswith(OURS["STRIPE_SECRET_KEY"])


def with_emulator(known: Mapping[str, str], of_web: int) -> dict[str, str]:
    """Return var/env's variables with the emulator's, or without them for real Stripe.

    A webhook secret of the developer stays, so events that it signs are accepted too.
    """
    own = ",".join(_own_secrets(known.get(SECRET, "")))
    if is_emulated(known):
        secrets = ",".join(filter(None, (own, OURS[SECRET])))
        base = address(of_web)
        return {**known, **OURS, SECRET: secrets, "STRIPE_API_BASE": base}
    kept = {
        name: value
        for name, value in known.items()
        if name != SECRET and not (name in OURS and value.startswith(OURS[name]))
    }
    return {**kept, SECRET: own} if own else kept


def _own_secrets(text: str) -> list[str]:
    parts = (part.strip() for part in text.split(","))
    return [part for part in parts if part and part != OURS[SECRET]]


def own_secrets(known: Mapping[str, str]) -> list[str]:
    """Return the developer's webhook secrets: the shell's, else var/env's."""
    for given in (os.environ, known):
        if path := given.get(f"{SECRET}_FILE"):
            return _own_secrets(Path(path).read_text())
        if found := _own_secrets(given.get(SECRET, "")):
            return found
    return []


def check(known: Mapping[str, str]) -> None:
    """Refuse a key without a webhook secret before anything starts.

    The settings refuse it too: payments would arrive, and no event could be verified.
    """
    if not is_emulated(known) and not own_secrets(known):
        raise Trouble(
            "STRIPE_SECRET_KEY is set without STRIPE_WEBHOOK_SECRET. Set both to use"
            " Stripe, or neither to use the emulator."
        )


def address(of_web: int) -> str:
    """Return the emulator's URL."""
    return f"http://localhost:{port(of_web)}"


def environment(known: Mapping[str, str]) -> dict[str, str]:
    """Return the services' variables for the emulator, which override empty ones."""
    if not is_emulated(known):
        return {}
    secrets = ",".join([*own_secrets(known), OURS[SECRET]])
    ours = {name: known[name] for name in OURS} | {SECRET: secrets}
    # `secrets` has the content of the _FILE, which would otherwise override it.
    return {**ours, f"{SECRET}_FILE": ""}


def argv(of_web: int) -> list[str]:
    """Return the arguments that start the emulator."""
    return [
        *("-m", "devtools.stripe_emulator"),
        *("--port", str(port(of_web))),
        *("--file", str(VAR / "stripe.json")),
        *("--webhook-url", f"http://127.0.0.1:{of_web}/api/credits/webhook/"),
    ]

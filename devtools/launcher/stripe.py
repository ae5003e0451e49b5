"""Which Stripe the product talks to: the real one where a key is given, else ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .places import VAR
from .say import Trouble

# What marks a value as the emulator's, and not somebody's own.
OURS = {
    "STRIPE_SECRET_KEY": "sk_test_emulator",
    "STRIPE_WEBHOOK_SECRET": "whsec_emulator",
    "STRIPE_API_BASE": "http://localhost:",
}


SECRET = "STRIPE_WEBHOOK_SECRET"  # noqa: S105 — its name


def port(of_web: int) -> int:
    """The emulator's, beside the web's."""
    return of_web + 4000 if of_web + 4000 < 65536 else of_web - 4000


def is_emulated(known: Mapping[str, str]) -> bool:
    """Nobody has given a key of their own, in the environment or in var/env."""
    if os.environ.get("STRIPE_SECRET_KEY") or os.environ.get("STRIPE_SECRET_KEY_FILE"):
        return False
    if known.get("STRIPE_SECRET_KEY_FILE"):
        return False
    key = known.get("STRIPE_SECRET_KEY", "")
    return not key or key.startswith(OURS["STRIPE_SECRET_KEY"])


def settled(known: Mapping[str, str], of_web: int) -> dict[str, str]:
    """var/env's lines with the emulator's among them, or with none of them.

    A webhook secret of the developer's own stays: events signed with it are taken too.
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
    """The webhook secrets that the developer gave: the shell's, else var/env's."""
    for given in (os.environ, known):
        if path := given.get(f"{SECRET}_FILE"):
            return _own_secrets(Path(path).read_text())
        if found := _own_secrets(given.get(SECRET, "")):
            return found
    return []


def check(known: Mapping[str, str]) -> None:
    """Refuse a key without a webhook secret before anything starts: the settings refuse
    it too, since money would come in and no event would be believed.
    """
    if not is_emulated(known) and not own_secrets(known):
        raise Trouble(
            "STRIPE_SECRET_KEY is set without STRIPE_WEBHOOK_SECRET. Set both to use"
            " Stripe, or neither to use the emulator."
        )


def address(of_web: int) -> str:
    return f"http://localhost:{port(of_web)}"


def environment(known: Mapping[str, str]) -> dict[str, str]:
    """For the services: also where the shell has set one of them to nothing."""
    if not is_emulated(known):
        return {}
    secrets = ",".join([*own_secrets(known), OURS[SECRET]])
    ours = {name: known[name] for name in OURS} | {SECRET: secrets}
    # The file's content is among them; by its name it would win over them.
    return {**ours, f"{SECRET}_FILE": ""}


def argv(of_web: int) -> list[str]:
    return [
        *("-m", "devtools.stripe_emulator"),
        *("--port", str(port(of_web))),
        *("--file", str(VAR / "stripe.json")),
        *("--webhook-url", f"http://127.0.0.1:{of_web}/api/credits/webhook/"),
    ]

"""Which Stripe the product talks to: the real one where a key is given, else ours."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .places import VAR

# What marks a value as the emulator's, and not somebody's own.
OURS = {
    "STRIPE_SECRET_KEY": "sk_test_emulator",
    "STRIPE_WEBHOOK_SECRET": "whsec_emulator",
    "STRIPE_API_BASE": "http://localhost:",
}


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
    """var/env's lines with the emulator's among them, or with none of them."""
    if not is_emulated(known):
        return {
            name: value
            for name, value in known.items()
            if not (name in OURS and value.startswith(OURS[name]))
        }
    return {**known, **OURS, "STRIPE_API_BASE": address(of_web)}


def address(of_web: int) -> str:
    return f"http://localhost:{port(of_web)}"


def environment(known: Mapping[str, str]) -> dict[str, str]:
    """For the services: also where the shell has set one of them to nothing."""
    return {name: known[name] for name in OURS} if is_emulated(known) else {}


def argv(of_web: int) -> list[str]:
    return [
        *("-m", "devtools.stripe_emulator"),
        *("--port", str(port(of_web))),
        *("--file", str(VAR / "stripe.json")),
        *("--webhook-url", f"http://127.0.0.1:{of_web}/api/credits/webhook/"),
    ]

"""Waits after wrong passwords, counted for each account.

`focus.limiting.limits` limits one address. This module limits many addresses that guess
one account's password together. No account is ever locked: the longest wait is a
minute, and an address with a recent successful sign-in does not wait. Unknown emails
are counted in the same way, so a wait does not reveal an account.
"""

from ipaddress import ip_address

from django.conf import settings

from accounts.audit import Visitor
from focus.limiting import addresses
from focus.limiting.limiter import Window, process_limiter
from focus.limiting.limits import Limited

# (wrong guesses, seconds). The first limit is above what one address may do, so one
# address alone cannot make the account's owner wait.
WAITS = ((11, 10), (12, 20), (13, 40), (14, 60))
KNOWN_SECONDS = 30 * 86_400


def check_wait(*, email: str, visitor: Visitor) -> None:
    """Raise `Limited` while a guess at this account must wait. No database query."""
    windows = _windows(email)
    verdict = process_limiter().look(windows, mark=_known(email, visitor))
    if verdict.marked or verdict.allowed:
        return
    ends = [
        state.resets_at_ms
        for window, state in zip(windows, verdict.states, strict=True)
        if state.hits >= window.limit
    ]
    raise Limited(max(1, -(-(max(ends) - verdict.now_ms) // 1000)))


def count_wrong(*, email: str) -> None:
    """Count one wrong guess at this account."""
    # Count each window alone: in one call a full window would stop the others.
    for window in _windows(email):
        process_limiter().hit([window])


def remember_address(*, email: str, visitor: Visitor) -> None:
    """Remember the visitor's address, which then does not wait for this account."""
    known = _known(email, visitor)
    process_limiter().hit([], mark=known, seconds=KNOWN_SECONDS)


def _windows(email: str) -> list[Window]:
    scale, who = settings.RATE_LIMIT_SCALE, _folded(email)
    return [
        Window(f"guesses:{seconds}:{who}", max(1, round(most * scale)), seconds)
        for most, seconds in WAITS
    ]


def _known(email: str, visitor: Visitor) -> str:
    address = ip_address(visitor.ip) if visitor.ip else None
    return f"signed-in-from:{addresses.neighbourhood(address)}:{_folded(email)}"


def _folded(email: str) -> str:
    return email.strip().casefold()[:254]

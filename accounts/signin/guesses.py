"""Wrong passwords for one account, whoever guesses: each makes the next wait longer.

The limits of an address (`focus.limiting.limits`) come first; this is for many
addresses that guess together. No account is ever locked: the longest wait is a minute,
and an address that the account was signed in from lately does not wait. An unknown
email is treated like any other.
"""

from ipaddress import ip_address

from django.conf import settings

from accounts.audit import Visitor
from focus.limiting import addresses
from focus.limiting.limiter import Window, process_limiter
from focus.limiting.limits import Limited

# At most so many wrong guesses in any so many seconds. As many as one address may make
# cost nobody a wait.
WAITS = ((11, 10), (12, 20), (13, 40), (14, 60))
KNOWN_SECONDS = 30 * 86_400


def check_wait(*, email: str, visitor: Visitor) -> None:
    """Raises `Limited` while a guess at this account must wait. Looks nothing up."""
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
    """Count a guess that was wrong."""
    # One by one: together, a window that is full would keep the others from counting.
    for window in _windows(email):
        process_limiter().hit([window])


def remember_address(*, email: str, visitor: Visitor) -> None:
    """Remember where this account was signed in from."""
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

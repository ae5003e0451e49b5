"""Rate limit policies, and the tally of what one request has counted against.

A view declares its policies as `limits = {"<action>": (POLICY, …)}`. An action without
an entry has GENERAL. The numbers are in the setting RATE_LIMITS.
"""

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpRequest

from focus.errors import DomainError
from focus.limiting import addresses
from focus.limiting.limiter import Window, WindowState, WindowVerdict, process_limiter

V = TypeVar("V")

# For how long an address may use a credential that was valid there, even if other
# clients at the same address guess wrong.
BELIEVED_SECONDS = 3600


class Limited(DomainError):
    """Too many requests. Retry after `retry_after_seconds`, 1 or more."""

    code = "rate_limited"

    def __init__(self, retry_after_seconds: int) -> None:
        unit = "second" if retry_after_seconds == 1 else "seconds"
        super().__init__(
            f"Rate limit exceeded. Try again in {retry_after_seconds} {unit}."
        )
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class LimitedCaller:
    """The account or key that a limit counts, and its agreed limit, if any."""

    subject: str
    per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """One policy's limit for this request: what remains, and when it resets."""

    name: str
    limit: int
    seconds: int
    remaining: int
    resets_at: float
    resets_in: float

    @property
    def wait_seconds(self) -> int:
        return max(1, math.ceil(self.resets_in))


class Tally:
    """The rate limits that one request has counted against, and its caller."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        # True for views without limits: health, docs, Stripe's receivers.
        self.unlimited = False
        self.slug = ""
        self.caller: LimitedCaller | None = None
        self._standings: list[Standing] = []
        self._examined: list[str] = []
        self._address = ""

    @property
    def address(self) -> str:
        """The client's IPv4 address or IPv6 /64 network."""
        if not self._address:
            client = addresses.client(self.request.META)
            self._address = addresses.neighbourhood(client)
        return self._address

    @property
    def counted(self) -> bool:
        """Whether the request has counted against a policy, or was refused by one."""
        return bool(self._standings)

    def require_guesses_left(self, secret: str) -> None:
        """Raise `Limited` if this address has guessed too many wrong secrets.

        Call it before the lookup of a secret. A secret that was valid from this address
        within `BELIEVED_SECONDS` always passes, so that an attacker at a shared address
        cannot lock its users out.
        """
        if self.unlimited:
            return
        mark = self._mark(secret)
        self._examined.append(mark)
        if process_limiter().knows(mark):
            return
        policies = (FAILURES,)
        windows = [self._window(policy) for policy in policies]
        verdict = process_limiter().look(windows, mark=mark)
        if not verdict.marked:
            self._judge(policies, windows, verdict, counting=False)

    def look(self, policies: Iterable["Policy"]) -> None:
        """Raise `Limited` if one of `policies` is full. Counts nothing."""
        asked = tuple(policies)
        windows = [self._window(policy) for policy in asked]
        verdict = process_limiter().look(windows)
        self._judge(asked, windows, verdict, counting=False)

    def count(
        self,
        policies: Iterable["Policy"],
        *,
        authenticated: bool = False,
        wrong_guess: bool = False,
    ) -> None:
        """Count against all of `policies`, or raise `Limited` and count against none.

        With `authenticated`, the checked secrets were valid, and this address may keep
        using them. With `wrong_guess`, the request counts against FAILURES, too.
        """
        asked = (*policies, FAILURES) if wrong_guess else tuple(policies)
        windows = [self._window(policy, counts=wrong_guess) for policy in asked]
        marks = self._examined if authenticated else []
        for mark in marks[1:]:
            process_limiter().hit([], mark=mark, seconds=BELIEVED_SECONDS)
        verdict = process_limiter().hit(
            windows, mark=marks[0] if marks else None, seconds=BELIEVED_SECONDS
        )
        self._judge(asked, windows, verdict)

    def remember_valid(self, secret: str) -> None:
        """Store that a secret, just issued to this address, is valid from there."""
        mark = self._mark(secret)
        process_limiter().hit([], mark=mark, seconds=BELIEVED_SECONDS)

    def count_wrong_guess(self) -> None:
        """Count a wrong password or key. Raises `Limited` if the limit was full."""
        windows = [Window(*self._limit(FAILURES))]
        self._judge((FAILURES,), windows, process_limiter().hit(windows))

    def tightest(self) -> Standing:
        """Return the standing with the least remaining; GENERAL if nothing counted."""
        if self._standings:
            return min(self._standings, key=lambda it: (it.remaining, -it.resets_in))
        _, limit, seconds = self._limit(GENERAL)
        now = datetime.now(UTC).timestamp()
        return Standing("general", limit, seconds, limit, now + seconds, seconds)

    def _window(self, policy: "Policy", *, counts: bool = False) -> Window:
        return Window(*self._limit(policy), counts=counts or policy is not FAILURES)

    def _limit(self, policy: "Policy") -> tuple[str, int, int]:
        limit, seconds = settings.RATE_LIMITS[policy.name]
        if policy.agreed and self.caller and self.caller.per_minute is not None:
            limit, seconds = self.caller.per_minute, 60
        scaled = max(1, round(limit * settings.RATE_LIMIT_SCALE))
        return f"{policy.name}:{policy.by(self)}", scaled, seconds

    def _mark(self, credential: str) -> str:
        # The limiter hashes this with the pepper. This digest keeps the JWT itself out
        # of memory until then.
        digest = hashlib.blake2b(
            credential.encode(errors="surrogateescape"), digest_size=16
        )
        return f"believed:{self.address}:{digest.hexdigest()}"

    def _judge(
        self,
        policies: tuple["Policy", ...],
        windows: list[Window],
        verdict: WindowVerdict,
        counting: bool = True,
    ) -> None:
        every = list(zip(policies, windows, verdict.states, strict=True))
        if verdict.allowed:
            seen = [it for it in every if it[1].counts and counting]
            self._standings += [_standing(*it, verdict.now_ms) for it in seen]
            return
        # Nothing was counted. The headers must show the windows that refused.
        full = [
            _standing(*it, verdict.now_ms) for it in every if it[2].hits >= it[1].limit
        ]
        self._standings = full
        raise Limited(max(it.wait_seconds for it in full))


@dataclass(frozen=True, slots=True)
class Policy:
    """One limit: its name in RATE_LIMITS and in headers, and the subject it counts.

    An `agreed` policy uses the limit of the caller's own account or app, if it has one.
    A policy that is not `judged_first` refuses nothing before the action runs.
    """

    name: str
    by: Callable[[Tally], str]
    agreed: bool = False
    judged_first: bool = True


def by_address(tally: Tally) -> str:
    """Return the client's IPv4 address or IPv6 /64 network."""
    return tally.address


def by_caller(tally: Tally) -> str:
    """Return the account or key, separate per guide; the address without a caller."""
    subject = tally.caller.subject if tally.caller else f"address:{tally.address}"
    return f"{tally.slug}:{subject}"


def by_device_code(tally: Tally) -> str:
    """Return the device code of the query string."""
    return tally.request.GET.get("device_code", "")


GENERAL = Policy("general", by_caller, agreed=True)
AUTH = Policy("auth", by_address)
UPLOAD = Policy("upload", by_caller)
VERIFY_USER = Policy("verify-user", by_address)
CONSUME = Policy("consume", by_caller, agreed=True)
DEVICE_START = Policy("device-start", by_address)
DEVICE_POLL = Policy("device-poll", by_device_code)
X_ME = Policy("x-me", by_address)
EXPOSED = Policy("report-exposed", by_address)
# For an action that itself checks a credential. The action is refused if the address
# has guessed wrong too often, and counts only if the guess was wrong.
FAILURES = Policy("failures", by_address)
# The same for an action that takes a token of ours. The signature proves the token
# without a lookup, so a valid one passes although the address has guessed too often.
FORGERIES = Policy("failures", by_address, judged_first=False)
# For an action that takes a password or another guessable secret.
SIGN_IN = (AUTH, FAILURES)


def refuses_unread(*policies: Policy) -> Callable[[V], V]:
    """Mark a page so that the middleware refuses its forms while a policy is full.

    Django's CSRF check reads the form before the view runs, so the view could not
    refuse before reading.
    """

    def mark(view: V) -> V:
        view.refuses_unread = policies  # type: ignore[attr-defined]  # for middleware
        return view

    return mark


def tally_of(request: HttpRequest) -> Tally:
    """Return the tally of this request, always the same object."""
    tally: Tally | None = getattr(request, "tally", None)
    if tally is None:
        tally = Tally(request)
        request.tally = tally  # type: ignore[attr-defined]  # read by middleware
    return tally


def is_wrong_guess(refusal: BaseException) -> bool:
    """Return whether this refusal is of a credential that was never one of ours."""
    causes: tuple[Any, ...] = (refusal, refusal.__cause__)
    return any(getattr(cause, "wrong_guess", False) for cause in causes)


def headers(standing: Standing, *, reset: str) -> dict[str, str]:
    """Return the three headers of the guides, and the IETF's `RateLimit` pair."""
    name = f'"{standing.name}"'
    return {
        "X-RateLimit-Limit": str(standing.limit),
        "X-RateLimit-Remaining": str(standing.remaining),
        "X-RateLimit-Reset": reset,
        "RateLimit-Policy": f"{name};q={standing.limit};w={standing.seconds}",
        "RateLimit": f"{name};r={standing.remaining};t={standing.wait_seconds}",
    }


def _standing(
    policy: Policy, window: Window, state: WindowState, now_ms: int
) -> Standing:
    return Standing(
        policy.name,
        window.limit,
        window.seconds,
        max(0, window.limit - state.hits),
        state.resets_at_ms / 1000,
        (state.resets_at_ms - now_ms) / 1000,
    )

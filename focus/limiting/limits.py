"""Who may ask how often: the policies, and what one request has counted against.

A view declares policies beside what it accepts, `limits = {"<action>": (POLICY, …)}`;
an action without any is under GENERAL. How many and in which time is a setting.
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

# How long a credential that was believed is examined again, whatever others guess at
# from the same address.
BELIEVED_SECONDS = 3600


class Limited(DomainError):
    """Too many requests. It may be tried again in `retry_after_seconds`, 1 or more."""

    code = "rate_limited"

    def __init__(self, retry_after_seconds: int) -> None:
        unit = "second" if retry_after_seconds == 1 else "seconds"
        super().__init__(
            f"Rate limit exceeded. Try again in {retry_after_seconds} {unit}."
        )
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class LimitedCaller:
    """Whose account or key it is, and the limit that was agreed with them."""

    subject: str
    per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a request stands with one policy."""

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
    """What one request has counted against so far, and as whom."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        # For health, docs and whoever else may ask for ever.
        self.unlimited = False
        self.slug = ""
        self.caller: LimitedCaller | None = None
        self._standings: list[Standing] = []
        self._examined: list[str] = []
        self._address = ""

    @property
    def address(self) -> str:
        if not self._address:
            client = addresses.client(self.request.META)
            self._address = addresses.neighbourhood(client)
        return self._address

    @property
    def counted(self) -> bool:
        return bool(self._standings)

    def require_guesses_left(self, secret: str) -> None:
        """Let this secret be looked up. Raises `Limited` where too many from its
        address were wrong, unless it was right from there within the hour itself.
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
        """Raise `Limited` where one of `policies` is spent. Counts nothing."""
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

        With `authenticated` the examined secrets were right, and this address may go on
        using them. With `wrong_guess` the request counts against FAILURES as well.
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
        """Let this address use a secret that it has just been given."""
        mark = self._mark(secret)
        process_limiter().hit([], mark=mark, seconds=BELIEVED_SECONDS)

    def count_wrong_guess(self) -> None:
        """Count a wrong password or key. Raises `Limited` for one that was too many."""
        windows = [Window(*self._limit(FAILURES))]
        self._judge((FAILURES,), windows, process_limiter().hit(windows))

    def tightest(self) -> Standing:
        """The policy with least left; GENERAL, unspent, where nothing was counted."""
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
        # The limiter hashes it with the pepper; a JWT need not be kept until then.
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
        # Nothing was counted; what refused is what the caller must know.
        full = [
            _standing(*it, verdict.now_ms) for it in every if it[2].hits >= it[1].limit
        ]
        self._standings = full
        raise Limited(max(it.wait_seconds for it in full))


@dataclass(frozen=True, slots=True)
class Policy:
    """One limit: its name in RATE_LIMITS and in headers, and who is limited by it.

    `agreed` ones give way to the figure on the caller's own account or app. One that is
    not `judged_first` refuses nothing before the action runs.
    """

    name: str
    by: Callable[[Tally], str]
    agreed: bool = False
    judged_first: bool = True


def by_address(tally: Tally) -> str:
    return tally.address


def by_caller(tally: Tally) -> str:
    """The account or key, in each guide for itself; the address of a stranger."""
    subject = tally.caller.subject if tally.caller else f"address:{tally.address}"
    return f"{tally.slug}:{subject}"


def by_device_code(tally: Tally) -> str:
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
# In a view's table it says that the action itself looks at a credential: it is refused
# when the address has guessed too often, and counts only when the guess was wrong.
FAILURES = Policy("failures", by_address)
# The same for an action that takes a token of ours: its signature says whether it is
# genuine, so only a wrong one is refused where others have guessed too often.
FORGERIES = Policy("failures", by_address, judged_first=False)
# An action that takes a password or its like.
SIGN_IN = (AUTH, FAILURES)


def refuses_unread(*policies: Policy) -> Callable[[V], V]:
    """Mark a page whose forms are refused unread while one of `policies` is spent.

    Django's CSRF check reads the form before a view runs, so the view itself would be
    too late.
    """

    def mark(view: V) -> V:
        view.refuses_unread = policies  # type: ignore[attr-defined]  # for middleware
        return view

    return mark


def tally_of(request: HttpRequest) -> Tally:
    """The tally of this request, the same one whoever asks."""
    tally: Tally | None = getattr(request, "tally", None)
    if tally is None:
        tally = Tally(request)
        request.tally = tally  # type: ignore[attr-defined]  # ours, for its way out
    return tally


def is_wrong_guess(refusal: BaseException) -> bool:
    """Whether a credential was refused that never was one of ours."""
    causes: tuple[Any, ...] = (refusal, refusal.__cause__)
    return any(getattr(cause, "wrong_guess", False) for cause in causes)


def headers(standing: Standing, *, reset: str) -> dict[str, str]:
    """The trio that the guides print, and the IETF's pair beside it."""
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

"""What an endpoint's answer means for its delivery and for the endpoint."""

from dataclasses import dataclass

from focus.outgoing.safe_http import PostResult
from jobs.models import Delivery, Endpoint

# Seconds from the end of one try to the next. After the last try the delivery fails.
WAITS = (1, 2, 4, 8)
LONGEST_PAUSE = 300
# Errors that a retry cannot change.
FINAL_ERRORS = ("blocked_address", "unreadable_secret")


@dataclass(frozen=True)
class Verdict:
    """The delivery's next state, and the seconds until the next try.

    `disable` is the reason to disable the endpoint, or "". `pause_seconds` is the pause
    that the endpoint asked for.
    """

    state: str
    wait_seconds: int | None = None
    disable: str = ""
    pause_seconds: int = 0


def judge(answer: PostResult, *, tries: int) -> Verdict:
    """Return the verdict on an answer that came after `tries` earlier tries.

    410 and `webhook-delivery: disable` disable the endpoint; 429 pauses it. Other 4xx,
    `webhook-delivery: abort-message` and a final error fail the delivery at once. Every
    other failure is retried until the waits are used up.
    """
    headers = answer.headers or {}
    directive = headers.get("webhook-delivery", "").strip().lower()
    if answer.status is not None and 200 <= answer.status < 300:
        return Verdict(Delivery.State.SUCCEEDED)
    if answer.status == 410:
        return Verdict(Delivery.State.FAILED, disable=Endpoint.Disabled.GONE)
    if directive == "disable":
        return Verdict(Delivery.State.FAILED, disable=Endpoint.Disabled.ASKED)
    if answer.status == 429:
        pause = _seconds(headers.get("retry-after", ""))
        return Verdict(Delivery.State.FAILED, pause_seconds=min(pause, LONGEST_PAUSE))
    refused = answer.status is not None and 400 <= answer.status < 500
    if refused or answer.error in FINAL_ERRORS or directive == "abort-message":
        return Verdict(Delivery.State.FAILED)
    if tries < len(WAITS):
        return Verdict(Delivery.State.PENDING, wait_seconds=WAITS[tries])
    return Verdict(Delivery.State.FAILED)


def _seconds(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0

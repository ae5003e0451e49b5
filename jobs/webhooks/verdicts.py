"""What an endpoint's answer means for the delivery, and for the endpoint."""

from dataclasses import dataclass

from focus.outgoing.safe_http import PostResult
from jobs.models import Delivery, Endpoint

# Seconds from the end of one try to the next; after the last, the delivery has failed.
WAITS = (1, 2, 4, 8)
LONGEST_PAUSE = 300
# These will not get better by trying again.
HOPELESS = ("blocked_address", "unreadable_secret")


@dataclass(frozen=True)
class Verdict:
    """What an answer means: the delivery's state, and the wait before another try.

    `disable` is why its endpoint is to be put aside; `pause_seconds` for how long the
    endpoint wants nothing.
    """

    state: str
    wait_seconds: int | None = None
    disable: str = ""
    pause_seconds: int = 0


def judge(answer: PostResult, *, tries: int) -> Verdict:
    """The verdict on an answer; `tries` is how many went before it."""
    headers = answer.headers or {}
    wish = headers.get("webhook-delivery", "").strip().lower()
    if answer.status is not None and 200 <= answer.status < 300:
        return Verdict(Delivery.State.SUCCEEDED)
    if answer.status == 410:
        return Verdict(Delivery.State.FAILED, disable=Endpoint.Disabled.GONE)
    if wish == "disable":
        return Verdict(Delivery.State.FAILED, disable=Endpoint.Disabled.ASKED)
    if answer.status == 429:
        pause = _seconds(headers.get("retry-after", ""))
        return Verdict(Delivery.State.FAILED, pause_seconds=min(pause, LONGEST_PAUSE))
    refused = answer.status is not None and 400 <= answer.status < 500
    if refused or answer.error in HOPELESS or wish == "abort-message":
        return Verdict(Delivery.State.FAILED)
    if tries < len(WAITS):
        return Verdict(Delivery.State.PENDING, wait_seconds=WAITS[tries])
    return Verdict(Delivery.State.FAILED)


def _seconds(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0

"""The status of a page that refuses something which may work a little later."""

from django.http import HttpResponse

from focus.errors import DomainError
from focus.limiting.limits import Limited


def say_when(response: HttpResponse, refusal: DomainError | None) -> HttpResponse:
    """Give `response` 429 or 503 and its `Retry-After`, where waiting helps."""
    if refusal is not None and refusal.retry_after_seconds is not None:
        response.status_code = 429 if isinstance(refusal, Limited) else 503
        response["Retry-After"] = str(refusal.retry_after_seconds)
    return response

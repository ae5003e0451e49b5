"""Status and `Retry-After` of pages that show a temporary refusal."""

from django.http import HttpResponse

from focus.errors import DomainError
from focus.limiting.limits import Limited


def say_when(response: HttpResponse, refusal: DomainError | None) -> HttpResponse:
    """Set 429 or 503 and `Retry-After` on `response` if a later retry may succeed."""
    if refusal is not None and refusal.retry_after_seconds is not None:
        response.status_code = 429 if isinstance(refusal, Limited) else 503
        response["Retry-After"] = str(refusal.retry_after_seconds)
    return response

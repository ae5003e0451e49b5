"""Agreed rate limits for single accounts and apps."""

from accounts import audit
from accounts.models import App, User
from focus.errors import DomainError, NotFound

# A larger limit is a typing mistake, and the limiter's list in Redis grows as long.
MOST_PER_MINUTE = 100_000


class InvalidRateLimit(DomainError):
    code = "invalid_rate_limit"


def set_rate_limit(*, holder: str, per_minute: int | None, actor: str) -> App | User:
    """Set the rate limit of the account with this email, or of each key of the app.

    `holder` is an email or an app's slug. With None, the default applies again. The
    limit applies from the next request. Raises `NotFound` or `InvalidRateLimit`.
    """
    if per_minute is not None and not 1 <= per_minute <= MOST_PER_MINUTE:
        raise InvalidRateLimit(f"A limit is 1 to {MOST_PER_MINUTE} a minute.")
    found: App | User | None
    if "@" in holder:
        found = User.objects.with_email(holder).first()
    else:
        found = App.objects.filter(slug=holder).first()
    if found is None:
        raise NotFound(f"There is no account and no app {holder!r}.")
    found.rate_limit_per_minute = per_minute
    found.save(update_fields=["rate_limit_per_minute"])
    audit.record(
        "rate_limit_set",
        user=found if isinstance(found, User) else found.owner,
        actor=actor,
        holder=str(found),
        per_minute=per_minute,
    )
    return found

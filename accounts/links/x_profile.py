"""Forward X's `GET /2/users/me` for a caller with an X access token."""

import re

from django.conf import settings

from accounts.credentials import opaque
from accounts.providers import outbound
from accounts.providers.outbound import Reply
from focus.errors import DomainError

MAX_BYTES = 64 * 1024
# X's documented user fields. No other value of a caller reaches X.
FIELDS = frozenset(
    [
        "affiliation",
        "connection_status",
        "created_at",
        "description",
        "entities",
        "id",
        "is_identity_verified",
        "location",
        "most_recent_tweet_id",
        "name",
        "parody",
        "pinned_tweet_id",
        "profile_banner_url",
        "profile_image_url",
        "protected",
        "public_metrics",
        "receives_your_dm",
        "subscription",
        "subscription_type",
        "url",
        "username",
        "verified",
        "verified_followers_count",
        "verified_type",
        "withheld",
    ]
)
_TOKEN = re.compile(r"[!-~]{1,1024}")
# Our, Stripe's and Clerk's secrets at any position, and every JWT. X tokens are none.
_NOT_XS = re.compile(
    rf"{opaque.PAT}|{opaque.APP_KEY}|[sprw]k_(live|test)_|whsec_|eyJ|[^.]\.[^.]+\.[^.]",
    re.IGNORECASE,
)
_breaker = outbound.Breaker()


class NotAnXToken(DomainError):
    """The token is not X's.

    It may be a secret for another service: never send it to X.
    """

    code = "invalid_token"


class InvalidFields(DomainError):
    """`user.fields` has a name that X does not document."""

    code = "invalid_request"


def me(*, token: str, fields: str | None) -> Reply:
    """Return X's response about the user of this `token`, with any status below 500.

    `fields` is X's `user.fields` parameter. Raises `NotAnXToken`, `InvalidFields` and
    `ServiceDown`.
    """
    if not _TOKEN.fullmatch(token) or _NOT_XS.search(token):
        raise NotAnXToken("Send your X (Twitter) access token here, and nothing else.")
    return _breaker.get(
        f"{settings.X_API_BASE}/users/me{_query(fields)}",
        headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
        max_bytes=MAX_BYTES,
    )


def _query(fields: str | None) -> str:
    if fields is None:
        return ""
    wanted = fields.split(",")
    if unknown := sorted(set(wanted) - FIELDS):
        raise InvalidFields(
            f"X has no such user.fields: {', '.join(unknown)[:200]}.",
            allowed=sorted(FIELDS),
        )
    # All names are plain words, so the URL needs no escaping.
    return f"?user.fields={','.join(dict.fromkeys(wanted))}"

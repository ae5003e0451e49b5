"""The share that unlocks one photo an account, without credits.

No network tells whether a person really shared something. So the server observes what
it can: the address that leads to the network was opened.

1. `start` returns a signed token, which names the account and the restoration.
2. `open_address` checks the token, records the opening, and returns where to go.
3. `confirm` unlocks the photo if the address was opened in the last 10 minutes.
"""

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User
from focus.errors import DomainError
from jobs.hosted.restorations import photos
from jobs.models import Restoration

LASTS = timedelta(minutes=10)
CAPTION = "I just restored an old photo with reviv.pics."


class SocialShareUsed(DomainError):
    """The account has unlocked a photo by a share before."""

    code = "social_share_used"


class ShareNotInitiated(DomainError):
    """No share address of this restoration was opened in the last 10 minutes."""

    code = "share_not_initiated"


class InvalidShareToken(DomainError):
    """The token is not ours, is another restoration's, or its restoration is gone."""

    code = "invalid_share_token"


class ShareFlowExpired(DomainError):
    code = "share_flow_expired"


class InvalidPlatform(DomainError):
    code = "invalid_platform"


@dataclass(frozen=True, slots=True)
class Platform:
    """Where a network takes a shared link, and its names for link and text."""

    address: str
    link: str
    text: str = ""

    def leading_to(self, link: str) -> str:
        query = {self.link: link}
        if self.text:
            query[self.text] = CAPTION
        return f"{self.address}?{urlencode(query)}"


# Constants only: no part of a request decides where a visitor is sent.
PLATFORMS = {
    "facebook": Platform("https://facebook.com/sharer.php", "u"),
    "twitter": Platform("https://twitter.com/intent/tweet", "url", "text"),
    "linkedin": Platform("https://linkedin.com/sharing/share-offsite/", "url"),
    "pinterest": Platform(
        "https://pinterest.com/pin/create/button/", "url", "description"
    ),
}


def start(*, account_id: UUID, restoration_id: int) -> str:
    """Return the token of a share that may unlock this restoration. Takes two queries.

    Raises `NotFound`, `photos.InvalidState`, `photos.AlreadyUnlocked` or
    `SocialShareUsed`.
    """
    restoration = photos.find(account_id=account_id, restoration_id=restoration_id)
    photos.require_locked(restoration)
    _require_unused(User.objects.get(pk=account_id))
    return _signer().sign_object({"a": str(account_id), "r": restoration_id})


def open_address(*, restoration_id: int | None, platform: str, token: str) -> str:
    """Record that a share address was opened, and return the network's address.

    The visitor needs no credential. Raises `InvalidShareToken`, `ShareFlowExpired` or
    `InvalidPlatform`, and then records nothing.
    """
    account_id = _account_of(token, restoration_id)
    own = photos.unexpired().filter(
        pk=restoration_id or 0, account_id=account_id, account__is_active=True
    )
    if not own.exists():
        raise _invalid_token()
    found = PLATFORMS.get(platform)
    if found is None:
        raise InvalidPlatform(
            f"Share on one of these: {', '.join(PLATFORMS)}.", platforms=[*PLATFORMS]
        )
    own.update(share_opened_at=Now())
    return found.leading_to(link_of(account_id))


@transaction.atomic
def confirm(*, account_id: UUID, restoration_id: int) -> Restoration:
    """Unlock a restoration by a share, once an account for ever.

    Raises as `start`, and `ShareNotInitiated`. Locks the restoration, then the account:
    of two calls for two restorations, the second sees the first's share.
    """
    restoration = photos.lock(account_id=account_id, restoration_id=restoration_id)
    photos.require_locked(restoration)
    user = User.objects.select_for_update(no_key=True).get(pk=account_id)
    _require_unused(user)
    opened = Restoration.objects.filter(
        pk=restoration_id, share_opened_at__gt=Now() - LASTS
    )
    if not opened.exists():
        raise ShareNotInitiated(
            "Open one of the share addresses first, and confirm within 10 minutes."
        )
    photos.unlock(restoration, method=Restoration.UnlockMethod.SOCIAL_SHARE)
    user.social_share_unlock_used = True
    user.save(update_fields=["social_share_unlock_used"])
    return restoration


def link_of(account_id: UUID) -> str:
    """Return the link that is shared: the product's page, with the account's id."""
    return f"{settings.FRONTEND_URL}?{urlencode({'ref': account_id})}"


def _require_unused(user: User) -> None:
    if user.social_share_unlock_used:
        raise SocialShareUsed("You have used your share. Unlock this photo by credits.")


def _account_of(token: str, restoration_id: int | None) -> UUID:
    try:
        named = _signer().unsign_object(token, max_age=LASTS)
        if named["r"] != restoration_id:
            raise _invalid_token()
        return UUID(named["a"])
    except SignatureExpired as old:
        raise ShareFlowExpired(
            "This share address is older than 10 minutes. Start the share again."
        ) from old
    except (BadSignature, ValueError, KeyError, TypeError) as forged:
        raise _invalid_token() from forged


def _signer() -> TimestampSigner:
    return TimestampSigner(salt="jobs.hosted.restorations.shares")


def _invalid_token() -> InvalidShareToken:
    return InvalidShareToken("This share address is not valid. Start the share again.")

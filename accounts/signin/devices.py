"""Device sign-in (RFC 8628): start, approve or deny on a page, poll for the token.

A device shows a user code. A signed-in user types the code on our page and decides.
The device polls with its device code and gets a personal access token.
"""

import base64
import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import opaque, proofs, scopes, tokens
from accounts.models import DeviceGrant, SecurityEvent, User
from focus.database import locks
from focus.errors import DomainError

EXPIRES_IN_SECONDS = 900
INTERVAL_SECONDS = 5
SLOW_DOWN_SECONDS = 5
SLOWEST_INTERVAL_SECONDS = 60
# No vowels, so no words; no letters that look like digits (RFC 8628, 6.1).
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
# A client is an address with a client's name and user agent.
LIVE_CODES_PER_CLIENT = 20
# A client without a poll for so long has stopped: the slowest polls every minute.
STILL_POLLING = timedelta(seconds=90)
WRONG_CODES_PER_ACCOUNT = 5
WRONG_CODES_PER_ADDRESS = 20
WRONG_CODES_WINDOW = timedelta(minutes=15)

_DEVICE_CODE = re.compile(r"[A-Za-z0-9_-]{43}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class InvalidChallenge(DomainError):
    code = "invalid_code_challenge"


class TooManyCodes(DomainError):
    """The client already polls for as many codes as one client may have."""

    code = "rate_limited"


class TooManyWrongCodes(DomainError):
    """Too many wrong codes: the account or the address must wait `wait_seconds`."""

    code = "rate_limited"

    def __init__(self, wait_seconds: int) -> None:
        minutes = math.ceil(wait_seconds / 60)
        super().__init__(f"Too many wrong codes. Try again in {minutes} min.")
        self.wait_seconds = wait_seconds


class InvalidUserCode(DomainError):
    code = "invalid_user_code"


class InvalidDeviceCode(DomainError):
    """The code is unknown, used, or sent without its PKCE verifier."""

    code = "invalid_device_code"


class CodeExpired(DomainError):
    code = "expired_token"


class AccessDenied(DomainError):
    code = "access_denied"


@dataclass(frozen=True, slots=True)
class DeviceCodes:
    """A new grant and its device code. We store only the digest of the code."""

    grant: DeviceGrant
    device_code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Poll:
    """The answer to a poll: a token, or the seconds to wait before the next poll."""

    interval_seconds: int
    slow_down: bool = False
    issued: tokens.IssuedToken | None = None


def start(
    *,
    client_name: str = "",
    scope: str = "",
    code_challenge: str = "",
    visitor: Visitor = NO_VISITOR,
) -> DeviceCodes:
    """Create a grant with a device code and a user code.

    `code_challenge` is a PKCE challenge (S256) or empty. Raises `scopes.InvalidScope`,
    `InvalidChallenge` or `TooManyCodes`.
    """
    wanted = scopes.parse(scope)
    if code_challenge and not _CHALLENGE.fullmatch(code_challenge):
        raise InvalidChallenge("code_challenge must be a base64url SHA-256 (S256).")
    now = timezone.now()
    name = client_name or "A device"
    if visitor.ip and _polled_for(name, visitor, now) >= LIVE_CODES_PER_CLIENT:
        raise TooManyCodes("Too many codes are waiting for approval from here.")
    device_code = secrets.token_urlsafe(32)
    # There are 20^8 codes, so a second try is rare and ten collisions mean a fault.
    for tries_left in reversed(range(10)):
        try:
            with transaction.atomic():
                grant = DeviceGrant.objects.create(
                    device_digest=opaque.digest(device_code),
                    user_code="".join(secrets.choice(ALPHABET) for _ in range(8)),
                    client_name=name,
                    scopes=wanted,
                    code_challenge=code_challenge,
                    interval_seconds=INTERVAL_SECONDS,
                    ip=visitor.ip,
                    user_agent=visitor.user_agent,
                    created_at=now,
                    expires_at=now + timedelta(seconds=EXPIRES_IN_SECONDS),
                )
            return DeviceCodes(grant, device_code)
        except IntegrityError:
            if not tries_left:
                raise
    raise AssertionError("unreachable")


def format_user_code(user_code: str) -> str:
    """Return the user code as pages show it: XXXX-XXXX."""
    return f"{user_code[:4]}-{user_code[4:]}"


def find(*, user: User, user_code: str, visitor: Visitor = NO_VISITOR) -> DeviceGrant:
    """Return the pending grant for a code that `user` typed.

    Case, spaces and hyphens do not matter. Raises `InvalidUserCode`. After five wrong
    codes of one account or twenty of one address in 15 minutes raises
    `TooManyWrongCodes`, even for a correct code. Not inside a transaction.
    """
    code = _normal(user_code)
    if code is None:
        # Text that cannot be a code does not count as a guess.
        raise InvalidUserCode(
            "Enter the eight letters that your device shows, such as BCDF-GHJK. "
            "Codes have no vowels and no digits."
        )
    with transaction.atomic(durable=True):
        now = timezone.now()
        _refuse_a_guesser(user, visitor, now)
        live = DeviceGrant.objects.filter(user_code=code, expires_at__gt=now)
        grant = live.filter(status="pending").first()
        # A second click after the user's own decision does not count as a guess.
        if grant is None and not live.filter(decided_by=user).exists():
            audit.record("device_code_wrong", user=user, visitor=visitor)
    if grant is None:
        raise InvalidUserCode(
            "This code is wrong, expired or already used. Check the code on your "
            "device, or start again there."
        )
    return grant


def decide(
    *,
    user: User,
    user_code: str,
    approve: bool,
    granted_scopes: Sequence[str] | None = None,
    visitor: Visitor = NO_VISITOR,
) -> DeviceGrant:
    """Approve or deny a grant, once. `granted_scopes` None grants all requested scopes.

    Locks the account. Raises as `find`. Of two concurrent decisions the second raises
    `InvalidUserCode`.
    """
    grant = find(user=user, user_code=user_code, visitor=visitor)
    chosen = grant.scopes if granted_scopes is None else granted_scopes
    kept = [scope for scope in grant.scopes if scope in chosen]
    status = DeviceGrant.Status.APPROVED if approve else DeviceGrant.Status.DENIED
    now = timezone.now()
    with transaction.atomic():
        proofs.lock_account(user=user)
        decided = DeviceGrant.objects.filter(
            pk=grant.pk, status="pending", expires_at__gt=now
        ).update(
            status=status,
            decided_by=user,
            decided_at=now,
            granted_scopes=kept if approve else [],
        )
        if not decided:
            raise InvalidUserCode("This code was already answered, or it expired.")
        audit.record(
            f"device_{status}",
            user=user,
            visitor=visitor,
            client=grant.client_name,
            grant_id=str(grant.pk),
            scopes=kept,
        )
    grant.refresh_from_db()
    return grant


def poll(*, device_code: str, code_verifier: str = "") -> Poll:
    """Return the token of an approved grant, or how long to wait.

    The token is issued here, by the first poll after the approval, even if the poll
    comes early. Only this answer holds the secret. Raises `InvalidDeviceCode`,
    `AccessDenied` or `CodeExpired`.
    """
    if not _DEVICE_CODE.fullmatch(device_code):
        raise InvalidDeviceCode("The device code is unknown or already used.")
    with transaction.atomic():
        # Concurrent polls wait for this lock; the second finds the grant redeemed.
        grant = (
            DeviceGrant.objects.select_for_update(no_key=True, of=("self",))
            .select_related("decided_by")
            .filter(device_digest=opaque.digest(device_code))
            .first()
        )
        # A stolen code without the PKCE verifier must neither learn the state nor slow
        # down the device.
        if grant is None or not _proves(code_verifier, grant.code_challenge):
            raise InvalidDeviceCode("The device code is unknown or already used.")
        now = timezone.now()
        if grant.status == DeviceGrant.Status.REDEEMED:
            raise InvalidDeviceCode("The device code is unknown or already used.")
        if grant.status == DeviceGrant.Status.DENIED:
            raise AccessDenied("The request was denied.")
        if grant.expires_at <= now:
            raise CodeExpired("The device code has expired. Start again.")
        if grant.status == DeviceGrant.Status.APPROVED:
            return _redeem(grant)
        return _wait(grant, now)


@transaction.atomic
def cancel(*, device_code: str, code_verifier: str = "") -> None:
    """Expire a grant because its device stopped. A second call changes nothing.

    Raises `InvalidDeviceCode` for a code that is unknown, redeemed, or sent without its
    PKCE verifier.
    """
    grant = None
    if _DEVICE_CODE.fullmatch(device_code):
        grant = (
            DeviceGrant.objects.select_for_update(no_key=True)
            .filter(device_digest=opaque.digest(device_code))
            .exclude(status=DeviceGrant.Status.REDEEMED)
            .first()
        )
    if grant is None or not _proves(code_verifier, grant.code_challenge):
        raise InvalidDeviceCode("The device code is unknown or already used.")
    grant.expires_at = min(grant.expires_at, timezone.now())
    grant.save(update_fields=["expires_at"])


def _polled_for(name: str, visitor: Visitor, now: datetime) -> int:
    """Return how many codes this client still polls for, without abandoned ones."""
    lately = Q(created_at__gt=now - STILL_POLLING) | Q(
        polled_at__gt=now - STILL_POLLING
    )
    return DeviceGrant.objects.filter(
        lately,
        status=DeviceGrant.Status.PENDING,
        expires_at__gt=now,
        ip=visitor.ip,
        client_name=name,
        user_agent=visitor.user_agent,
    ).count()


def _redeem(grant: DeviceGrant) -> Poll:
    # The account may have been closed after the approval.
    if grant.decided_by is None or not grant.decided_by.is_active:
        raise AccessDenied("The account that approved this is closed.")
    issued = tokens.issue(
        user=grant.decided_by,
        name=grant.client_name,
        scopes=grant.granted_scopes,
        visitor=Visitor(grant.ip, grant.user_agent),
    )
    grant.status, grant.token = DeviceGrant.Status.REDEEMED, issued.token
    grant.save(update_fields=["status", "token"])
    return Poll(grant.interval_seconds, issued=issued)


def _wait(grant: DeviceGrant, now: datetime) -> Poll:
    # One second of grace, because client clocks and networks are not exact.
    soonest = timedelta(seconds=grant.interval_seconds - 1)
    hasty = grant.polled_at is not None and now - grant.polled_at < soonest
    if hasty:
        slower = grant.interval_seconds + SLOW_DOWN_SECONDS
        grant.interval_seconds = min(slower, SLOWEST_INTERVAL_SECONDS)
    grant.polled_at = now
    grant.save(update_fields=["interval_seconds", "polled_at"])
    return Poll(grant.interval_seconds, slow_down=hasty)


def _normal(typed: str) -> str | None:
    code = re.sub(r"[\s-]", "", typed).upper()
    return code if len(code) == 8 and set(code) <= set(ALPHABET) else None


def _proves(verifier: str, challenge: str) -> bool:
    if not challenge:
        return True
    if not _VERIFIER.fullmatch(verifier):
        return False
    digest = hashlib.sha256(verifier.encode()).digest()
    made = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(made, challenge)


def _refuse_a_guesser(user: User, visitor: Visitor, now: datetime) -> None:
    # Lock, so that parallel guesses of one account do not all read the same count.
    locks.lock(f"device_code:{user.pk}")
    wrong = SecurityEvent.objects.filter(
        kind="device_code_wrong", at__gt=now - WRONG_CODES_WINDOW
    ).order_by("-at")
    by_account = wrong.filter(user=user).values_list("at", flat=True)
    times = list(by_account[:WRONG_CODES_PER_ACCOUNT])
    limit = WRONG_CODES_PER_ACCOUNT
    if len(times) < limit and visitor.ip:
        by_address = wrong.filter(ip=visitor.ip).values_list("at", flat=True)
        times, limit = (
            list(by_address[:WRONG_CODES_PER_ADDRESS]),
            WRONG_CODES_PER_ADDRESS,
        )
    if len(times) >= limit:
        wait = times[-1] + WRONG_CODES_WINDOW - now
        raise TooManyWrongCodes(max(1, math.ceil(wait.total_seconds())))

"""Passkeys in use: signed in with, listed, removed. enrolment.py makes them."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import webauthn
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from webauthn.helpers.structs import (
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialRequestOptions,
    UserVerificationRequirement,
)

from accounts import audit, mails, nonces
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import opaque, proofs
from accounts.models import Identity, Passkey, PasskeyOwner, User
from accounts.passkeys import ceremony
from accounts.passkeys.ceremony import MissingCredentialId as MissingCredentialId
from accounts.passkeys.ceremony import Unverified
from accounts.signin import passwords, sessions
from focus.errors import DomainError, NotFound

LIVES_SECONDS = 300
SIGN_IN = "passkey-sign-in"
# RFC 8176: a key was proven and a person was there; with a PIN, finger or face, both.
PROVEN, VERIFIED = ["pop", "user"], ["pop", "user", "mfa"]

T = TypeVar("T")


class MissingCredential(DomainError):
    code = "missing_credential"


class AuthMissing(DomainError):
    """Never begun, begun too long ago, or completed before."""

    code = "auth_missing"


class UnknownCredential(DomainError):
    code = "unknown_credential"
    wrong_guess = True


class AuthFailed(DomainError):
    code = "auth_failed"
    wrong_guess = True


class MalformedCredential(AuthFailed):
    """Shaped like no passkey's answer, so it can never succeed."""

    wrong_guess = False


class ReplayDetected(DomainError):
    """The signature counter went backwards: there may be a copy of the key."""

    code = "replay_detected"
    wrong_guess = True


class LastWayIn(DomainError):
    code = "last_way_in"


@dataclass(frozen=True, slots=True)
class AuthenticationOptions:
    """A question for `navigator.credentials.get()`, and the nonce to answer with."""

    nonce: str = field(repr=False)
    options: PublicKeyCredentialRequestOptions


def begin_signing_in(*, email: str = "") -> AuthenticationOptions:
    """Ask for a passkey: any, or one of those that `email` has.

    An email that has none is answered with ids that nobody has, always the same.
    Raises `passwords.InvalidEmail`.
    """
    allowed = _ids(passwords.normal_email(email)) if email else []
    options = webauthn.generate_authentication_options(
        rp_id=ceremony.rp_id(),
        allow_credentials=[PublicKeyCredentialDescriptor(id=one) for one in allowed],
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    nonce = nonces.keep(
        purpose=SIGN_IN,
        facts={
            "challenge": options.challenge.hex(),
            "allowed": [one.hex() for one in allowed],
        },
        seconds=LIVES_SECONDS,
    )
    return AuthenticationOptions(nonce, options)


def sign_in(
    *,
    nonce: object,
    credential: object,
    begin: Callable[[Passkey, list[str]], T],
    visitor: Visitor = NO_VISITOR,
) -> T:
    """Believe the passkey and let `begin` open a sign-in with it, in one transaction.

    `begin` is told which passkey, and by what the person proved themselves. A refusal
    leaves its trace in the audit: never call this inside a transaction of your own.
    """
    facts, claimed = _take_sign_in(nonce, credential)
    passkey = Passkey.objects.select_related("user").filter(credential_id=claimed)
    row = passkey.first()
    allowed = facts["allowed"]
    if row is None or (allowed and claimed.hex() not in allowed):
        audit.record("sign_in_failed", visitor=visitor, method="passkey")
        raise UnknownCredential("This passkey is not known here.")
    try:
        shown = _shown(row, credential, facts)
    except Unverified as wrong:
        audit.record(
            "sign_in_failed",
            user=row.user,
            actor="unknown",
            visitor=visitor,
            method="passkey",
            reason=wrong.message,
        )
        raise AuthFailed("The passkey could not be verified.") from wrong
    with transaction.atomic():
        # The account before its passkeys, as removing one locks them.
        proofs.lock_account(user=row.user)
        if _count(row, shown):
            return begin(row, VERIFIED if shown.user_verified else PROVEN)
    raise _replayed(row, shown, visitor)


def passkeys_of(*, user: User) -> list[Passkey]:
    """The person's passkeys, oldest first."""
    return list(Passkey.objects.filter(user=user).order_by("created_at"))


@transaction.atomic
def remove(
    *, user: User, passkey_id: uuid.UUID, visitor: Visitor = NO_VISITOR
) -> Passkey:
    """Forget a passkey and end every sign-in that it opened.

    Raises `NotFound`, and `LastWayIn` where nothing else would open the account.
    """
    owner = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    # A sign-in with it either holds this row, and its session is there to be ended
    # below, or comes too late to find it.
    row = Passkey.objects.select_for_update().filter(user=owner, pk=passkey_id).first()
    if row is None:
        raise NotFound("There is no such passkey.")
    others = Passkey.objects.filter(user=owner).exclude(pk=row.pk).exists()
    if not (others or has_password(owner) or has_provider(owner)):
        raise LastWayIn("This passkey is the only way into your account.")
    sessions.revoke_all(user=owner, opened_by=row, visitor=visitor)
    audit.record("passkey_removed", user=owner, visitor=visitor, name=row.name)
    mails.write(
        user=owner,
        subject="A passkey was removed",
        what="A passkey was removed from your account.",
        visitor=visitor,
    )
    Passkey.objects.filter(pk=row.pk).delete()
    return row


def _take_sign_in(nonce: object, credential: object) -> tuple[dict[str, Any], bytes]:
    """What was begun under this nonce, which is spent now, and the id claimed."""
    missing = AuthMissing("There is no such sign-in. Please start again.")
    if not nonce:
        raise missing
    if not isinstance(credential, dict) or not credential:
        raise MissingCredential("The credential is required.")
    try:
        claimed = ceremony.credential_id(credential)
        facts = nonces.take(purpose=SIGN_IN, nonce=nonce)
    except Unverified as wrong:
        raise MalformedCredential("The passkey could not be verified.") from wrong
    except nonces.OtherPurpose as other:
        raise missing from other
    if facts is None:
        raise missing
    return facts, claimed


def _shown(
    row: Passkey, credential: Any, facts: dict[str, Any]
) -> ceremony.VerifiedAssertion:
    shown = ceremony.verify_assertion(
        credential,
        challenge=bytes.fromhex(facts["challenge"]),
        public_key=bytes(row.public_key),
    )
    handle = ceremony.user_handle(credential)
    owner = PasskeyOwner.objects.get(user=row.user_id)
    if handle is not None and handle != bytes(owner.handle):
        raise Unverified("The user handle is somebody else's.")
    if shown.backup_eligible != row.backup_eligible:
        raise Unverified("The backup eligibility changed.")
    if not row.user.is_active:
        raise Unverified("The account is closed.")
    return shown


def _count(row: Passkey, shown: ceremony.VerifiedAssertion) -> bool:
    """Move the counter on, unless somebody got there first or it went backwards."""
    grows = Q(sign_count__lt=shown.sign_count)
    if shown.sign_count == 0:
        # Synced passkeys do not count.
        grows = Q(sign_count=0)
    moved = Passkey.objects.filter(grows, pk=row.pk).update(
        sign_count=shown.sign_count,
        backed_up=shown.backed_up,
        last_used_at=timezone.now(),
    )
    return moved == 1


def _replayed(
    row: Passkey, shown: ceremony.VerifiedAssertion, visitor: Visitor
) -> DomainError:
    with transaction.atomic():
        now = timezone.now()
        if not Passkey.objects.filter(pk=row.pk).update(flagged_at=now):
            return UnknownCredential("This passkey is not known here.")
        audit.record(
            "passkey_replayed",
            user=row.user,
            actor="unknown",
            visitor=visitor,
            name=row.name,
            shown=shown.sign_count,
        )
        mails.write(
            user=row.user,
            subject="One of your passkeys may have been copied",
            what="A sign-in with one of your passkeys was refused, because its counter "
            "went backwards. This can mean that the passkey was copied. Remove it and "
            "add a new one.",
            visitor=visitor,
        )
    return ReplayDetected("This passkey's counter went backwards. Was it copied?")


def _ids(address: str) -> list[bytes]:
    """The credential ids of an email, or decoys, made of it and our own secret."""
    people = User.objects.with_email(address)
    rows = Passkey.objects.filter(user__in=people).order_by("created_at")
    found = [bytes(one) for one in rows.values_list("credential_id", flat=True)]
    if found:
        return found
    folded = address.lower()
    seed = opaque.digest(f"decoy {folded}")
    # As many and as long as real ones are: mostly one; 16, 20 or 32 bytes.
    count, length = 1 + (seed[0] < 64), (16, 20, 32)[seed[1] % 3]
    return [opaque.digest(f"decoy {n} {folded}")[:length] for n in range(count)]


def has_password(user: User) -> bool:
    """Whether a password signs this person in: it takes an email to go with."""
    return user.has_usable_password() and user.email is not None


def has_provider(user: User) -> bool:
    """Whether somebody else signs this person in."""
    return bool(user.clerk_id) or Identity.objects.filter(user=user).exists()

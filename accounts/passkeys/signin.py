"""Sign-in with passkeys, and listing and removing them. `enrolment` registers them."""

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
# RFC 8176: proof of possession and user presence; "mfa" with PIN, fingerprint or face.
PROVEN, VERIFIED = ["pop", "user"], ["pop", "user", "mfa"]

T = TypeVar("T")


class MissingCredential(DomainError):
    code = "missing_credential"


class AuthMissing(DomainError):
    """The sign-in is unknown, expired or completed."""

    code = "auth_missing"


class UnknownCredential(DomainError):
    code = "unknown_credential"
    wrong_guess = True


class AuthFailed(DomainError):
    code = "auth_failed"
    wrong_guess = True


class MalformedCredential(AuthFailed):
    """The answer cannot come from a passkey, so it is not counted as a guess."""

    wrong_guess = False


class ReplayDetected(DomainError):
    """The signature counter went backwards, so the key may have been copied."""

    code = "replay_detected"
    wrong_guess = True


class LastWayIn(DomainError):
    code = "last_way_in"


@dataclass(frozen=True, slots=True)
class AuthenticationOptions:
    """The options for `navigator.credentials.get()`, and the nonce of the answer."""

    nonce: str = field(repr=False)
    options: PublicKeyCredentialRequestOptions


def begin_signing_in(*, email: str = "") -> AuthenticationOptions:
    """Start a sign-in with any passkey, or with those of `email`.

    An email without passkeys gets decoy ids, always the same ones, so the answer does
    not reveal an account. Raises `passwords.InvalidEmail`.
    """
    allowed = _ids_or_decoys(passwords.normal_email(email)) if email else []
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
    """Verify the passkey's answer and call `begin`, which opens the session.

    `begin` gets the passkey and the methods for `amr`. It runs in the transaction that
    locks the account and moves the counter. Returns its result.

    A refusal is recorded in the audit, so never call this inside a transaction. Raises
    `AuthMissing`, `MissingCredential`, `UnknownCredential`, `AuthFailed` or
    `ReplayDetected`.
    """
    facts, claimed = _take_sign_in(nonce, credential)
    passkey = Passkey.objects.select_related("user").filter(credential_id=claimed)
    row = passkey.first()
    allowed = facts["allowed"]
    if row is None or (allowed and claimed.hex() not in allowed):
        audit.record("sign_in_failed", visitor=visitor, method="passkey")
        raise UnknownCredential("This passkey is not known here.")
    try:
        assertion = _verify(row, credential, facts)
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
        # Lock the account before the passkey, in the order of `remove`.
        proofs.lock_account(user=row.user)
        if _store_counter(row, assertion):
            return begin(row, VERIFIED if assertion.user_verified else PROVEN)
    raise _flag_replay(row, assertion, visitor)


def passkeys_of(*, user: User) -> list[Passkey]:
    """Return the passkeys of `user`, oldest first."""
    return list(Passkey.objects.filter(user=user).order_by("created_at"))


@transaction.atomic
def remove(
    *, user: User, passkey_id: uuid.UUID, visitor: Visitor = NO_VISITOR
) -> Passkey:
    """Delete a passkey, end every session that it opened and send a mail.

    Locks the account. Raises `NotFound`, and `LastWayIn` if the account has no other
    passkey, password or provider.
    """
    owner = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    # A concurrent sign-in locks this row too. Either it commits first, and its session
    # is ended below, or it no longer finds the row.
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
    """Take the facts of a sign-in from its nonce. Returns them and the claimed id."""
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


def _verify(
    row: Passkey, credential: Any, facts: dict[str, Any]
) -> ceremony.VerifiedAssertion:
    assertion = ceremony.verify_assertion(
        credential,
        challenge=bytes.fromhex(facts["challenge"]),
        public_key=bytes(row.public_key),
    )
    handle = ceremony.user_handle(credential)
    owner = PasskeyOwner.objects.get(user=row.user_id)
    if handle is not None and handle != bytes(owner.handle):
        raise Unverified("The user handle belongs to another user.")
    if assertion.backup_eligible != row.backup_eligible:
        raise Unverified("The backup eligibility changed.")
    if not row.user.is_active:
        raise Unverified("The account is closed.")
    return assertion


def _store_counter(row: Passkey, assertion: ceremony.VerifiedAssertion) -> bool:
    """Store the new counter. False if it did not grow or a concurrent sign-in won."""
    grows = Q(sign_count__lt=assertion.sign_count)
    if assertion.sign_count == 0:
        # Synced passkeys always send 0.
        grows = Q(sign_count=0)
    moved = Passkey.objects.filter(grows, pk=row.pk).update(
        sign_count=assertion.sign_count,
        backed_up=assertion.backed_up,
        last_used_at=timezone.now(),
    )
    return moved == 1


def _flag_replay(
    row: Passkey, assertion: ceremony.VerifiedAssertion, visitor: Visitor
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
            shown=assertion.sign_count,
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


def _ids_or_decoys(address: str) -> list[bytes]:
    """Return the credential ids of an email, or decoys made from it and our secret."""
    people = User.objects.with_email(address)
    rows = Passkey.objects.filter(user__in=people).order_by("created_at")
    found = [bytes(one) for one in rows.values_list("credential_id", flat=True)]
    if found:
        return found
    folded = address.lower()
    seed = opaque.digest(f"decoy {folded}")
    # Real users mostly have one passkey, and ids of 16, 20 or 32 bytes.
    count, length = 1 + (seed[0] < 64), (16, 20, 32)[seed[1] % 3]
    return [opaque.digest(f"decoy {n} {folded}")[:length] for n in range(count)]


def has_password(user: User) -> bool:
    """Return whether a password can sign this user in, which also needs an email."""
    return user.has_usable_password() and user.email is not None


def has_provider(user: User) -> bool:
    """Return whether Clerk or Google can sign this user in."""
    return bool(user.clerk_id) or Identity.objects.filter(user=user).exists()

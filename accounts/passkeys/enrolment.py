"""Passkeys come to be: added to an account, or opening one.

Both are begun and completed. What was asked is kept under a nonce that is taken before
anything is verified, so an answer is judged once, right or wrong.
"""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import webauthn
from django.db import IntegrityError, transaction
from django.utils import timezone
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialCreationOptions,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from accounts import audit, mails, nonces
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import proofs
from accounts.models import Passkey, PasskeyOwner, SecurityEvent, Session, User
from accounts.models.passkeys import HANDLE_BYTES
from accounts.passkeys import ceremony
from accounts.passkeys import signin as passkey_signin
from accounts.passkeys.ceremony import Unverified
from accounts.passkeys.signin import LIVES_SECONDS, MissingCredential
from accounts.signin import passwords
from focus.errors import DomainError

MOST_PER_ACCOUNT = 20
UNNAMED = "Unnamed Device"
ADD, OPEN = "passkey-add", "passkey-open"
REFUSED = "email_passkey_refused"
WRITTEN_EVERY = timedelta(days=1)


class RegistrationMissing(DomainError):
    """Never begun, begun too long ago, or completed before."""

    code = "registration_missing"


class RegistrationMismatch(DomainError):
    """StartedSignIn by somebody else, or for something else."""

    code = "registration_mismatch"


class RegistrationFailed(DomainError):
    code = "registration_failed"


class MissingEmail(DomainError):
    code = "missing_email"


class OAuthUserExists(DomainError):
    code = "oauth_user_exists"


@dataclass(frozen=True, slots=True)
class RegistrationOptions:
    """A question for `navigator.credentials.create()`, and the nonce to answer with."""

    nonce: str = field(repr=False)
    options: PublicKeyCredentialCreationOptions


def begin_adding(*, session: Session, rp_name: str) -> RegistrationOptions:
    """Ask the person behind `session` for a new key pair.

    Raises `proofs.SecondProofRequired` where a passkey opened the session without a
    PIN, finger or face.
    """
    proofs.require_second_proof(session=session)
    user = session.user
    # Two first times at once: get_or_create makes one row of them.
    owner, _ = PasskeyOwner.objects.get_or_create(
        user=user, defaults={"handle": os.urandom(HANDLE_BYTES)}
    )
    options = _creation_options(
        rp_name=rp_name,
        handle=bytes(owner.handle),
        name=str(user),
        display_name=f"{user.first_name} {user.last_name}".strip(),
        exclude=[_descriptor(row) for row in passkey_signin.passkeys_of(user=user)],
    )
    return _registration(ADD, options, user=str(user.pk))


def complete_adding(
    *,
    user: User,
    nonce: object,
    credential: object,
    name: str = "",
    visitor: Visitor = NO_VISITOR,
) -> Passkey:
    """Add the passkey that was begun for `user`. Nothing is written by a refusal."""
    facts = _take_registration(ADD, nonce, credential)
    if facts["user"] != str(user.pk):
        raise RegistrationMismatch("This registration was begun by somebody else.")
    made = _made(credential, facts)
    try:
        with transaction.atomic():
            # Whoever adds or removes a passkey of this person stands in line here.
            proofs.lock_account(user=user)
            if Passkey.objects.filter(user=user).count() >= MOST_PER_ACCOUNT:
                raise RegistrationFailed("This account has all the passkeys it may.")
            added = _add(user, made, name, visitor)
            mails.write(
                user=user,
                subject="A passkey was added",
                what="A passkey was added to your account. It can now sign you in.",
                visitor=visitor,
            )
            return added
    except IntegrityError as taken:
        raise _failed() from taken


def begin_opening(*, email: str, rp_name: str) -> RegistrationOptions:
    """Ask a stranger for a key pair to open an account with.

    Raises `MissingEmail`, `passwords.InvalidEmail` or `OAuthUserExists`. Of any other
    account that has the email nothing shows, here or later.
    """
    if not email:
        raise MissingEmail("An email address is required.")
    address = passwords.normal_email(email)
    holder = User.objects.with_email(address).first()
    if holder is not None and passkey_signin.has_provider(holder):
        raise OAuthUserExists("Sign in the way you did before, by your provider.")
    handle = os.urandom(HANDLE_BYTES)
    options = _creation_options(rp_name=rp_name, handle=handle, name=address)
    return _registration(OPEN, options, email=address, handle=handle.hex())


def complete_opening(
    *,
    nonce: object,
    credential: object,
    name: str = "",
    visitor: Visitor = NO_VISITOR,
) -> Passkey:
    """Open an account with the email and the passkey. Its email is not verified.

    Never touches an account that exists: then it refuses as it does a bad answer.
    """
    facts = _take_registration(OPEN, nonce, credential)
    made = _made(credential, facts)
    user = User(email=facts["email"])
    user.set_unusable_password()
    try:
        with transaction.atomic():
            user.save(force_insert=True)
            PasskeyOwner.objects.create(
                user=user, handle=bytes.fromhex(facts["handle"])
            )
            audit.record("registered", user=user, visitor=visitor, method="passkey")
            return _add(user, made, name, visitor)
    except IntegrityError as taken:
        holder = User.objects.with_email(facts["email"]).first()
        if holder is not None:
            _tell(holder, visitor)
        raise _failed() from taken


def _creation_options(
    *,
    rp_name: str,
    handle: bytes,
    name: str,
    display_name: str = "",
    exclude: list[PublicKeyCredentialDescriptor] | None = None,
) -> PublicKeyCredentialCreationOptions:
    return webauthn.generate_registration_options(
        rp_id=ceremony.rp_id(),
        rp_name=rp_name,
        user_id=handle,
        user_name=name,
        user_display_name=display_name or name,
        exclude_credentials=exclude or [],
        supported_pub_key_algs=ceremony.ALGORITHMS,
        # A passkey that is not discoverable would need an email to sign in with.
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.PREFERRED,
        ),
    )


def _registration(
    purpose: str, options: PublicKeyCredentialCreationOptions, **facts: str
) -> RegistrationOptions:
    facts["challenge"] = options.challenge.hex()
    nonce = nonces.keep(purpose=purpose, facts=facts, seconds=LIVES_SECONDS)
    return RegistrationOptions(nonce, options)


def _take_registration(
    purpose: str, nonce: object, credential: object
) -> dict[str, Any]:
    """What was begun under this nonce, which is spent now."""
    missing = RegistrationMissing("There is no such registration. Please start again.")
    if not nonce:
        raise missing
    # Before the nonce is spent: an incomplete request may be sent again.
    if not credential:
        raise MissingCredential("The credential is required.")
    try:
        facts = nonces.take(purpose=purpose, nonce=nonce)
    except nonces.OtherPurpose as other:
        raise RegistrationMismatch(other.message) from other
    if facts is None:
        raise missing
    return facts


def _made(credential: object, facts: dict[str, Any]) -> ceremony.NewCredential:
    try:
        return ceremony.verify_registration(
            credential, challenge=bytes.fromhex(facts["challenge"])
        )
    except Unverified as wrong:
        raise _failed() from wrong


@transaction.atomic
def _tell(holder: User, visitor: Visitor) -> None:
    """Note the attempt, and write to the owner, but not for every one of a flood."""
    before = SecurityEvent.objects.filter(
        user=holder, kind=REFUSED, at__gt=timezone.now() - WRITTEN_EVERY
    )
    told = before.exists()
    audit.record(REFUSED, user=holder, actor="unknown", visitor=visitor)
    if told:
        return
    mails.write(
        user=holder,
        subject="A sign-up used your email address",
        what="A person tried to create an account with your email address and a "
        "passkey. Nothing was added to your account.",
        visitor=visitor,
    )


def _failed() -> RegistrationFailed:
    return RegistrationFailed("The passkey could not be registered.")


def _add(
    user: User, made: ceremony.NewCredential, name: str, visitor: Visitor
) -> Passkey:
    passkey = Passkey.objects.create(
        user=user,
        credential_id=made.credential_id,
        public_key=made.public_key,
        sign_count=made.sign_count,
        transports=made.transports,
        name=name.strip() or UNNAMED,
        backup_eligible=made.backup_eligible,
        backed_up=made.backed_up,
        user_verified=made.user_verified,
        created_at=timezone.now(),
    )
    audit.record("passkey_added", user=user, visitor=visitor, name=passkey.name)
    return passkey


def _descriptor(row: Passkey) -> PublicKeyCredentialDescriptor:
    transports = [AuthenticatorTransport(hint) for hint in row.transports]
    return PublicKeyCredentialDescriptor(
        id=bytes(row.credential_id), transports=transports
    )

"""Registration of passkeys: for a signed-in account, or to open a new account.

Each takes two calls, `begin_…` and `complete_…`. The challenge is kept under a nonce.
Completing takes the nonce before it verifies the answer, so each challenge allows one
answer, right or wrong.
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
MAIL_EVERY = timedelta(days=1)


class RegistrationMissing(DomainError):
    """The registration is unknown, expired or completed."""

    code = "registration_missing"


class RegistrationMismatch(DomainError):
    """Another user started the registration, or its nonce has another purpose."""

    code = "registration_mismatch"


class RegistrationFailed(DomainError):
    code = "registration_failed"


class MissingEmail(DomainError):
    code = "missing_email"


class OAuthUserExists(DomainError):
    code = "oauth_user_exists"


@dataclass(frozen=True, slots=True)
class RegistrationOptions:
    """The options for `navigator.credentials.create()`, and the nonce of the answer."""

    nonce: str = field(repr=False)
    options: PublicKeyCredentialCreationOptions


def begin_adding(*, session: Session, rp_name: str) -> RegistrationOptions:
    """Start adding a passkey to the account of `session`.

    Raises `proofs.SecondProofRequired` if the session is too weak or too old.
    """
    proofs.require_second_proof(session=session)
    user = session.user
    # get_or_create handles two concurrent first registrations.
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
    return _keep_registration(ADD, options, user=str(user.pk))


def complete_adding(
    *,
    user: User,
    nonce: object,
    credential: object,
    name: str = "",
    visitor: Visitor = NO_VISITOR,
) -> Passkey:
    """Verify the answer, add the passkey to `user` and send a mail.

    Locks the account. Raises `RegistrationMissing`, `RegistrationMismatch` or
    `RegistrationFailed`, and `TokenEnded` if all sign-ins were ended meanwhile. A
    refusal writes nothing.
    """
    facts = _take_registration(ADD, nonce, credential)
    if facts["user"] != str(user.pk):
        raise RegistrationMismatch("This registration was started by another user.")
    made = _verify(credential, facts)
    try:
        with transaction.atomic():
            # Adding and removing passkeys of one account wait for this lock, so the
            # count below cannot be exceeded.
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
    """Start opening an account with a passkey.

    Raises `MissingEmail`, `passwords.InvalidEmail` or `OAuthUserExists`. An account
    with this email and without a provider is not revealed, here or later.
    """
    if not email:
        raise MissingEmail("An email address is required.")
    address = passwords.normal_email(email)
    holder = User.objects.with_email(address).first()
    if holder is not None and passkey_signin.has_provider(holder):
        raise OAuthUserExists("Sign in the way you did before, by your provider.")
    handle = os.urandom(HANDLE_BYTES)
    options = _creation_options(rp_name=rp_name, handle=handle, name=address)
    return _keep_registration(OPEN, options, email=address, handle=handle.hex())


def complete_opening(
    *,
    nonce: object,
    credential: object,
    name: str = "",
    visitor: Visitor = NO_VISITOR,
) -> Passkey:
    """Open an account with the email and the passkey. The email is not verified.

    If an account has the email, this raises `RegistrationFailed`, as for a bad answer,
    and mails that account. It never changes an existing account.
    """
    facts = _take_registration(OPEN, nonce, credential)
    made = _verify(credential, facts)
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
            _mail_refused(holder, visitor)
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
        # Sign-in without an email needs a discoverable passkey.
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.PREFERRED,
        ),
    )


def _keep_registration(
    purpose: str, options: PublicKeyCredentialCreationOptions, **facts: str
) -> RegistrationOptions:
    facts["challenge"] = options.challenge.hex()
    nonce = nonces.keep(purpose=purpose, facts=facts, seconds=LIVES_SECONDS)
    return RegistrationOptions(nonce, options)


def _take_registration(
    purpose: str, nonce: object, credential: object
) -> dict[str, Any]:
    """Take the facts of a registration from its nonce, which cannot be used again."""
    missing = RegistrationMissing("There is no such registration. Please start again.")
    if not nonce:
        raise missing
    # Check this before taking the nonce, so an incomplete request can be sent again.
    if not credential:
        raise MissingCredential("The credential is required.")
    try:
        facts = nonces.take(purpose=purpose, nonce=nonce)
    except nonces.OtherPurpose as other:
        raise RegistrationMismatch(other.message) from other
    if facts is None:
        raise missing
    return facts


def _verify(credential: object, facts: dict[str, Any]) -> ceremony.NewCredential:
    try:
        return ceremony.verify_registration(
            credential, challenge=bytes.fromhex(facts["challenge"])
        )
    except Unverified as wrong:
        raise _failed() from wrong


@transaction.atomic
def _mail_refused(holder: User, visitor: Visitor) -> None:
    """Record the attempt, and mail the owner at most once in `MAIL_EVERY`."""
    before = SecurityEvent.objects.filter(
        user=holder, kind=REFUSED, at__gt=timezone.now() - MAIL_EVERY
    )
    mailed = before.exists()
    audit.record(REFUSED, user=holder, actor="unknown", visitor=visitor)
    if mailed:
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

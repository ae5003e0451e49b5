"""Accounts with an email address and a password."""

import unicodedata

from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from accounts import audit, guesses
from accounts.audit import NOBODY, Visitor
from accounts.models import User
from focus.errors import DomainError

SHORTEST = 8
# Hashing is slow on purpose, so what is hashed must be short.
LONGEST = 256
# Cosmiv's guide prints these two and their clients use them; both are on every list of
# common passwords or near it. Nothing else on the list is let through.
_PRINTED_IN_A_GUIDE = {"password123", "test123!"}


class InvalidEmail(DomainError):
    code = "invalid_email"


class WeakPassword(DomainError):
    code = "weak_password"


class EmailTaken(DomainError):
    code = "email_taken"


class InvalidCredentials(DomainError):
    code = "invalid_credentials"
    wrong_guess = True


def register(
    *,
    email: str,
    password: str,
    first_name: str = "",
    last_name: str = "",
    visitor: Visitor = NOBODY,
) -> User:
    """Open an account. Of two at once with one email, one gets it.

    Raises `InvalidEmail`, `WeakPassword` or `EmailTaken`; nothing is written then.
    """
    address = normal_email(email)
    _check_password(password, address)
    user = User(email=address, first_name=first_name, last_name=last_name)
    # The slow part comes first, taken or not: it holds no lock and tells no time.
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
            audit.record("registered", user=user, visitor=visitor)
    except IntegrityError as twin:
        if not User.objects.with_email(address).exists():
            raise
        raise EmailTaken("An account with this email already exists.") from twin
    return user


def set_new(*, user: User, password: str) -> None:
    """Give `user` this password; saving is the caller's. Raises `WeakPassword`."""
    _check_password(password, user.email or "")
    user.set_password(password)


def is_right(*, user: User, password: str) -> bool:
    """Whether this is the password of `user`. Hashes once, however long it is."""
    return user.check_password(password[:LONGEST]) and len(password) <= LONGEST


def authenticate(*, email: str, password: str, visitor: Visitor = NOBODY) -> User:
    """The person with this email and password.

    Raises `InvalidCredentials` for a wrong password, an unknown email and a closed
    account alike, after the same work; `Limited`, before any, where this account has
    been guessed at too often.
    """
    guesses.examine(email=email, visitor=visitor)
    user = _find(email)
    if user is None:
        # One hash, as a known email would cost.
        User().set_password(password[:LONGEST])
        guesses.wrong(email=email)
        audit.record("sign_in_failed", visitor=visitor)
        raise InvalidCredentials("The email or the password is wrong.")
    if not is_right(user=user, password=password) or not user.is_active:
        guesses.wrong(email=email)
        audit.record("sign_in_failed", user=user, actor="unknown", visitor=visitor)
        raise InvalidCredentials("The email or the password is wrong.")
    guesses.right(email=email, visitor=visitor)
    return user


def normal_email(text: str) -> str:
    """The spelling we store: NFKC, the domain lower-cased. Capitals never tell two
    accounts apart; dots and plus signs do. Raises `InvalidEmail`.
    """
    folded = unicodedata.normalize("NFKC", text).strip()
    local, _, domain = folded.rpartition("@")
    address = f"{local}@{domain.lower()}"
    try:
        validate_email(address)
    except ValidationError as broken:
        raise InvalidEmail("Enter a valid email address.") from broken
    # Look-alike letters make look-alike people.
    if not local.isascii() or len(address) > 254 or _is_elsewhere(domain.lower()):
        raise InvalidEmail("Enter a valid email address.")
    return address


def _is_elsewhere(domain: str) -> bool:
    """Whether mail to this domain goes to another: to strasse.de for straße.de, whose
    people would be sent the links of these.
    """
    try:
        return not domain.isascii() and domain.encode("idna").decode("idna") != domain
    except UnicodeError:
        return True


def _find(email: str) -> User | None:
    try:
        return User.objects.with_email(normal_email(email)).first()
    except InvalidEmail:
        return None


def _check_password(password: str, email: str) -> None:
    if not SHORTEST <= len(password) <= LONGEST:
        raise WeakPassword(
            f"The password must have {SHORTEST} to {LONGEST} characters."
        )
    folded = password.lower()
    if folded == email.lower():
        raise WeakPassword("The password must not be the email address.")
    if folded in _PRINTED_IN_A_GUIDE:
        return
    try:
        _common.validate(password)
    except ValidationError as common:
        raise WeakPassword("This password is too common.") from common


_common = CommonPasswordValidator()

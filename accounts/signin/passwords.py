"""Accounts with an email address and a password."""

import contextlib
import unicodedata

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import User
from accounts.signin import guesses, hashing, usernames
from focus.errors import DomainError

SHORTEST = 8
LONGEST = hashing.LONGEST
_NAMES_TRIED = 20
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
    username: str | None = None,
    first_name: str = "",
    last_name: str = "",
    visitor: Visitor = NO_VISITOR,
) -> User:
    """Open an account. Of two at once with one email or username, one gets it.

    Without a username the part before `@` becomes one, made unique. Raises
    `InvalidEmail`, `WeakPassword`, `EmailTaken`, `HashingBusy`, `InvalidUsername` or
    `UsernameTaken`; nothing is written then.
    """
    address = normal_email(email)
    chosen = _chosen_username(username, address)
    _check_password(password, address)
    user = User(email=address, first_name=first_name, last_name=last_name)
    # The slow part comes first, taken or not: it holds no lock and tells no time.
    user.password = hashing.make(password)
    for nth in range(_NAMES_TRIED):
        user.username = chosen or usernames.derive(address, nth=nth)
        user.username_key = usernames.key(user.username)
        try:
            with transaction.atomic():
                user.save(force_insert=True)
                audit.record("registered", user=user, visitor=visitor)
            return user
        except IntegrityError as twin:
            if User.objects.with_email(address).exists():
                raise EmailTaken("An account with this email already exists.") from twin
            if not User.objects.filter(username_key=user.username_key).exists():
                raise
            if chosen:
                raise usernames.UsernameTaken("This username is taken.") from twin
    raise usernames.UsernameTaken("Choose a username.")


def set_password(*, user: User, password: str) -> None:
    """Give `user` this password; saving is the caller's. Raises `WeakPassword` or
    `HashingBusy`.
    """
    _check_password(password, user.email or "")
    user.password = hashing.make(password)


def verify(*, user: User, password: str) -> bool:
    """Whether this is the password of `user`. Raises `HashingBusy`.

    A right one whose hash is outdated, or of a spelling from before passwords were
    normalised, is hashed anew. Never call this inside a transaction of your own.
    """
    right, stale = hashing.check(password, user.password)
    if right and stale:
        with contextlib.suppress(hashing.HashingBusy):
            fresh = hashing.make(password)
            # Another request may have changed the password meanwhile.
            same = User.objects.filter(pk=user.pk, password=user.password)
            if same.update(password=fresh):
                user.password = fresh
    return right


def authenticate(
    *, email: str = "", name: str = "", password: str, visitor: Visitor = NO_VISITOR
) -> User:
    """The person with this password and this `email`, or this `name`, which is an email
    where it has an `@` and else a username.

    Raises `InvalidCredentials` for a wrong password, an unknown name and a closed
    account alike, after the same work; `Limited`, before any hash, where this account
    has been guessed at too often (and before any look-up of an email); `HashingBusy`.
    """
    said_a_name = not email and bool(name)
    by_username = said_a_name and not usernames.looks_like_email(name)
    said, user = email or name, None
    if by_username and (user := usernames.find(name)) is not None:
        said = str(user.email)
    # All names of one account share its count of guesses.
    guessed = _guessed(said)
    guesses.check_wait(email=guessed, visitor=visitor)
    if not by_username:
        user = _find(said)
    # Without an account, the same work as for a wrong password.
    nobody = User(password=UNUSABLE_PASSWORD_PREFIX)
    fits = verify(user=user or nobody, password=password)
    if user is None or not fits or not user.is_active:
        guesses.count_wrong(email=guessed)
        if user is None:
            audit.record("sign_in_failed", visitor=visitor)
        else:
            audit.record("sign_in_failed", user=user, actor="unknown", visitor=visitor)
        raise InvalidCredentials(
            "The username or the password is wrong."
            if by_username
            else "The email or the password is wrong."
        )
    guesses.remember_address(email=guessed, visitor=visitor)
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


def _guessed(said: str) -> str:
    try:
        return normal_email(said)
    except InvalidEmail:
        return usernames.key(said)


def _find(email: str) -> User | None:
    try:
        return User.objects.with_email(normal_email(email)).first()
    except InvalidEmail:
        return None


def _chosen_username(username: str | None, address: str) -> str | None:
    """None for one that only repeats the email, which opens the account anyway."""
    if username is None:
        return None
    if usernames.looks_like_email(username):
        with contextlib.suppress(InvalidEmail):
            if normal_email(username).lower() == address.lower():
                return None
    return usernames.normal(username)


def _check_password(password: str, email: str) -> None:
    password = hashing.normal(password)
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

"""Registration and sign-in with an email address or username and a password."""

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
# Cosmiv's guide prints these two and clients use them, so they are accepted although
# they are common passwords.
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
    """Open an account. Of two concurrent requests for one email, one gets it.

    Without a `username` the part before `@` becomes one, made unique. Raises
    `InvalidEmail`, `WeakPassword`, `EmailTaken`, `HashingBusy`, `InvalidUsername` or
    `UsernameTaken`, and then writes nothing.
    """
    address = normal_email(email)
    chosen = _chosen_username(username, address)
    _check_password(password, address)
    user = User(email=address, first_name=first_name, last_name=last_name)
    # Hash first: no lock is held meanwhile, and a taken email takes the same time.
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
    """Set the password of `user`; the caller saves the row.

    Raises `WeakPassword` or `HashingBusy`.
    """
    _check_password(password, user.email or "")
    user.password = hashing.make(password)


def verify(*, user: User, password: str) -> bool:
    """Return whether this is the password of `user`. Raises `HashingBusy`.

    A correct password with an outdated hash is hashed and stored again. Hashing is
    slow, so never call this inside a transaction.
    """
    right, stale = hashing.check(password, user.password)
    if right and stale:
        with contextlib.suppress(hashing.HashingBusy):
            fresh = hashing.make(password)
            # Do not overwrite a password that another request changed meanwhile.
            same = User.objects.filter(pk=user.pk, password=user.password)
            if same.update(password=fresh):
                user.password = fresh
    return right


def authenticate(
    *, email: str = "", name: str = "", password: str, visitor: Visitor = NO_VISITOR
) -> User:
    """Return the user with this password and this `email` or `name`.

    A `name` with an `@` is an email, any other is a username. Raises:

    * `InvalidCredentials` for a wrong password, an unknown name and a closed account.
      All three take the same time.
    * `Limited`, before any hash, after too many wrong guesses at this account. For an
      email this comes before the lookup.
    * `HashingBusy`.
    """
    has_name = not email and bool(name)
    by_username = has_name and not usernames.looks_like_email(name)
    identifier, user = email or name, None
    if by_username and (user := usernames.find(name)) is not None:
        identifier = str(user.email)
    # Email and username of one account share one count of guesses.
    guessed = _guessed(identifier)
    guesses.check_wait(email=guessed, visitor=visitor)
    if not by_username:
        user = _find(identifier)
    # An unknown name takes the time of a wrong password.
    without_password = User(password=UNUSABLE_PASSWORD_PREFIX)
    fits = verify(user=user or without_password, password=password)
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
    """Return an email as we store it: NFKC, with a lower-case domain.

    Lookups ignore case, so capitals never tell two accounts apart; dots and plus signs
    do. Raises `InvalidEmail`.
    """
    folded = unicodedata.normalize("NFKC", text).strip()
    local, _, domain = folded.rpartition("@")
    address = f"{local}@{domain.lower()}"
    try:
        validate_email(address)
    except ValidationError as broken:
        raise InvalidEmail("Enter a valid email address.") from broken
    # Letters beyond ASCII allow look-alike addresses, so the local part is ASCII only.
    if not local.isascii() or len(address) > 254 or _is_elsewhere(domain.lower()):
        raise InvalidEmail("Enter a valid email address.")
    return address


def _is_elsewhere(domain: str) -> bool:
    """Return whether IDNA encodes this domain as another one.

    Mail to straße.de would go to strasse.de, so its owner would receive our links.
    """
    try:
        return not domain.isascii() and domain.encode("idna").decode("idna") != domain
    except UnicodeError:
        return True


def _guessed(identifier: str) -> str:
    try:
        return normal_email(identifier)
    except InvalidEmail:
        return usernames.key(identifier)


def _find(email: str) -> User | None:
    try:
        return User.objects.with_email(normal_email(email)).first()
    except InvalidEmail:
        return None


def _chosen_username(username: str | None, address: str) -> str | None:
    """Return the normalised username, None if it only repeats the email.

    The email signs in anyway. Raises `InvalidUsername`.
    """
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

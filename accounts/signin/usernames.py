"""Cosmiv's usernames: a second name for sign-in, beside the email.

After NFKC a name with `@` is always an email, and a name without `@` is always a
username. So no username can pass for another user's email. Two usernames are equal if
NFKC and case folding make them equal.
"""

import secrets
import unicodedata

from django.db import IntegrityError, transaction

from accounts.models import User
from focus.errors import DomainError

LONGEST = 150
_TRIES = 20


class InvalidUsername(DomainError):
    code = "invalid_username"


class UsernameTaken(DomainError):
    code = "username_taken"


def normal(text: str) -> str:
    """Return a username as we store and show it. Raises `InvalidUsername`."""
    name = unicodedata.normalize("NFKC", text).strip()
    if not name or len(name) > LONGEST or not name.isprintable() or "@" in name:
        raise InvalidUsername(
            f"A username has 1 to {LONGEST} visible characters, and no @."
        )
    if len(key(name)) > 2 * LONGEST:
        raise InvalidUsername("The username is too long.")
    return name


def key(name: str) -> str:
    """Return the form that equal usernames share. `username_key` holds it."""
    folded = unicodedata.normalize("NFKC", name).strip().casefold()
    return unicodedata.normalize("NFKC", folded)


def looks_like_email(name: str) -> bool:
    """Return whether sign-in takes this name as an email."""
    return "@" in unicodedata.normalize("NFKC", name)


def find(name: str) -> User | None:
    """Return the user with this username and an email, or None."""
    people = User.objects.filter(username_key=key(name), email__isnull=False)
    return people.first()


def derive(email: str, *, nth: int) -> str:
    """Return a username for an account that chose none.

    It is the part before `@`. From the second try (`nth` 1) on it gets random digits,
    and each try has one digit more.
    """
    local = email.rpartition("@")[0].replace("@", "")[: LONGEST - _TRIES] or "user"
    return local if nth == 0 else f"{local}{secrets.randbelow(10 ** (nth + 2))}"


def ensure(user: User) -> str:
    """Return the username of `user`; derive and store one if there is none.

    Two concurrent requests both get the username that was stored first. Raises
    `UsernameTaken` if every try was taken.
    """
    for nth in range(_TRIES):
        if user.username is not None:
            return user.username
        name = derive(user.email or "", nth=nth)
        try:
            with transaction.atomic():
                User.objects.filter(pk=user.pk, username=None).update(
                    username=name, username_key=key(name)
                )
        except IntegrityError:
            continue
        user.refresh_from_db(fields=["username", "username_key"])
    raise UsernameTaken("No username is free for this account.")

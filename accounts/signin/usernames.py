"""Cosmiv's usernames: a second name to sign in by, which never looks like an email.

A name with `@` is always an email and a name without one always a username, after NFKC.
So no username can be mistaken for another person's email. Two usernames are the same
where NFKC and case folding make them the same.
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
    """The spelling that is shown. Raises `InvalidUsername`."""
    name = unicodedata.normalize("NFKC", text).strip()
    if not name or len(name) > LONGEST or not name.isprintable() or "@" in name:
        raise InvalidUsername(
            f"A username has 1 to {LONGEST} visible characters, and no @."
        )
    if len(key(name)) > 2 * LONGEST:
        raise InvalidUsername("The username is too long.")
    return name


def key(name: str) -> str:
    """What two spellings of one username have in common."""
    folded = unicodedata.normalize("NFKC", name).strip().casefold()
    return unicodedata.normalize("NFKC", folded)


def looks_like_email(name: str) -> bool:
    return "@" in unicodedata.normalize("NFKC", name)


def find(name: str) -> User | None:
    """The person with this username and an email, or None."""
    people = User.objects.filter(username_key=key(name), email__isnull=False)
    return people.first()


def derive(email: str, *, nth: int) -> str:
    """A username for an account that chose none: the part before `@`, and digits after
    the first try. Each try has more digits to choose from.
    """
    local = email.rpartition("@")[0].replace("@", "")[: LONGEST - _TRIES] or "user"
    return local if nth == 0 else f"{local}{secrets.randbelow(10 ** (nth + 2))}"


def ensure(user: User) -> str:
    """The username of `user`, made from the email where there is none yet.

    Of two requests at once both get the one that was stored first.
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

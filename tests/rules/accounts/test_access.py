"""The declared table: every kind of credential against every kind of rule."""

from types import SimpleNamespace

import pytest

from accounts.authentication import Accepts
from accounts.credentials import access
from accounts.credentials.access import (
    APPS,
    CLOSED,
    KEY_OR_JWT,
    PEOPLE,
    PRESENT,
    PUBLIC,
    Access,
)
from accounts.credentials.principals import Kind, Principal
from focus.errors import DomainError

ALL = frozenset({"jobs:read"})
CALLERS = {
    "stranger": None,
    "session": Principal(Kind.SESSION),
    "jwt": Principal(Kind.JWT),
    "pat": Principal(Kind.PAT, scopes=ALL),
    "bare pat": Principal(Kind.PAT, scopes=frozenset()),
    "app key": Principal(Kind.APP_KEY),
    "user key": Principal(Kind.USER_KEY),
}
YES = None
WHO = "unauthenticated"
KIND = "credential_not_accepted"
SCOPE = "insufficient_scope"

TABLE = [
    # rule, then: stranger, session, jwt, pat, bare pat, app key, user key
    (PUBLIC, [YES, YES, YES, YES, YES, YES, YES]),
    (CLOSED, [WHO, KIND, KIND, KIND, KIND, KIND, KIND]),
    (Access(frozenset()), [WHO, KIND, KIND, KIND, KIND, KIND, KIND]),
    (Access(PEOPLE), [WHO, YES, YES, YES, YES, KIND, KIND]),
    (Access(PEOPLE, "jobs:read"), [WHO, YES, YES, YES, SCOPE, KIND, KIND]),
    (Access(PEOPLE, "jobs:write"), [WHO, YES, YES, SCOPE, SCOPE, KIND, KIND]),
    (Access(PEOPLE | APPS, "jobs:read"), [WHO, YES, YES, YES, SCOPE, YES, KIND]),
    (Access(PRESENT), [WHO, YES, YES, KIND, KIND, KIND, KIND]),
    (Access(APPS, "jobs:read"), [WHO, KIND, KIND, KIND, KIND, YES, KIND]),
    (Access(KEY_OR_JWT), [WHO, KIND, YES, KIND, KIND, KIND, YES]),
]


@pytest.mark.parametrize(("rule", "expected"), TABLE)
def test_the_table(rule: Access, expected: list[str | None]) -> None:
    for (name, caller), code in zip(CALLERS.items(), expected, strict=True):
        assert outcome(rule, caller) == code, name


def outcome(rule: Access, caller: Principal | None) -> str | None:
    try:
        access.check(access=rule, principal=caller)
    except DomainError as refusal:
        return refusal.code
    return YES


@pytest.mark.parametrize("view", [{}, {"accepts": {}}, {"accepts": {"other": PUBLIC}}])
def test_what_a_view_forgot_to_declare_is_closed(view: dict[str, object]) -> None:
    request = SimpleNamespace(auth=CALLERS["session"])
    with pytest.raises(access.CredentialNotAccepted):
        Accepts().has_permission(request, SimpleNamespace(action="read", **view))


def test_a_principal_is_somebody_for_drf_and_django() -> None:
    caller = Principal(Kind.APP_KEY)
    assert caller.is_authenticated
    assert not caller.is_staff
    with pytest.raises(AttributeError):
        caller.kind = Kind.JWT  # type: ignore[misc]

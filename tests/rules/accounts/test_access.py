"""Access rules: every kind of credential against every kind of rule."""

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory
from rest_framework.request import Request

from accounts.authentication import (
    Accepts,
    CallerUnknown,
    principal_of,
    principal_or_none,
    user_of,
)
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
from accounts.models import User
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
def test_each_rule_accepts_the_listed_credentials(
    rule: Access, expected: list[str | None]
) -> None:
    for (name, caller), code in zip(CALLERS.items(), expected, strict=True):
        assert outcome(rule, caller) == code, name


def outcome(rule: Access, caller: Principal | None) -> str | None:
    try:
        access.check(access=rule, principal=caller)
    except DomainError as refusal:
        return refusal.code
    return YES


@pytest.mark.parametrize("view", [{}, {"accepts": {}}, {"accepts": {"other": PUBLIC}}])
def test_an_action_without_a_declared_rule_is_closed(view: dict[str, object]) -> None:
    request = SimpleNamespace(auth=CALLERS["session"])
    with pytest.raises(access.CredentialNotAccepted):
        Accepts().has_permission(request, SimpleNamespace(action="read", **view))


def test_drf_and_django_take_a_principal_as_an_authenticated_user() -> None:
    caller = Principal(Kind.APP_KEY)
    assert caller.is_authenticated
    assert not caller.is_staff
    with pytest.raises(AttributeError):
        caller.kind = Kind.JWT  # type: ignore[misc]


def api_request(principal: Principal | None) -> Request:
    request = Request(RequestFactory().get("/api/jobs"))
    request.auth = principal
    return request


def test_an_api_request_has_the_principal_that_authentication_set() -> None:
    user = User(email="ada@example.com")
    principal = Principal(Kind.JWT, user=user)
    request = api_request(principal)
    assert principal_of(request) is principal
    assert principal_or_none(request) is principal
    assert user_of(request) is user


def test_a_request_without_a_credential_has_no_principal() -> None:
    request = api_request(None)
    assert principal_or_none(request) is None
    with pytest.raises(CallerUnknown, match="/api/jobs"):
        principal_of(request)
    with pytest.raises(CallerUnknown, match="/api/jobs"):
        user_of(request)


def test_an_apps_own_key_has_a_principal_and_no_user() -> None:
    request = api_request(Principal(Kind.APP_KEY))
    assert principal_of(request).kind is Kind.APP_KEY
    with pytest.raises(CallerUnknown):
        user_of(request)


def test_an_admin_request_has_the_user_of_djangos_session() -> None:
    request = RequestFactory().get("/admin/")
    request.user = user = User(email="ada@example.com")
    assert user_of(request) is user
    request.user = AnonymousUser()
    with pytest.raises(CallerUnknown, match="/admin/"):
        user_of(request)

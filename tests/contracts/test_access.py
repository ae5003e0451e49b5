"""Every action of every contract, called with every kind of credential."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.credentials import app_keys, scopes, tokens, user_keys
from accounts.credentials.access import PUBLIC, Access, Bound
from accounts.credentials.principals import Kind
from accounts.models import App, User
from accounts.signin import sessions
from accounts.signin.browser_sessions import SessionStore
from focus.openapi import schema
from tests.clerk import ISSUER, SIGNER, public_pem, session_token

NOT_THIS_KIND = "This kind of credential is not accepted here."
ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

Caller = Callable[[], APIClient]


def _actions() -> Iterator[tuple[str, str, Access]]:
    for contract, _, _ in schema.DOCUMENTS.values():
        for found in schema.routes(contract):
            view: Any = found.callback
            path = "/" + re.sub(r"<[^>]*>", ID, str(found.pattern))
            for method, action in view.actions.items():
                yield method, path, view.cls.accepts[action]


TABLE = list(_actions())
every_action = pytest.mark.parametrize(
    ("method", "path", "rule"), TABLE, ids=[f"{m} {p}" for m, p, _ in TABLE]
)


@pytest.fixture
def callers(alice: User, video: App, settings: Any) -> dict[Kind, Caller]:
    """A new client for each kind of credential. New each time, because an action may
    end its credential.
    """
    settings.CLERK_ISSUER, settings.CLERK_JWT_KEY = ISSUER, public_pem(SIGNER)
    alice.clerk_id = "user_2ann"
    alice.save()

    def session() -> APIClient:
        store = SessionStore()
        store.create()
        key = str(store.session_key)
        sessions.begin_in_browser(user=alice, browser_key=key, methods=["pwd"])
        client = APIClient()
        client.cookies[settings.SESSION_COOKIE_NAME] = key
        return client

    def jwt() -> APIClient:
        made = sessions.begin(
            user=alice, client="x", access_seconds=60, methods=["pwd"]
        )
        return _bearer(made.access_token)

    return {
        Kind.SESSION: session,
        Kind.JWT: jwt,
        Kind.PAT: lambda: _bearer(
            tokens.issue(user=alice, name="x", scopes=scopes.DEFAULT).secret
        ),
        Kind.APP_KEY: lambda: _bearer(app_keys.issue(app=video, name="x").secret),
        Kind.CLERK: lambda: _bearer(
            session_token(SIGNER, azp=settings.PUBLIC_BASE_URL)
        ),
        Kind.USER_KEY: lambda: APIClient(
            headers={"X-Api-Key": user_keys.issue(user=alice, name="x").secret}
        ),
    }


def test_every_action_declares_its_access(callers: dict[Kind, Caller]) -> None:
    assert set(callers) == set(Kind)
    assert len(TABLE) > 30


@every_action
def test_each_kind_of_credential_is_accepted_or_refused_as_declared(
    callers: dict[Kind, Caller], method: str, path: str, rule: Access
) -> None:
    for kind, caller in callers.items():
        answer = getattr(caller(), method)(path)
        refused = answer.status_code == 403 and NOT_THIS_KIND in answer.content.decode()
        assert refused == (rule is not PUBLIC and kind not in rule.kinds), kind
        if rule is not PUBLIC:
            assert answer.status_code != 401, kind


# All actions that accept a bound credential. A new action accepts none. To add one,
# list it here, and test that it keeps to the app.
TAKEN = {
    "get /api/sessionToken": Bound.APP,
    "get /api/wallet": Bound.APP,
    "get /api/jobs": Bound.APP,
    "post /api/jobs": Bound.APP,
    "post /api/jobs/complete": Bound.APP,
    "post /api/jobs/fail": Bound.APP,
    f"get /api/jobs/{ID}": Bound.APP,
    f"post /api/jobs/{ID}/extend": Bound.APP,
    "get /api/xToken": Bound.FAMILY,
    f"get /api/oauthToken/{ID}": Bound.FAMILY,
    "get /v1/projects": Bound.PRODUCT,
    "post /api/restorations/upload/": Bound.PRODUCT,
    "get /api/restorations/history/": Bound.PRODUCT,
    f"delete /api/restorations/{ID}/": Bound.PRODUCT,
    f"get /api/restorations/{ID}/status/": Bound.PRODUCT,
    f"post /api/restorations/{ID}/unlock/": Bound.PRODUCT,
    f"post /api/restorations/{ID}/share-unlock/": Bound.PRODUCT,
    f"post /api/restorations/{ID}/confirm-share/": Bound.PRODUCT,
    "get /v1/usage": Bound.PRODUCT,
}


def test_the_list_of_actions_that_accept_bound_credentials_is_complete() -> None:
    declared = {f"{m} {p}": rule.bound for m, p, rule in TABLE}
    taken = {name: bound for name, bound in declared.items() if bound != Bound.NONE}
    assert taken == TAKEN


@pytest.fixture
def bound_callers(
    alice: User, video: App, callers: dict[Kind, Caller], settings: Any
) -> dict[str, tuple[App, Caller]]:
    """Each kind of bound credential, with its app."""
    family = App.objects.create(
        slug="family", family=True, origins=["https://family.example.com"]
    )
    product = App.objects.create(
        slug="clipforge", origins=["https://clipforge.example.com"]
    )

    def jwt(app: App) -> tuple[App, Caller]:
        def call() -> APIClient:
            made = sessions.begin(
                user=alice, client="x", access_seconds=60, methods=["pwd"]
            )
            token = sessions.access_token(
                session=made.session, seconds=60, azp=app.slug
            )
            return _bearer(token.text)

        return app, call

    def cookie() -> APIClient:
        client = callers[Kind.SESSION]()
        # The session token that a script on the app's page gets.
        client.defaults |= {"HTTP_ORIGIN": video.origins[0]}
        return client

    def by_key() -> APIClient:
        client = jwt(video)[1]()
        key = user_keys.issue(user=alice, name="x").secret
        client.defaults |= {"HTTP_X_API_KEY": key}
        return client

    def clerk_cookie() -> APIClient:
        client = APIClient(headers={"Origin": video.origins[0]})
        ours = session_token(SIGNER, azp=settings.PUBLIC_BASE_URL)
        client.cookies["__session"] = ours
        return client

    return {
        "our token": jwt(video),
        "our token, family": jwt(family),
        "our token, clipforge": jwt(product),
        "Clerk's token": (
            video,
            lambda: _bearer(session_token(SIGNER, azp=video.origins[0])),
        ),
        "our cookie on the app's page": (video, cookie),
        "Clerk's cookie on the app's page": (video, clerk_cookie),
        "our token beside a person's key": (video, by_key),
    }


@every_action
def test_a_bound_credential_is_accepted_or_refused_as_declared(
    bound_callers: dict[str, tuple[App, Caller]], method: str, path: str, rule: Access
) -> None:
    for name, (app, caller) in bound_callers.items():
        answer = getattr(caller(), method)(path)
        said = answer.content.decode()
        refused = answer.status_code == 403 and f"handed to the app {app.slug}" in said
        takes = {
            Bound.NONE: False,
            Bound.APP: True,
            Bound.FAMILY: app.family,
            Bound.PRODUCT: app.slug == "clipforge" and "/v1/" in path,
        }[rule.bound]
        assert refused == (rule is not PUBLIC and not takes), (name, said)


@every_action
def test_a_caller_without_a_credential_is_401(
    as_stranger: APIClient, method: str, path: str, rule: Access
) -> None:
    answer = getattr(as_stranger, method)(path)
    if rule is not PUBLIC:
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == "Bearer"


def _methods() -> dict[str, tuple[set[str], bool]]:
    """Each path: the methods it has, and whether one of them is public."""
    paths: dict[str, tuple[set[str], bool]] = {}
    for method, path, rule in TABLE:
        methods, public = paths.get(path, (set(), False))
        paths[path] = methods | {method}, public or rule is PUBLIC
    return paths


@pytest.mark.parametrize(("path", "has"), _methods().items(), ids=list(_methods()))
def test_a_method_that_a_path_lacks_is_405(
    as_stranger: APIClient, as_alice: APIClient, path: str, has: tuple[set[str], bool]
) -> None:
    methods, public = has
    for method in {"get", "post", "put", "patch", "delete"} - methods:
        if method == "get" and "head" in methods:
            continue
        answer = getattr(as_stranger, method)(path)
        assert answer.status_code == (405 if public else 401), method
        assert getattr(as_alice, method)(path).status_code == 405


@every_action
def test_a_bad_credential_is_401_at_every_protected_action(
    as_stranger: APIClient, method: str, path: str, rule: Access
) -> None:
    if rule is PUBLIC:
        return
    for headers in (
        {"Authorization": "Bearer nonsense"},
        {"X-Api-Key": "nonsense"},
        {"Authorization": "Bearer nonsense", "X-Api-Key": "nonsense"},
    ):
        answer = getattr(as_stranger, method)(path, headers=headers)
        assert answer.status_code == 401, headers


def _bearer(secret: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {secret}"})

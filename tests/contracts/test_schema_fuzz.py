"""Fuzz the running API by its own OpenAPI documents.

Schemathesis generates valid and invalid requests from each document. Each answer must
be below 500, with a status and a body that the document declares.
"""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.credentials import app_keys, scopes, tokens
from accounts.models import App, User
from accounts.partners import consents
from accounts.signin import sessions
from focus.openapi.schema import document
from tests.stripe import Emulator

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
schemas = {
    # Without a worker, the health checks answer 503.
    slug: schemathesis.openapi.from_dict(document(slug)).exclude(path_regex="health")
    for slug in ("focus", "onesub", "cosmiv", "reviv", "clipforge")
}


@pytest.fixture
def token(
    transactional_db: None,
    alice: User,
    video: App,
    give: Any,
    stripe_emulator: Emulator,
) -> str:
    give(alice, 100)
    return tokens.issue(user=alice, name="fuzz", scopes=scopes.DEFAULT).secret


@pytest.fixture
def app_key(transactional_db: None, alice: User, video: App, give: Any) -> str:
    give(alice, 100)
    consents.grant(user=alice, app_id=video.pk)
    return app_keys.issue(app=video, name="fuzz").secret


@pytest.fixture
def session(transactional_db: None, alice: User) -> str:
    begun = sessions.begin(
        user=alice, client="fuzz", access_seconds=900, methods=["pwd"]
    )
    return begun.access_token


def call(case: Any, url: str, token: str) -> None:
    case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}
    case.call_and_validate(base_url=url, checks=CHECKS)


quick = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))


@schemas["focus"].parametrize()
@quick
def test_focus(case: Any, live_server: Any, token: str) -> None:
    call(case, live_server.url, token)


@schemas["cosmiv"].parametrize()
@quick
@pytest.mark.usefixtures("stripe_emulator")
def test_cosmiv(case: Any, live_server: Any, token: str) -> None:
    call(case, live_server.url, token)


@schemas["reviv"].parametrize()
@quick
@pytest.mark.usefixtures("stripe_emulator")
def test_reviv(case: Any, live_server: Any, token: str) -> None:
    call(case, live_server.url, token)


@schemas["onesub"].parametrize()
@quick
def test_onesub(case: Any, live_server: Any, app_key: str) -> None:
    call(case, live_server.url, app_key)


@schemas["clipforge"].parametrize()
@quick
def test_clipforge(case: Any, live_server: Any, session: str) -> None:
    call(case, live_server.url, session)

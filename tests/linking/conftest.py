"""Stub processes of Steam and X, and clients that link accounts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from django.conf import settings as ours
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from accounts.signin import sessions
from accounts.signin.browser_sessions import SessionStore
from tests import processes
from tests.linking import x as x_stub

HERE = "/api/v2/accounts"
HTML = "text/html,application/xhtml+xml,*/*;q=0.8"


class Stand:
    """A stub process: its settings (knobs), its counters (seen) and its pages."""

    def __init__(self, url: str) -> None:
        self.url = url

    def knobs(self, **knobs: Any) -> None:
        requests.post(f"{self.url}/_knobs", data=json.dumps(knobs), timeout=30)

    def seen(self, what: str) -> int:
        counted: dict[str, int] = requests.get(f"{self.url}/_seen", timeout=30).json()
        return counted.get(what, 0)

    def visit(self, url: str) -> str:
        """Sign in and consent at the provider; return the URL that it redirects to."""
        answer = requests.get(url, allow_redirects=False, timeout=30)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def sign(self, said: dict[str, str]) -> str:
        return requests.post(f"{self.url}/_sign", data=said, timeout=30).text


@pytest.fixture(scope="session")
def steam_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with _running("steam", tmp_path_factory.mktemp("steam")) as stand:
        yield stand


@pytest.fixture(scope="session")
def x_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with _running("x", tmp_path_factory.mktemp("x")) as stand:
        yield stand


@pytest.fixture
def steam(steam_process: Stand, settings: Any) -> Stand:
    steam_process.knobs(reset=True)
    settings.STEAM_OPENID_BASE = f"{steam_process.url}/openid"
    settings.STEAM_API_BASE = steam_process.url
    return steam_process


@pytest.fixture
def x(x_process: Stand, settings: Any) -> Stand:
    x_process.knobs(reset=True)
    settings.X_OAUTH_BASE = f"{x_process.url}/i/oauth2"
    settings.X_API_BASE = f"{x_process.url}/2"
    settings.X_CLIENT_ID, settings.X_CLIENT_SECRET = x_stub.CLIENT
    return x_process


@contextmanager
def _running(name: str, log: Path) -> Iterator[Stand]:
    port = processes.free_port()
    with processes.running(f"tests.linking.{name}", str(port), log=log / "log"):
        stand = Stand(f"http://127.0.0.1:{port}")
        processes.until(lambda: _is_up(stand))
        yield stand


def _is_up(stand: Stand) -> bool:
    try:
        return requests.get(f"{stand.url}/_seen", timeout=30).ok
    except requests.ConnectionError:
        return False


def bearer(user: User) -> APIClient:
    made = sessions.begin(user=user, client="x", access_seconds=600, methods=["pwd"])
    return APIClient(headers={"Authorization": f"Bearer {made.access_token}"})


def browser(user: User | None) -> APIClient:
    """Make a browser client, signed in or not."""
    client = APIClient(headers={"Accept": HTML})
    if user is not None:
        store = SessionStore()
        store.create()
        key = str(store.session_key)
        sessions.begin_in_browser(user=user, browser_key=key, methods=["pwd"])
        client.cookies[ours.SESSION_COOKIE_NAME] = key
    return client


def begin(client: APIClient, provider: str, **query: str) -> str:
    answer = client.get(f"{HERE}/oauth/{provider}", query)
    assert answer.status_code == 302, answer.content
    return str(answer["Location"])


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def come_back(client: Client, url: str, **more: Any) -> Any:
    """Follow the provider's redirect to our callback with this client."""
    parts = urlsplit(url)
    return client.get(f"{parts.path}?{parts.query}", **more)

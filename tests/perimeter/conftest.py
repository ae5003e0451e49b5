"""The web server, as `./dev run` starts it, on the test's database."""

from collections.abc import Iterator

import pytest
import requests

from devtools.launcher import run
from tests import processes


@pytest.fixture(scope="module")
def port(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    yield from serving(tmp_path_factory)


def serving(
    tmp_path_factory: pytest.TempPathFactory, **environment: str
) -> Iterator[int]:
    port = processes.free_port()
    _, *command = run.services(port)["web"]
    log = tmp_path_factory.mktemp("web") / "log"
    environment["PORT"] = str(port)
    with processes.running(*command, log=log, **environment):
        processes.until(lambda: is_up(port), seconds=60)
        yield port


def is_up(port: int) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/api/openapi.json"
        return requests.get(url, timeout=30).status_code == 200
    except requests.ConnectionError:
        return False

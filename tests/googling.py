"""Google for tests: our provider's process, and a client that fills in its page."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from tests import processes
from tests.openid_provider import CLIENT_ID, CLIENT_SECRET


@contextmanager
def provider(log: Path) -> Iterator[str]:
    """Start a provider with its own keys; return its URL."""
    port = processes.free_port()
    address = f"http://127.0.0.1:{port}"
    with processes.running("tests.openid_provider", str(port), log=log):
        processes.until(lambda: _is_up(f"{address}/certs"))
        yield address


def environment(address: str) -> dict[str, str]:
    """Return the environment that points a server to this provider as Google."""
    return {
        "GOOGLE_CLIENT_ID": CLIENT_ID,
        "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
        "GOOGLE_AUTHORIZE_URL": f"{address}/authorize",
        "GOOGLE_TOKEN_URL": f"{address}/token",
        "GOOGLE_JWKS_URL": f"{address}/certs",
    }


def query_of(url: str) -> dict[str, str]:
    return {name: said[0] for name, said in parse_qs(urlsplit(url).query).items()}


def answer(auth_url: str, *, allow: bool = True, **person: str) -> dict[str, str]:
    """Fill in the provider's page; return the query of its redirect."""
    where = urlsplit(auth_url)
    asked = {f"q_{name}": value for name, value in query_of(auth_url).items()}
    who = {"email": "ada@gmail.com", "answer": "allow" if allow else "deny", **person}
    said = requests.post(
        f"{where.scheme}://{where.netloc}{where.path}",
        data={**asked, **who},
        allow_redirects=False,
        timeout=30,
    )
    assert said.status_code == 302, said.text
    return query_of(said.headers["Location"])


def _is_up(url: str) -> Any:
    try:
        return requests.get(url, timeout=30).ok
    except requests.ConnectionError:
        return False

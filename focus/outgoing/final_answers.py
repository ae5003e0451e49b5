"""HTTP clients that wait for the final response (RFC 9110, 15.2).

A server may send interim responses such as 102 or 103 before it. `http.client` skips
only 100 and takes any other 1xx for the final response.
"""

from http.client import HTTPException, HTTPResponse, parse_headers
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

# After this many interim responses, the request fails.
MOST_INTERIM = 20


class FinalResponse(HTTPResponse):
    """Skips interim responses. 101 is final: it ends HTTP on this connection."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MOST_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status == 101 or not 100 <= status <= 199:
                return version, status, reason
            parse_headers(self.fp)
        raise HTTPException("too many interim answers")


class FinalHTTPConnection(HTTPConnection):
    """urllib3's HTTP connection with `FinalResponse`."""

    response_class = FinalResponse


class FinalHTTPSConnection(HTTPSConnection):
    """urllib3's HTTPS connection with `FinalResponse`."""

    response_class = FinalResponse


class _FinalHTTPPool(HTTPConnectionPool):
    ConnectionCls = FinalHTTPConnection


class _FinalHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = FinalHTTPSConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        _use(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        # A SOCKS manager needs its own connection classes.
        return manager if proxy.lower().startswith("socks") else _use(manager)


def _use(manager: Any) -> Any:
    manager.pool_classes_by_scheme = {"http": _FinalHTTPPool, "https": _FinalHTTPSPool}
    return manager


def session() -> requests.Session:
    """Return a `requests` session that waits for the final response."""
    made = requests.Session()
    made.mount("http://", _Adapter())
    made.mount("https://", _Adapter())
    return made

"""`python -m focus.server`: run the web server on WEB_HOST and PORT, or WEB_SOCKET."""

import resource
import signal
import sys
from typing import Any

import django
import uvicorn
from django.conf import settings

from focus import wsgi as wsgi  # names the settings module


def main() -> None:
    django.setup()
    from focus.server.protocol import Connection

    _allow_many_connections()
    # uvicorn raises the signal again after its own graceful shutdown.
    signal.signal(signal.SIGTERM, _exit)
    uvicorn.run(
        "focus.server.application:application",
        host=settings.WEB_HOST,
        port=settings.PORT,
        uds=settings.WEB_SOCKET or None,
        workers=settings.WEB_WORKERS,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        # The settings configure logging, and the bridge writes the access log.
        log_config=None,
        access_log=False,
        # TRUSTED_PROXIES decides which X-Forwarded headers count, and not uvicorn.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )


def _exit(_number: int, _frame: Any) -> None:
    sys.exit(0)


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()

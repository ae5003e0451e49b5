"""`python -m focus.server`: the web server, as WEB_HOST, PORT and their like say."""

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
    # uvicorn raises the signal again when it has ended everything in good order.
    signal.signal(signal.SIGTERM, _leave)
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
        # The settings' own logging; the bridge writes the access log.
        log_config=None,
        access_log=False,
        # Whose address counts is TRUSTED_PROXIES' to say, and not uvicorn's.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )


def _leave(_number: int, _frame: Any) -> None:
    sys.exit(0)


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()

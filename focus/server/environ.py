"""The WSGI environment of a request (PEP 3333)."""

import sys
from typing import Any
from urllib.parse import unquote_to_bytes

# CGI names these two headers without HTTP_ (RFC 3875).
_BARE = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


def from_scope(scope: Any) -> dict[str, Any]:
    """Build the environment of an ASGI scope, without `wsgi.input`.

    Headers with an underscore in their names are dropped. In the environment they would
    equal those with a hyphen, so a client could add to a header that a proxy writes:
    `X_Forwarded_For` beside `X-Forwarded-For`.
    """
    host, port = (*(scope.get("server") or ()), None, None)[:2]
    client = scope.get("client")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": str(port or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        if b"_" in name:
            continue
        key = _BARE.get(name)
        if key is None:
            key = f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}"
        text = value.decode("latin-1")
        if key in environ:
            joint = "; " if key == "HTTP_COOKIE" else ","
            text = f"{environ[key]}{joint}{text}"
        environ[key] = text
    return environ

"""The WSGI application: `focus.server` runs it, and any WSGI server can."""

import os

import django
from django.core.handlers.wsgi import WSGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "focus.settings")
django.setup(set_prefix=False)

from focus.bodies.chunked import Request  # noqa: E402 — this import reads the settings


class Application(WSGIHandler):
    """Django's handler, with requests that may have chunked bodies."""

    request_class = Request


application = Application()

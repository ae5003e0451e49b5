"""The WSGI application that a web server runs: focus/server/, or any other."""

import os

import django
from django.core.handlers.wsgi import WSGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "focus.settings")
django.setup(set_prefix=False)

from focus.bodies.chunked import Request  # noqa: E402 — it reads the settings


class Application(WSGIHandler):
    request_class = Request


application = Application()

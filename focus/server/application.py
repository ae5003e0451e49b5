"""The ASGI application that uvicorn loads in each of its processes."""

from django.conf import settings

from focus.server.bridge import Bridge

application = Bridge(settings.WEB_THREADS)

"""Our Celery app with a task that takes for ever at its first try. For test_celery."""

import os
import time

import redis
from celery import shared_task
from django.conf import settings

from focus.celery import app

TRIES = "test:slow:tries"
DONE = "test:slow:done"

# As in production, but for a message that is given up after 2 s instead of 120.
app.conf.broker_transport_options = {
    **settings.CELERY_BROKER_TRANSPORT_OPTIONS,
    "visibility_timeout": 2,
}


@shared_task(name="tests.slow")
def slow(**_newer: object) -> None:
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    if client.incr(TRIES) == 1:
        time.sleep(60)
    client.set(DONE, "1")

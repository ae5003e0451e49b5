"""Our Celery app with a task that sleeps at its first try, for test_celery."""

import os
import time

import redis
from celery import shared_task
from django.conf import settings

from focus.celery import app

TRIES = "test:slow:tries"
DONE = "test:slow:done"

# The broker redelivers an unacknowledged message after 2 s; production waits 120 s.
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

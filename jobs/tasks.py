"""Celery tasks of jobs. Due times are rows, so a lost task only delays the work.

A worker of the queue `webhooks` runs a courier (`jobs.webhooks.courier`) from its start
to its end, and one of the queue `media` a workshop (`jobs.hosted.workshop`). The tasks
`jobs.wake_courier` and `jobs.wake_media` only wake them.
"""

from typing import Any

from celery import shared_task
from celery.signals import (
    celeryd_after_setup,
    heartbeat_sent,
    worker_shutdown,
    worker_shutting_down,
)

from focus.background import sweeps
from focus.celery import MEDIA_ALIVE, WEBHOOKS_ALIVE, record_heartbeat
from focus.outgoing.safe_http import SECONDS
from jobs import expiry
from jobs.files import retention as files
from jobs.hosted.restorations import photos
from jobs.hosted.workshop import Workshop
from jobs.webhooks import endpoints, retention
from jobs.webhooks.courier import Courier

# A workshop that stops kills its engine and writes one row.
WORKSHOP_SECONDS = 15

_couriers: list[Courier] = []
_workshops: list[Workshop] = []


@shared_task(name="jobs.expire_due")
def expire_due(**_newer: object) -> None:
    expiry.expire_due()


@shared_task(name="jobs.wake_courier")
def wake_courier(**_newer: object) -> None:
    for courier in _couriers:
        courier.wake()


@shared_task(name="jobs.wake_media")
def wake_media(**_newer: object) -> None:
    for workshop in _workshops:
        workshop.wake()


@shared_task(name="jobs.tidy_webhooks")
@sweeps.one_at_a_time
def tidy_webhooks(**_newer: object) -> None:
    steps = (endpoints.promote_due, retention.forget_old)
    sweeps.run_steps("jobs.tidy_webhooks", *steps)


@shared_task(name="jobs.remove_files")
@sweeps.one_at_a_time
def remove_files(**_newer: object) -> None:
    files.remove_due()


@shared_task(name="jobs.sweep_files")
@sweeps.one_at_a_time
def sweep_files(**_newer: object) -> None:
    steps = (files.forget_closed, files.sweep_incoming, files.sweep_orphans)
    sweeps.run_steps("jobs.sweep_files", *steps)


@shared_task(name="jobs.remove_expired_photos")
@sweeps.one_at_a_time
def remove_expired_photos(**_newer: object) -> None:
    photos.remove_expired()


@celeryd_after_setup.connect
def _start_threads(instance: Any, **_more: Any) -> None:
    """Start the threads before the worker reaches its broker, which may be down."""
    queues = instance.app.amqp.queues.consume_from
    if "webhooks" in queues:
        courier = Courier(threads=instance.concurrency)
        _couriers.append(courier)
        courier.start()
    if "media" in queues:
        workshop = Workshop()
        _workshops.append(workshop)
        workshop.start()


@heartbeat_sent.connect
def _record_heartbeat(**_sender: Any) -> None:
    if _couriers and all(courier.is_running() for courier in _couriers):
        record_heartbeat(WEBHOOKS_ALIVE)
    if _workshops and all(workshop.is_running() for workshop in _workshops):
        record_heartbeat(MEDIA_ALIVE)


@worker_shutting_down.connect
def _stop_threads(**_more: Any) -> None:
    for courier in _couriers:
        courier.stop()
    for workshop in _workshops:
        workshop.stop()


@worker_shutdown.connect
def _join_threads(**_more: Any) -> None:
    _stop_threads()
    for workshop in _workshops:
        workshop.join(WORKSHOP_SECONDS)
    for courier in _couriers:
        courier.join(SECONDS + 5)

"""Celery tasks of jobs. Due times are rows, so a lost task only delays the work.

A worker of the queue `webhooks` runs a courier (`jobs.webhooks.courier`) from its start
to its end. The task `jobs.wake_courier` only wakes that courier.
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
from focus.celery import WEBHOOKS_ALIVE, record_heartbeat
from focus.outgoing.safe_http import SECONDS
from jobs import expiry
from jobs.files import retention as files
from jobs.webhooks import endpoints, retention
from jobs.webhooks.courier import Courier

_couriers: list[Courier] = []


@shared_task(name="jobs.expire_due")
def expire_due(**_newer: object) -> None:
    expiry.expire_due()


@shared_task(name="jobs.wake_courier")
def wake_courier(**_newer: object) -> None:
    for courier in _couriers:
        courier.wake()


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


@celeryd_after_setup.connect
def _start_courier(instance: Any, **_more: Any) -> None:
    """Start the courier before the worker reaches its broker, which may be down."""
    if "webhooks" in instance.app.amqp.queues.consume_from:
        courier = Courier(threads=instance.concurrency)
        _couriers.append(courier)
        courier.start()


@heartbeat_sent.connect
def _record_heartbeat(**_sender: Any) -> None:
    if _couriers and all(courier.is_running() for courier in _couriers):
        record_heartbeat(WEBHOOKS_ALIVE)


@worker_shutting_down.connect
def _stop_couriers(**_more: Any) -> None:
    for courier in _couriers:
        courier.stop()


@worker_shutdown.connect
def _join_couriers(**_more: Any) -> None:
    for courier in _couriers:
        courier.stop()
        courier.join(SECONDS + 5)

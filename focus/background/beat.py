"""Beat's schedule: each task looks for rows that are due.

The queue `celery` is for work of milliseconds that needs PostgreSQL alone. Work that
calls other servers or reads whole tables is in the queue `slow`. Its worker has a
thread for each kind, and no kind takes a second one (`sweeps.one_at_a_time`).
"""

from typing import Any


def _every(
    seconds: float, task: str, *, expires: int, queue: str = "celery"
) -> dict[str, Any]:
    """Return a schedule entry: send `task` every `seconds`.

    A message expires after `expires` seconds in the queue. Otherwise those that waited
    for a dead worker would all run at once.
    """
    options = {"expires": expires, "queue": queue}
    return {"task": task, "schedule": seconds, "options": options}


def _slow(seconds: float, task: str, *, expires: int) -> dict[str, Any]:
    return _every(seconds, task, expires=expires, queue="slow")


SCHEDULE = {
    "expire-due-jobs": _every(2.0, "jobs.expire_due", expires=10),
    "wake-courier": _every(2.0, "jobs.wake_courier", expires=4, queue="webhooks"),
    # Seldom: the worker polls by itself, and nudges wake it. Without such a worker the
    # messages stay in the queue.
    "wake-media": _every(30.0, "jobs.wake_media", expires=4, queue="media"),
    "tidy-webhooks": _slow(600.0, "jobs.tidy_webhooks", expires=300),
    "remove-files": _slow(5.0, "jobs.remove_files", expires=30),
    "remove-expired-photos": _slow(600.0, "jobs.remove_expired_photos", expires=300),
    "sweep-files": _slow(3600.0, "jobs.sweep_files", expires=600),
    "watch-queues": _slow(60.0, "focus.watch_queues", expires=60),
    "expire-due-grants": _every(30.0, "wallet.expire_grants", expires=60),
    "send-mails": _slow(5.0, "accounts.send_mails", expires=30),
    "warn-of-expiry": _slow(3600.0, "accounts.warn_of_expiry", expires=600),
    "learn-from-clerk": _slow(15.0, "accounts.learn_from_clerk", expires=60),
    "handle-stripe-events": _slow(2.0, "payments.handle_events", expires=10),
    "top-up": _slow(5.0, "payments.top_up", expires=10),
    "make-plan-prices": _slow(5.0, "payments.make_prices", expires=10),
    "retire-top-ups": _slow(600.0, "payments.retire_top_ups", expires=300),
    "reconcile-stripe": _slow(3600.0, "payments.reconcile", expires=600),
    "forget-stripe-bodies": _slow(3600.0, "payments.forget_bodies", expires=600),
    "sync-links": _slow(5.0, "accounts.sync_links", expires=10),
    "forget-replays": _slow(3600.0, "accounts.forget_replays", expires=600),
    "anchor-ledger": _slow(3600.0, "wallet.anchor", expires=600),
    "verify-wallets": _slow(2.0, "wallet.verify", expires=10),
    "check-ledger": _slow(3600.0, "wallet.check_ledger", expires=600),
}

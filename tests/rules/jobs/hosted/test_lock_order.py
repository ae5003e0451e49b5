"""Which rows hosted work locks, and in which order, beside other transactions."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction

from accounts.credentials import proofs
from accounts.models import User
from focus.money import MICRO
from jobs.files import storage
from jobs.hosted import runs
from jobs.hosted.restorations import photos
from jobs.models import Restoration
from tests import restorations
from tests.hosted import another_waits
from wallet import ledger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, settings: Any) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"
    for name, value in restorations.install_stand_in(tmp_path).items():
        setattr(settings, name, value)


def beside_a_first_consent(
    user: User,
    act: Callable[[], Any],
    *,
    ready: threading.Event | None = None,
    locked: threading.Event | None = None,
) -> Any:
    """Run `act` while a movement and its consent hold the wallet, then the account.

    With `ready`, `act` begins before them and sets that event where it waits for
    `locked`.
    """
    outcomes: list[Any] = []

    def run() -> None:
        try:
            outcomes.append(act())
        except Exception as failure:
            outcomes.append(failure)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    if ready:
        thread.start()
        assert ready.wait(30)
    with transaction.atomic():
        ledger.lock(account_id=user.pk)
        if locked:
            locked.set()
        else:
            thread.start()
        assert another_waits()
        # A deadlock then fails this call. PostgreSQL looks for one after a second of
        # waiting, and fails the call that looks.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(1.5)")
        # As `consents.grant(after_movement=True)` for an app that is new to the person.
        proofs.lock_account(user=user)
    thread.join(60)
    [outcome] = outcomes
    return outcome


def test_an_upload_beside_the_first_job_of_another_app(alice: User) -> None:
    client = restorations.bearer(alice)
    outcome = beside_a_first_consent(alice, lambda: restorations.upload(client))
    assert outcome.status_code == 201


def test_a_worker_that_publishes_beside_the_first_job_of_another_app(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorations.upload(restorations.bearer(alice))
    kind = runs.KINDS[photos.KIND]
    collected, locked = threading.Event(), threading.Event()

    def collect(*args: Any) -> Any:
        result = kind.collect(*args)
        collected.set()
        assert locked.wait(30)
        return result

    monkeypatch.setitem(runs.KINDS, kind.name, replace(kind, collect=collect))
    # The worker locks the wallet before it starts the engine, too: begin after that.
    outcome = beside_a_first_consent(
        alice, restorations.work, ready=collected, locked=locked
    )
    assert outcome is True
    alice.refresh_from_db()
    assert alice.free_preview_used


def test_an_unlock_beside_a_deletion_of_the_full_image_charges_nothing(
    alice: User, give: Any
) -> None:
    give(alice, 5)
    client = restorations.bearer(alice)
    job_id = restorations.restored(client)
    full_id = Restoration.objects.get().full_id
    outcomes: list[Any] = []

    def unlock() -> None:
        outcomes.append(client.post(restorations.at(job_id, "unlock")))
        connections.close_all()

    thread = threading.Thread(target=unlock)
    with transaction.atomic():
        # As the staff page does.
        storage.forget([full_id])
        thread.start()
        waited = another_waits()
    thread.join(60)
    assert waited
    restorations.refused(outcomes[0], 404, "NOT_FOUND")
    assert ledger.balance(account_id=alice.pk).credits_micro == 5 * MICRO
    assert Restoration.objects.get().unlocked_at is None

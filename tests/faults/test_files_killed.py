"""A web server or a worker that is killed while it handles a file."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from django.conf import settings
from django.utils import timezone

from accounts.models import User
from devtools.launcher import run
from jobs.files import quotas, retention
from jobs.models import StoredFile
from tests import processes
from tests.perimeter import raw
from tests.perimeter.conftest import is_up
from tests.perimeter.files import MP4, expected, on_disk, open_in, put_path

pytestmark = pytest.mark.django_db(transaction=True)

MB = 1024 * 1024
# Stops for good after the object has been stored, and before its row says so.
STOPPING_PUBLISHER = """
import sys, time, uuid
from pathlib import Path
from jobs.files import storage
backend = storage.backend()
adopt = backend.adopt
def stop(arrival, key, *, content_type):
    adopt(arrival, key, content_type=content_type)
    time.sleep(600)
backend.adopt = stop
storage.publish(
    Path("{source}"), account_id=uuid.UUID("{account}"), purpose="full", name="x",
    content_type="image/png",
)
"""
# Claims a file and stops for good after it has removed the object.
STOPPING_REMOVER = """
import time
from datetime import timedelta
from jobs.files import retention, storage
retention.QUEUE.lease = timedelta(seconds=1)
backend = storage.backend()
remove = backend.remove
def stop(key):
    remove(key)
    time.sleep(600)
backend.remove = stop
retention.remove_due()
"""


def test_a_server_killed_while_an_upload_arrives_leaves_nothing(
    alice: User, tmp_path: Path
) -> None:
    file = expected(alice, most_bytes=20 * MB)
    path, there = put_path(file), set(on_disk())
    port = processes.free_port()
    _, *command = run.services(port)["web"]
    log = tmp_path / "log"
    with processes.running(*command, log=log, PORT=str(port)) as server:
        processes.until(lambda: is_up(port), seconds=60)
        with raw.connect(port) as link:
            length = f"Content-Length: {20 * MB}"
            link.sendall(raw.head(f"PUT {path} HTTP/1.1", length))
            link.sendall(MP4 + b"\0" * (5 * MB))
            processes.until(lambda: open_in(server.pid), seconds=60)
            processes.kill(server)
    assert set(on_disk()) == there
    file.refresh_from_db()
    assert (file.arrived_at, file.size) == (None, None)
    with processes.running(*command, log=log, PORT=str(port)):
        processes.until(lambda: is_up(port), seconds=60)
        content = MP4 + b"\0" * MB
        again = requests.put(f"http://127.0.0.1:{port}{path}", content, timeout=60)
    assert (again.status_code, again.json()["size"]) == (200, len(content))


def killed_in(code: str, log: Path, begun: Callable[[], object]) -> None:
    """Run the code as a worker, and kill it as soon as `begun` is true."""
    command = ("django", "shell", "-v0", "-c", code)
    named = {"DJANGO_SETTINGS_MODULE": "focus.settings"}
    with processes.running(*command, log=log, **named) as worker:
        processes.until(begun, seconds=60)
        processes.kill(worker)


def test_a_worker_killed_after_the_object_and_before_its_time_leaves_nothing(
    alice: User, tmp_path: Path
) -> None:
    source = tmp_path / "full.png"
    source.write_bytes(b"result")
    there = set(on_disk())
    code = STOPPING_PUBLISHER.format(source=source, account=alice.pk)
    killed_in(code, tmp_path / "log", lambda: set(on_disk()) - there)
    file = StoredFile.objects.get()
    assert file.arrived_at is None
    # An hour later, a worker removes the row and what it knows of.
    StoredFile.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert retention.remove_due() == 1
    assert set(on_disk()) == there
    assert quotas.used_bytes(account_id=alice.pk) == 0


def test_a_worker_killed_while_it_removes_leaves_the_row_to_the_next(
    alice: User, tmp_path: Path
) -> None:
    file = expected(alice, most_bytes=MB)
    there = set(on_disk())
    object_ = Path(settings.MEDIA_ROOT) / "files" / file.key
    object_.parent.mkdir(parents=True, exist_ok=True)
    object_.write_bytes(MP4)
    StoredFile.objects.update(
        arrived_at=timezone.now(), size=len(MP4), due_at=timezone.now()
    )
    killed_in(STOPPING_REMOVER, tmp_path / "log", lambda: not object_.exists())
    assert StoredFile.objects.get().deleted_at is not None
    processes.until(lambda: retention.remove_due() == 1, seconds=60)
    assert not StoredFile.objects.exists()
    assert set(on_disk()) == there

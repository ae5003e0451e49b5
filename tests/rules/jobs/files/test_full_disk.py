"""A disk that is full, or fills while a file arrives: a small tmpfs of its own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from focus.bodies.arrivals import Arrival, DiskLow
from jobs.files import content_types, storage, uploads
from jobs.models import StoredFile
from tests.files import expect

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("mount") is None,
        reason="needs root, to mount a small disk",
    ),
]

MB = 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def disk(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """A disk of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this container may not mount a disk")
    settings.MEDIA_ROOT = place
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def pieces(size: int) -> Iterator[bytes]:
    yield PNG
    for _ in range(size // 65536):
        yield b"\0" * 65536


def free(disk: Path) -> int:
    return shutil.disk_usage(disk).free


def test_a_file_without_room_is_refused_before_anything_is_written(
    disk: Path, alice: User, settings: Any
) -> None:
    settings.FILES_LEAST_FREE_BYTES = MB
    before = free(disk)
    with pytest.raises(DiskLow):
        expect(alice, most_bytes=3 * MB + 1)
    assert not StoredFile.objects.exists()
    assert free(disk) == before
    assert expect(alice, most_bytes=2 * MB).pk


def test_a_disk_that_fills_while_a_file_arrives_keeps_nothing_of_it(
    disk: Path, alice: User
) -> None:
    file = expect(alice, most_bytes=4 * MB)
    before = free(disk)
    with Arrival(most_bytes=MB) as other:
        other.write(b"x" * MB)
        with pytest.raises(DiskLow):
            uploads.receive(
                pieces(4 * MB - 65536), file=file, accepts=content_types.IMAGES
            )
        file.refresh_from_db()
        assert file.arrived_at is None
    assert free(disk) == before
    arrived = uploads.receive(pieces(MB), file=file, accepts=content_types.IMAGES)
    assert arrived.size == MB + len(PNG)


def test_a_disk_below_its_least_stops_an_arrival_on_the_way(
    disk: Path, alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focus.bodies.arrivals.CHECKED_EVERY", 65536)
    settings.FILES_LEAST_FREE_BYTES = 2 * MB
    with Arrival(most_bytes=4 * MB) as arrival:

        def fill() -> None:
            for piece in pieces(3 * MB):
                arrival.write(piece)

        with pytest.raises(DiskLow):
            fill()
    assert arrival.size < 2 * MB + 200_000


def test_a_result_that_does_not_fit_leaves_no_row_that_counts(
    disk: Path, alice: User, tmp_path: Path
) -> None:
    result = tmp_path / "full.png"
    result.write_bytes(b"\0" * (4 * MB - 4096))
    with Arrival(most_bytes=2 * MB) as other:
        other.write(b"x" * (MB // 2))
        before = free(disk)
        with pytest.raises(DiskLow):
            storage.publish(
                result,
                account_id=alice.pk,
                purpose="full",
                name="full.png",
                content_type="image/png",
            )
        assert free(disk) == before
    assert not StoredFile.objects.filter(deleted_at=None).exists()

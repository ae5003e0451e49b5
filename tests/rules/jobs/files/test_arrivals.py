"""An arriving file: limits, and no trace of one that does not arrive."""

import os
from pathlib import Path
from typing import Any

import pytest

from focus.bodies.arrivals import Arrival, FileTooLarge, incoming_folder


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return Path(settings.MEDIA_ROOT)


@pytest.fixture(params=["unnamed", "named"])
def _each_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems with and without O_TMPFILE."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("_each_kind")
class TestBothKinds:
    def test_what_is_saved_is_complete_and_read_only(self, media: Path) -> None:
        with Arrival(most_bytes=100) as arrival:
            arrival.write(b"some ")
            arrival.write(b"content")
            assert b"".join(arrival.pieces()) == arrival.path.read_bytes()
            arrival.save(media / "files" / "ab" / "key")
        [saved] = files(media)
        assert saved.read_bytes() == b"some content"
        assert saved.stat().st_mode & 0o777 == 0o400

    def test_what_is_closed_is_gone(self, media: Path) -> None:
        arrival = Arrival(most_bytes=100)
        arrival.write(b"content")
        arrival.close()
        arrival.close()
        assert files(media) == []

    def test_what_is_dropped_is_gone(self, media: Path) -> None:
        arrival = Arrival(most_bytes=100)
        arrival.write(b"content")
        del arrival
        assert files(media) == []

    def test_a_name_that_is_taken_is_never_overwritten(self, media: Path) -> None:
        target = media / "files" / "ab" / "key"
        for content in (b"first", b"second"):
            with Arrival(most_bytes=100) as arrival:
                arrival.write(content)
                if content == b"first":
                    arrival.save(target)
                else:
                    with pytest.raises(FileExistsError):
                        arrival.save(target)
        assert target.read_bytes() == b"first"
        assert files(media) == [target]


def test_a_file_without_a_name_is_in_no_folder() -> None:
    with Arrival(most_bytes=100) as arrival:
        arrival.write(b"content")
        assert list(incoming_folder().iterdir()) == []


def test_no_byte_too_many_is_written() -> None:
    with Arrival(most_bytes=10) as arrival:
        arrival.write(b"0123456789")
        with pytest.raises(FileTooLarge) as refusal:
            arrival.write(b"x")
        assert refusal.value.facts == {"max_bytes": 10}
        assert arrival.path.stat().st_size == arrival.size == 10


def test_the_folder_is_private(media: Path) -> None:
    with Arrival(most_bytes=10):
        assert (media / "incoming").stat().st_mode & 0o777 == 0o700

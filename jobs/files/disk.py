"""The files in a folder of this machine, or of a network disk: `MEDIA_ROOT/files`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.utils.deconstruct import deconstructible

from focus.bodies.arrivals import Arrival
from jobs.files.pieces import Pieces


@deconstructible(path="jobs.files.disk.DiskStorage")
class DiskStorage(FileSystemStorage):
    """Django's storage, with the calls that `jobs.files.storage` needs."""

    @property
    def base_location(self) -> str:
        return str(Path(settings.MEDIA_ROOT) / "files")

    @property
    def location(self) -> str:
        return os.path.abspath(self.base_location)

    def adopt(self, arrival: Arrival, key: str, *, content_type: str) -> None:
        """Store an arrival. The object appears at once, complete and on the disk."""
        arrival.save(Path(self.path(key)))

    def read(self, key: str, *, start: int, end: int) -> Pieces:
        """Read the bytes from `start` up to, not including, `end`, in pieces.

        Raises FileNotFoundError at once if the object is gone.
        """
        content = Path(self.path(key)).open("rb")  # noqa: SIM115 — Pieces closes it
        content.seek(start)
        return Pieces(content.read, content.close, end - start)

    def copy_to(self, key: str, target: Path) -> None:
        """Put the object at `target`: the same inode where the file system allows it.

        The stored file is read-only, so a program that opens it for writing fails.
        """
        source = self.path(key)
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(source, target)

    def remove(self, key: str) -> None:
        """Remove the object. One that is gone already is no error."""
        with suppress(FileNotFoundError):
            Path(self.path(key)).unlink()

    def has(self, key: str) -> bool:
        return Path(self.path(key)).is_file()

    def keys(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield each key of the folder `prefix`, with the time of its last change."""
        folder = Path(self.path(prefix))
        if not folder.is_dir():
            return
        for found in os.scandir(folder):
            with suppress(FileNotFoundError):
                changed = datetime.fromtimestamp(found.stat().st_ctime, UTC)
                yield f"{prefix}/{found.name}", changed

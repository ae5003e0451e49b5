"""Results appear under their final names all at once, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType


class Workspace:
    """A scratch folder beside the results; leaving the block removes it.

    A worker may find the result's name and take the file, so a half-written file
    must never carry that name. The scratch folder lies on the same file system as
    the results because a rename across file systems is a copy.
    """

    def __init__(self, beside: Path) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=".media-", dir=beside))
        self._links: dict[Path, str] = {}

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def file(self, name: str) -> Path:
        """Return the path of a scratch file. `name` comes from code, not from users."""
        return self.path / name

    def link(self, source: Path) -> str:
        """Return a name for a source inside the folder, safe as a tool's argument."""
        real = source.resolve()
        if real not in self._links:
            self._links[real] = f"input{len(self._links)}"
            self.file(self._links[real]).symlink_to(real)
        return f"file:{self._links[real]}"

    def publish(self, files: Mapping[Path, Path]) -> None:
        """Give each scratch file its final name, after all of them are complete."""
        for scratch in files:
            with scratch.open("rb") as stream:
                os.fsync(stream.fileno())
        for scratch, final in files.items():
            scratch.replace(final)

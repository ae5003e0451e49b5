"""Find ffmpeg and ffprobe on this machine, and what they can do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from media.errors import EngineFailed

# What the video half uses; `capabilities` says which of them this ffmpeg has.
FILTERS = (
    *("scale", "fps", "crop", "setsar", "format", "zscale", "tonemap", "loudnorm"),
    *("ass", "drawtext", "overlay", "split", "concat", "aformat", "aresample"),
)
ENCODERS = ("libx264", "aac", "mjpeg")


@dataclass(frozen=True)
class Tools:
    """The programs of this machine and what they can do."""

    ffmpeg: str
    ffprobe: str | None
    source: str  # "system" or "imageio-ffmpeg"
    version: str
    filters: frozenset[str] = field(repr=False)
    encoders: frozenset[str] = field(repr=False)
    guard: tuple[str, str] | None  # setpriv and prlimit of util-linux


def find() -> Tools:
    """Find the system's ffmpeg, else imageio-ffmpeg's. Raises EngineFailed.

    Looks once in a process. FOCUS_FFMPEG=imageio chooses the second, for tests.
    """
    return _found(os.environ.get("FOCUS_FFMPEG") == "imageio")


@cache
def _found(of_imageio: bool) -> Tools:
    ffmpeg, ffprobe, source = _which("ffmpeg"), _which("ffprobe"), "system"
    if ffmpeg is None or of_imageio:
        ffmpeg, ffprobe, source = _of_imageio(), None, "imageio-ffmpeg"
    setpriv, prlimit = _which("setpriv"), _which("prlimit")
    return Tools(
        ffmpeg=ffmpeg,
        ffprobe=ffprobe,
        source=source,
        version=_list(ffmpeg, "-version").partition("\n")[0].split(" Copyright")[0],
        filters=frozenset(_second_words(_list(ffmpeg, "-filters"))),
        encoders=frozenset(_second_words(_list(ffmpeg, "-encoders"))),
        guard=(setpriv, prlimit) if setpriv and prlimit else None,
    )


def _which(name: str) -> str | None:
    # A worker starts the engine with an empty environment.
    return shutil.which(name, path=os.environ.get("PATH") or os.defpath)


def _of_imageio() -> str:
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise EngineFailed("no_ffmpeg", "This machine has no ffmpeg.") from error


def _list(ffmpeg: str, what: str) -> str:
    command = [ffmpeg, "-hide_banner", what]
    try:
        return subprocess.run(  # noqa: S603 - a list of arguments of ours, no shell
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            env={},
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineFailed("no_ffmpeg", "ffmpeg does not start.", str(error)) from error


def _second_words(listing: str) -> Iterator[str]:
    rows = (line.split() for line in listing.splitlines())
    return (row[1] for row in rows if len(row) > 2 and row[1] != "=")


def capabilities() -> dict[str, Any]:
    """Return which ffmpeg this machine has and what is missing."""
    try:
        found = find()
    except EngineFailed as missing:
        return {"state": missing.sentence}
    return {
        "state": "ready",
        "source": found.source,
        "version": found.version,
        "ffprobe": found.ffprobe is not None,
        "limited": found.guard is not None,
        "filters": {name: name in found.filters for name in FILTERS},
        "encoders": {name: name in found.encoders for name in ENCODERS},
    }

"""Run ffmpeg and ffprobe. Only this module and `binaries` start a process.

Each run has an empty environment, a scratch folder as its working directory, limits
of the kernel, a wall clock and a stall limit. Inputs are symbolic links with names of
ours, so no string of a user is ever part of an argument or a filter.

The tools stay in the engine's process group, so the worker's kill of that group ends
them too. If only the engine is killed, the kernel kills its tools (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import os
import resource
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from media.binaries import find
from media.containers import DEMUXERS, demuxer_of
from media.errors import EngineFailed, MediaRefused
from media.workspace import Workspace

MOST_PIXELS = 4096 * 2304 * 2  # Twice what the probe accepts, for padding and turns.
MOST_STREAMS = 32
MOST_SAID = 256 << 10  # Bytes of the tool's stderr that are kept.

PICTURE_DECODERS = (
    *("h264", "hevc", "vp8", "vp9", "libdav1d", "libaom-av1", "av1", "mpeg4", "h263"),
    *("mpeg1video", "mpeg2video", "mjpeg", "prores", "dnxhd", "dvvideo", "theora"),
    *("ffv1", "rawvideo"),
)
SOUND_DECODERS = (
    *("aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "flac", "alac", "ac3"),
    *("eac3", "mp2", "mp2float", "amrnb", "amrwb", "pcm_s16le", "pcm_s16be"),
    *("pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8", "pcm_alaw"),
    *("pcm_mulaw", "adpcm_ms", "adpcm_ima_wav"),
)
# These streams are never used, but a demuxer looks into them.
OTHER_DECODERS = ("png", "mov_text", "subrip", "srt", "ass", "ssa", "webvtt")


@dataclass(frozen=True)
class Limits:
    """What one run may take. The engine's own limits hold as well."""

    wall_seconds: float = 600
    stall_seconds: float = 60
    cpu_seconds: int = 1200
    memory_bytes: int = 2 << 30
    file_bytes: int = 4 << 30
    open_files: int = 256


# --- arguments ----------------------------------------------------------------------


def input_flags(demuxer: str) -> list[str]:
    """Return the flags that stand before every hostile input, also ffprobe's."""
    return [
        *("-protocol_whitelist", "file"),
        *("-format_whitelist", ",".join((*DEMUXERS, "webm", "mp4"))),
        *(
            "-codec_whitelist",
            ",".join(PICTURE_DECODERS + SOUND_DECODERS + OTHER_DECODERS),
        ),
        *("-max_streams", str(MOST_STREAMS)),
        *("-max_pixels", str(MOST_PIXELS)),
        # Without probing no demuxer but this one ever reads the file.
        *("-f", demuxer),
    ]


def open_input(
    space: Workspace,
    source: Path,
    *,
    start: float = 0,
    seconds: float | None = None,
    extra: Sequence[str] = (),
) -> list[str]:
    """Return ffmpeg's arguments that open a source. Raises MediaRefused.

    `start` and `seconds` choose a stretch; `extra` are further input options.
    """
    demuxer = demuxer_of(source)
    if demuxer is None:
        raise not_a_video()
    window = ["-ss", f"{start:.3f}"] if start > 0 else []
    window += [] if seconds is None else ["-t", f"{seconds:.3f}"]
    # Each frame thread of the decoder holds a whole picture, so two must do.
    flags = [*input_flags(demuxer), "-threads", "2", *extra, *window]
    return [*flags, "-i", space.link(source)]


def not_a_video() -> MediaRefused:
    return MediaRefused(
        "not_a_video",
        "The file is not an MP4, MOV, MKV, WebM or AVI video.",
        "Export the video in one of these formats and upload it again.",
    )


def _guarded(arguments: Sequence[str], limits: Limits) -> list[str]:
    """Prefix a command, so that the kernel limits it and ends it with the engine."""
    guard = find().guard
    if guard is None:
        return list(arguments)
    setpriv, prlimit = guard
    bounds = {
        "as": _bound(resource.RLIMIT_AS, limits.memory_bytes),
        "cpu": _bound(resource.RLIMIT_CPU, limits.cpu_seconds),
        "fsize": _bound(resource.RLIMIT_FSIZE, limits.file_bytes),
        "nofile": _bound(resource.RLIMIT_NOFILE, limits.open_files),
        "core": 0,
    }
    return [
        *(setpriv, "--pdeathsig", "KILL", "--no-new-privs"),
        *(prlimit, *(f"--{name}={value}" for name, value in bounds.items())),
        *arguments,
    ]


def _bound(limit: int, wanted: int) -> int:
    """Return the wanted limit, or the worker's if that is lower: none can be raised."""
    hard = resource.getrlimit(limit)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


# --- runs ---------------------------------------------------------------------------


class Run:
    """A running tool. Read its output to the end, then call `finish`."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits) -> None:
        self.process, self.limits = process, limits
        self.said = b""
        self.begun = self.moved = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._streams = [s for s in (process.stdout, process.stderr) if s]
        for stream in self._streams:
            self._selector.register(stream, selectors.EVENT_READ)

    def read(self, *, moves: bool = True) -> bytes:
        """Return what the tool wrote to stdout, b"" at its end. Raises EngineFailed.

        With `moves` the bytes count as progress for the stall limit; else the caller
        sets `moved`.
        """
        if moves:
            self.moved = time.monotonic()  # The caller's own time does not count.
        while self._selector.get_map():
            ready = self._selector.select(0) or self._selector.select(self._patience())
            if moves and any(key.fileobj is self.process.stdout for key, _ in ready):
                self.moved = time.monotonic()
            self._check()
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                if not piece:
                    self._selector.unregister(key.fileobj)
                elif key.fileobj is self.process.stderr:
                    self.said = (self.said + piece)[-MOST_SAID:]
                else:
                    return piece
        return b""

    def finish(self) -> str:
        """Wait for the end and return stderr's last part. Raises EngineFailed."""
        while self.read():
            pass
        try:
            status = self.process.wait(self._patience())
        except subprocess.TimeoutExpired:
            raise self._failed("stalled", "ffmpeg does not end.") from None
        if status:
            raise self._failed(
                "ffmpeg" if status > 0 else "killed",
                f"ffmpeg ended with status {status}.",
            )
        return self.said.decode("utf-8", "replace")

    def close(self) -> None:
        """Kill the tool if it still runs, and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        self._selector.close()
        for stream in self._streams:
            stream.close()

    def _patience(self) -> float:
        now = time.monotonic()
        over = min(
            self.begun + self.limits.wall_seconds,
            self.moved + self.limits.stall_seconds,
        )
        return max(0.01, over - now)

    def _check(self) -> None:
        now = time.monotonic()
        if now - self.begun > self.limits.wall_seconds:
            raise self._failed("timeout", "The work takes longer than it may.")
        if now - self.moved > self.limits.stall_seconds:
            raise self._failed("stalled", "The work makes no progress.")

    def _failed(self, code: str, sentence: str) -> EngineFailed:
        return EngineFailed(code, sentence, self.said.decode("utf-8", "replace"))


@contextmanager
def running(
    arguments: Sequence[str], space: Workspace, limits: Limits = Limits()
) -> Iterator[Run]:
    """Start a tool with its limits; leaving the block ends it in every case."""
    process = subprocess.Popen(  # noqa: S603 - a list of arguments of ours, no shell
        _guarded(arguments, limits),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=space.path,
        env={},
        bufsize=0,
    )
    run = Run(process, limits)
    try:
        yield run
    finally:
        run.close()


def _ffmpeg(level: str) -> list[str]:
    return [
        find().ffmpeg,
        "-nostdin",
        "-hide_banner",
        "-nostats",
        "-loglevel",
        level,
        "-y",
    ]


def render(
    arguments: Sequence[str],
    space: Workspace,
    *,
    limits: Limits = Limits(),
    on_progress: Callable[[float], None] | None = None,
) -> str:
    """Run ffmpeg to its end; return its stderr. Raises EngineFailed.

    `on_progress` hears the seconds of output written so far.
    """
    command = [*_ffmpeg("info"), "-progress", "pipe:1", *arguments]
    with running(command, space, limits) as run:
        for microseconds in _progress(run):
            # A stuck demuxer repeats the same figure, so only a change is progress.
            run.moved = time.monotonic()
            if on_progress is not None:
                on_progress(microseconds / 1e6)
        return run.finish()


def _progress(run: Run) -> Iterator[int]:
    """Yield each new value of out_time_us from the lines of -progress."""
    rest, latest = b"", -1
    while piece := run.read(moves=False):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            key, _, value = line.strip().partition(b"=")
            if key == b"out_time_us" and value.isdigit() and int(value) != latest:
                latest = int(value)
                yield latest


def frames(
    arguments: Sequence[str], space: Workspace, size: int, *, limits: Limits = Limits()
) -> Iterator[bytes]:
    """Yield the raw frames of `size` bytes that ffmpeg writes to stdout."""
    with running([*_ffmpeg("error"), *arguments], space, limits) as run:
        waiting = bytearray()
        while piece := run.read():
            waiting += piece
            while len(waiting) >= size:
                yield bytes(waiting[:size])
                del waiting[:size]
        run.finish()


class TooMuchOutput(EngineFailed):
    """The tool wrote more than the caller reads."""


def capture(
    arguments: Sequence[str],
    space: Workspace,
    *,
    limits: Limits = Limits(),
    most_bytes: int = 64 << 20,
) -> tuple[bytes, str]:
    """Run a tool; return its stdout and the end of its stderr. Raises EngineFailed."""
    with running(arguments, space, limits) as run:
        written = bytearray()
        while piece := run.read():
            written += piece
            if len(written) > most_bytes:
                raise TooMuchOutput("too_much_output", "The tool writes without end.")
        return bytes(written), run.finish()

"""Turn a video into small tables: motion, loudness, onsets, cuts and thumbnails.

One decode serves them all: tiny colour frames on a pipe, mono sound in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from media import ffmpeg
from media.ffmpeg import Limits
from media.video.probe import Probe
from media.workspace import Workspace

Floats = NDArray[np.float64]

STEP = 0.2  # Seconds in one row of the tables.
WIDTH, HEIGHT = 96, 54
RATE = 16000
DECODING = Limits(wall_seconds=900)
CUT_RATIO = 3.0  # A cut differs this many times more than its neighbours ...
CUT_LEAST = 14.0  # ... by this many grey levels,
CUT_KINSHIP = 0.3  # and its structure correlates with the frame before less than this.


@dataclass
class Signals:
    """Rows of 0.2 s that begin at `start` in the source."""

    start: float
    motion: Floats  # What moves inside the picture, without the camera's own move.
    flash: Floats  # Change of brightness, mostly in the middle: shots, hits.
    loudness: Floats  # dB, floor -60.
    onset: Floats  # Spectral flux.
    cuts: list[float]  # Times of the first frame after each hard cut.
    thumbs: NDArray[np.uint8]  # One 16x9 grey picture for each row.

    @property
    def rows(self) -> int:
        """Return how many rows of 0.2 s there are."""
        return len(self.motion)

    def times(self) -> Floats:
        """Return the middle of each row, in source seconds."""
        return np.float64(self.start) + (np.arange(self.rows) + np.float64(0.5)) * STEP


class _Pictures:
    """Fold tiny frames into rows, one at a time, so memory stays small."""

    def __init__(self, rows: int, fps: float, start: float) -> None:
        self.fps, self.start, self.count = fps, start, 0
        self.motion = np.zeros(rows)
        self.flash = np.zeros(rows)
        self.hits = np.zeros(rows)
        self.thumbs = np.zeros((rows, 9, 16), np.uint8)
        self.change: list[float] = []
        self.kinship: list[float] = []
        self._before: NDArray[np.int16] | None = None
        self._grey_before: NDArray[np.float32] | None = None

    def add(self, raw: bytes) -> None:
        frame = np.frombuffer(raw, np.uint8).reshape(HEIGHT, WIDTH, 3).astype(np.int16)
        row = min(int(self.count / self.fps / STEP), len(self.motion) - 1)
        grey = frame.mean(axis=2, dtype=np.float32)
        change, kin = 0.0, 1.0
        if self._before is not None and self._grey_before is not None:
            change, kin = compare(self._before, frame, self._grey_before, grey)
            jump = abs(float((_CENTRE * (grey - self._grey_before)).sum()))
            self.flash[row] = max(self.flash[row], jump)
        self.change.append(change)
        self.kinship.append(kin)
        if self.hits[row] == 0:
            self.thumbs[row] = grey.reshape(9, 6, 16, 6).mean((1, 3)).astype(np.uint8)
        self.hits[row] += 1
        self._before, self._grey_before, self.count = frame, grey, self.count + 1

    def cuts_and_motion(self) -> list[float]:
        """Find hard cuts, then fill ``motion`` without the frames that are cuts."""
        change = np.array(self.change)
        cuts = find_cuts(change, np.array(self.kinship))
        calm = change.copy()
        calm[cuts] = np.nan
        rows = np.minimum(
            (np.arange(len(calm)) / self.fps / STEP).astype(int), len(self.motion) - 1
        )
        good = ~np.isnan(calm)
        total = np.bincount(rows[good], calm[good], minlength=len(self.motion))
        number = np.bincount(rows[good], minlength=len(self.motion))
        self.motion = total / np.maximum(number, 1)
        # A row that only holds a cut takes its neighbour's motion.
        for empty in np.flatnonzero(number == 0):
            self.motion[empty] = self.motion[empty - 1] if empty else 0.0
            if self.hits[empty] == 0 and empty:
                self.thumbs[empty] = self.thumbs[empty - 1]
        return [self.start + int(index) / self.fps for index in cuts]


_WINDOW = cv2.createHanningWindow((WIDTH, HEIGHT), cv2.CV_32F)
_CENTRE = np.outer(np.hanning(HEIGHT), np.hanning(WIDTH)) * 4 / (HEIGHT * WIDTH)


def compare(
    before: NDArray[np.int16], now: NDArray[np.int16],
    grey_before: NDArray[np.float32], grey_now: NDArray[np.float32],
) -> tuple[float, float]:  # fmt: skip
    """Return what changed without the camera's own move, and how akin the frames are.

    A player who turns changes every pixel, yet nothing happens: the shift is undone.
    A flash changes every pixel too, but the structure below stays the same.
    """
    still = float(np.abs(now - before).mean())
    if still < 3.0:
        return still, 1.0
    # Without their means, or the window's own shape would make any two frames akin.
    calm_before, calm_now = grey_before - grey_before.mean(), grey_now - grey_now.mean()
    (across, down), kin = cv2.phaseCorrelate(calm_before, calm_now, _WINDOW)
    if not np.isfinite(kin) or min(calm_before.std(), calm_now.std()) < 2:
        return still, 0.0
    x, y = round(across), round(down)
    if abs(x) > WIDTH * 0.6 or abs(y) > HEIGHT * 0.6:
        return still, float(kin)
    new = now[max(0, y) : HEIGHT + min(0, y), max(0, x) : WIDTH + min(0, x)]
    old = before[max(0, -y) : HEIGHT + min(0, -y), max(0, -x) : WIDTH + min(0, -x)]
    shift = (new - old).astype(np.float32)
    if kin > CUT_KINSHIP:
        shift -= shift.mean(axis=(0, 1))
    return min(still, float(np.abs(shift).mean())), float(kin)


def find_cuts(change: Floats, kinship: Floats, gap: int = 8) -> NDArray[np.intp]:
    """Return the frames that begin a new shot.

    A cut stands alone (its neighbours change far less) and breaks the structure of
    the picture; a flash or an explosion keeps the structure.
    """
    if len(change) < 6:
        return np.array([], np.intp)
    padded = np.pad(change, 3, mode="reflect")
    around = [padded[3 + k : 3 + k + len(change)] for k in (-3, -2, -1, 1, 2, 3)]
    neighbours = np.mean(around, axis=0)
    loudest = np.max(around, axis=0)
    alone = (change > CUT_RATIO * (neighbours + 1.0)) & (change > 1.8 * loudest)
    found = np.flatnonzero(alone & (change > CUT_LEAST) & (kinship < CUT_KINSHIP))
    kept: list[int] = []
    for index in found:
        if index > 0 and (not kept or index - kept[-1] >= gap):
            kept.append(int(index))
    return np.array(kept, np.intp)


def sound_tables(path: Path | None, rows: int) -> tuple[Floats, Floats]:
    """Return loudness in dB and spectral flux for each row, reading in pieces."""
    loud, flux = np.full(rows, -60.0), np.zeros(rows)
    if path is None or not path.exists() or path.stat().st_size < 2048:
        return loud, flux
    samples = np.memmap(path, dtype=np.int16, mode="r")
    per_row, window, hop = int(RATE * STEP), 512, 256
    hann = np.hanning(window)
    piece = per_row * 300
    previous: Floats | None = None
    for begin in range(0, min(len(samples), rows * per_row), piece):
        part = np.asarray(samples[begin : begin + piece + window], np.float64) / 32768
        whole = part[: len(part) // per_row * per_row].reshape(-1, per_row)
        first = begin // per_row
        level = 20 * np.log10(np.sqrt((whole**2).mean(1)) + 1e-4)
        last = min(rows, first + min(len(level), 300))
        loud[first:last] = np.maximum(level[: last - first], -60)
        count = (len(part) - window) // hop + 1
        if count < 2:
            continue
        frames = np.lib.stride_tricks.sliding_window_view(part, window)[::hop] * hann
        spectrum = np.log1p(100 * np.abs(np.fft.rfft(frames, axis=1)))
        if previous is not None:
            spectrum = np.vstack([previous, spectrum])
        rise = np.maximum(np.diff(spectrum, axis=0), 0).mean(1)
        at = np.minimum(first + (np.arange(len(rise)) * hop) // per_row, rows - 1)
        np.maximum.at(flux, at, rise)
        previous = spectrum[-1:]
    return loud, flux


def extract(
    space: Workspace,
    source: Path,
    probe: Probe,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    keyframes_only: bool = False,
    limits: Limits = DECODING,
    on_share: Callable[[float], None] | None = None,
) -> Signals:
    """Decode a stretch of the source into tables; `on_share` hears 0 to 1."""
    left = probe.seconds - start
    seconds = max(STEP, left if seconds is None else min(seconds, left))
    fps = 5.0 if keyframes_only else min(30.0, max(5.0, round(probe.fps, 3)))
    rows = max(1, int(np.ceil(seconds / STEP)))
    skip = ["-skip_frame", "nokey"] if keyframes_only else []
    opened = ffmpeg.open_input(space, source, start=start, seconds=seconds, extra=skip)
    shape = f"fps={fps:.6g},scale={WIDTH}:{HEIGHT}:flags=area,format=rgb24"
    arguments = [*opened, "-map", "0:V:0", "-vf", shape, "-f", "rawvideo", "pipe:1"]
    pcm = space.file("sound.pcm")
    if probe.sound:
        mono = ["-map", "0:a:0", "-ac", "1", "-ar", str(RATE), "-f", "s16le", pcm.name]
        arguments += mono
    pictures = _Pictures(rows, fps, start)
    size = WIDTH * HEIGHT * 3
    for frame in ffmpeg.frames(arguments, space, size, limits=limits):
        pictures.add(frame)
        if on_share is not None:
            on_share(min(1.0, pictures.count / fps / seconds))
    cuts = pictures.cuts_and_motion()
    if keyframes_only:
        # Between keyframes the picture stands still, so spread each jump over its gap.
        cuts, pictures.motion = [], _spread(pictures.motion)
    loudness, onset = sound_tables(pcm if probe.sound else None, rows)
    pcm.unlink(missing_ok=True)
    return Signals(
        start=start,
        motion=pictures.motion,
        flash=pictures.flash,
        loudness=loudness,
        onset=onset,
        cuts=cuts,
        thumbs=pictures.thumbs,
    )


def _spread(motion: Floats) -> Floats:
    """Give the change between two keyframes to all the rows between them."""
    spread = np.zeros_like(motion)
    before = 0
    for jump in np.flatnonzero(motion > 0):
        spread[before : jump + 1] = motion[jump] / max(1.0, np.sqrt(jump - before))
        before = int(jump) + 1
    return spread

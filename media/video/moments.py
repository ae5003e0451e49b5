"""Choose moments from tables of signals: robust scores, peaks, no overlap, no twins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from media.video.signals import STEP, Floats, Signals

LEAD_IN = 0.55  # A viewer needs the build-up: most of a clip lies before its peak.
SMOOTH_SECONDS = 1.6


@dataclass(frozen=True)
class Style:
    """Weigh the signals for one taste."""

    motion: float
    loudness: float
    onset: float
    flash: float


STYLES: dict[str, Style] = {
    "default": Style(motion=0.15, loudness=0.45, onset=0.25, flash=0.15),
    # In games the camera never rests, so movement says little; sound says most.
    "gaming": Style(motion=0.05, loudness=0.58, onset=0.27, flash=0.10),
    "energetic": Style(motion=0.30, loudness=0.30, onset=0.30, flash=0.10),
    "cinematic": Style(motion=0.35, loudness=0.35, onset=0.15, flash=0.15),
    "chill": Style(motion=-0.15, loudness=-0.10, onset=-0.05, flash=-0.05),
}


@dataclass(frozen=True)
class Moment:
    """A chosen stretch, in rows, with its peak and its value."""

    first: int
    last: int  # Exclusive.
    peak: int
    value: float


def robust_z(values: Floats) -> Floats:
    """Score against the video's own median, in clipped units of its own spread."""
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle))
    if spread < 1e-6:
        spread = float(values.std())
    if spread < 1e-6:
        return np.zeros_like(values)
    clipped: Floats = np.clip((values - middle) / spread, -2.5, 4.0)
    return clipped


def smooth(values: Floats, seconds: float = SMOOTH_SECONDS) -> Floats:
    """Average over a bell of the given width."""
    half = max(1, round(seconds / STEP))
    bell = np.exp(-0.5 * (np.arange(-2 * half, 2 * half + 1) / (half / 1.2)) ** 2)
    padded = np.pad(values, 2 * half, mode="edge")
    return np.convolve(padded, bell / bell.sum(), mode="valid")


def channel_scores(signals: Signals) -> dict[str, Floats]:
    """Return the robust score of each signal; a silent or still one scores zero."""
    return {
        "motion": robust_z(smooth(signals.motion, 0.6)),
        "loudness": robust_z(smooth(signals.loudness, 0.6)),
        "onset": robust_z(smooth(signals.onset, 0.6)),
        "flash": robust_z(smooth(np.minimum(signals.flash, 40), 0.6)),
    }


def fuse(
    scores: dict[str, Floats], style: Style, events: Floats | None = None
) -> Floats:
    """Weigh the scores into one curve, in which the caller's events dominate."""
    total = sum(getattr(style, name) * curve for name, curve in scores.items())
    fused = smooth(np.asarray(total))
    if events is not None:
        fused = fused + 15.0 * events
    return fused


def event_curve(times: Sequence[float], signals: Signals) -> Floats | None:
    """Return a curve with a bump at each event that lies inside the signals."""
    grid, curve = signals.times(), np.zeros(signals.rows)
    inside = [t for t in times if grid[0] - STEP <= t <= grid[-1] + STEP]
    for time in inside:
        curve = np.maximum(curve, np.exp(-0.5 * ((grid - time) / 1.0) ** 2))
    return curve if inside else None


def window_values(fused: Floats, rows: int) -> Floats:
    """Value the window around each peak row: half its peak, half its mean."""
    before = int(rows * LEAD_IN)
    total = np.concatenate([[0.0], np.cumsum(fused)])
    first = np.clip(np.arange(len(fused)) - before, 0, max(0, len(fused) - rows))
    last = np.minimum(first + rows, len(fused))
    means = (total[last] - total[first]) / np.maximum(1, last - first)
    values: Floats = 0.5 * fused + 0.5 * means
    return values


def alike(signals: Signals, loudness: Floats, one: Moment, other: Moment) -> bool:
    """Tell whether two moments look and sound nearly the same, as a loop does.

    `loudness` is the smoothed curve. The second moment may be shifted by up to three
    seconds. A talking head looks alike all the time, but its loudness does not repeat.
    """
    rows = min(one.last - one.first, other.last - other.first)
    for shift in range(-15, 16):
        if abs(shift) > rows // 3:
            continue
        left = np.arange(one.first + max(0, shift), one.first + rows + min(0, shift))
        right = left - one.first + other.first - shift
        if np.mean(np.abs(loudness[left] - loudness[right])) > 1.5:
            continue
        looks = signals.thumbs[left].astype(np.int16) - signals.thumbs[right]
        if np.abs(looks).mean() < 6.0:
            return True
    return False


def choose(
    signals: Signals, fused: Floats, count: int, clip_rows: int, gap_rows: int = 5
) -> tuple[list[Moment], str]:
    """Pick the best windows that do not touch; say why there are fewer than asked."""
    rows = min(clip_rows, signals.rows)
    values, loudness = window_values(fused, rows), smooth(signals.loudness, 0.8)
    free: NDArray[np.bool_] = np.ones(signals.rows, bool)
    chosen: list[Moment] = []
    twins = 0
    candidates = np.argsort(-values, kind="stable")
    blocked = np.zeros(signals.rows, bool)
    for peak in candidates:
        if len(chosen) == count:
            break
        if blocked[peak]:
            continue
        first = int(np.clip(peak - int(rows * LEAD_IN), 0, signals.rows - rows))
        moment = Moment(first, first + rows, int(peak), float(values[peak]))
        around = slice(
            max(0, first - gap_rows), min(signals.rows, moment.last + gap_rows)
        )
        if not free[around].all():
            continue
        if any(alike(signals, loudness, moment, other) for other in chosen):
            twins += 1
            blocked[max(0, peak - rows // 2) : peak + rows // 2] = True
            continue
        free[first : moment.last] = False
        chosen.append(moment)
    reason = ""
    if len(chosen) < count:
        reason = "The source is too short for more clips that do not overlap."
        if twins:
            reason = f"{twins} further moments look and sound like the chosen ones."
    return sorted(chosen, key=lambda m: -m.value), reason

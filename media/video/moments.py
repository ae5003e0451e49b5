"""Choose moments from tables of signals: robust scores, peaks, no overlap, no twins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from media.video.signals import STEP, Floats, Signals

LEAD_IN = 0.55  # A viewer needs the build-up: most of a clip lies before its peak.
SOFT_EDGE = 0.1  # The share of each side in which rows count less and less.
TILT = 0.25  # How much less the outer rows count than the one at LEAD_IN.
SMOOTH_SECONDS = 0.8
ENDING_SECONDS = 1.0


@dataclass(frozen=True)
class Style:
    """The weights of the signals for one taste."""

    motion: float = 0
    loudness: float = 0
    onset: float = 0
    flash: float = 0
    ending: float = 0


STYLES: dict[str, Style] = {
    "default": Style(motion=0.10, loudness=0.45, onset=0.25, flash=0.15, ending=0.40),
    # In games the camera never rests, so movement says little; sound says most, and a
    # fight that is over is quieter than the fight.
    "gaming": Style(motion=0.00, loudness=0.65, onset=0.15, flash=0.12, ending=0.60),
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
    loudness = robust_z(signals.loudness)
    return {
        "motion": robust_z(signals.motion),
        "loudness": loudness,
        "onset": robust_z(signals.onset),
        "flash": robust_z(np.minimum(signals.flash, 40)),
        "ending": ending(loudness),
    }


def ending(loudness: Floats) -> Floats:
    """Return by how much the second up to each row is louder than the one after it."""
    rows, span = len(loudness), round(ENDING_SECONDS / STEP)
    total = np.concatenate([[0.0], np.cumsum(np.clip(loudness, -2, 2.5))])
    now = np.arange(1, rows + 1)
    first, last = np.maximum(0, now - span), np.minimum(rows, now + span)
    before = (total[now] - total[first]) / (now - first)
    after = (total[last] - total[now]) / np.maximum(1, last - now)
    after[-1] = before[-1]  # Nothing follows the last row.
    fall: Floats = np.clip(before - after, 0, 3)
    return fall


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
    """Return the value of the window that begins at each row: a weighed mean.

    The weights fall softly to both sides of the lead-in, so a moment that is shorter
    than the window lies there, and a window with many moments beats one with a peak.
    """
    place = (np.arange(rows) + 0.5) / rows
    nearness = np.minimum(place / LEAD_IN, (1 - place) / (1 - LEAD_IN))
    weights = np.minimum(1, nearness / SOFT_EDGE) * (1 - TILT * (1 - nearness))
    return np.convolve(fused, (weights / weights.sum())[::-1], mode="valid")


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
    blocked = np.zeros(len(values), bool)
    for first in np.argsort(-values, kind="stable"):
        if len(chosen) == count:
            break
        last = first + rows
        around = slice(max(0, first - gap_rows), last + gap_rows)
        if blocked[first] or not free[around].all():
            continue
        peak = int(first + np.argmax(fused[first:last]))
        moment = Moment(int(first), int(last), peak, float(values[first]))
        if any(alike(signals, loudness, moment, other) for other in chosen):
            twins += 1
            blocked[max(0, first - rows // 2) : first + rows // 2] = True
            continue
        free[first:last] = False
        chosen.append(moment)
    reason = ""
    if len(chosen) < count:
        reason = "The source is too short for more clips that do not overlap."
        if twins:
            reason = f"{twins} further moments look and sound like the chosen ones."
    return sorted(chosen, key=lambda m: -m.value), reason

"""Find the moments worth a clip, within a time budget.

A source of up to four minutes is decoded whole. A longer one is heard whole and seen
at its keyframes; then its best stretches are decoded fully, as far as the budget goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from media.ffmpeg import Limits
from media.video import moments
from media.video.moments import STYLES, Moment
from media.video.probe import MOST_SECONDS, Probe, probe
from media.video.signals import STEP, Floats, Signals, extract
from media.workspace import Workspace

WHOLE_SECONDS = 240.0  # Sources up to this length are decoded whole.
SNAP_SECONDS = 1.2
MOST_CLIPS = 20
MOST_EVENTS = 1000
CLIP_SECONDS = (2.0, 90.0)
BUDGET_SECONDS = 60.0

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Wish:
    """What the caller asks for. `events` are seconds in which the caller knows more."""

    num_clips: int = 6
    style: str = "default"
    clip_seconds: float | None = None
    events: tuple[float, ...] = ()
    budget_seconds: float = BUDGET_SECONDS
    most_seconds: float = MOST_SECONDS


@dataclass(frozen=True)
class Clip:
    """A found moment, in seconds of the source."""

    start: float
    end: float
    score: float  # 0 to 1
    reason: str
    features: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "score": round(self.score, 4),
            "reason": self.reason,
            "features": {k: round(float(v), 4) for k, v in self.features.items()},
        }


class _Budget:
    def __init__(self, seconds: float) -> None:
        self.begun, self.seconds = time.monotonic(), seconds

    def spent(self) -> float:
        return time.monotonic() - self.begun

    def left(self) -> float:
        return self.seconds - self.spent()


def detect(space: Workspace, source: Path, wish: Wish, tell: Tell) -> dict[str, Any]:
    """Return the best clips of a source, best first. Raises MediaRefused.

    The same source and wish give the same clips, unless the budget ran out, which a
    note says.
    """
    budget, notes = _Budget(wish.budget_seconds), list[str]()
    tell(0, "probing")
    video = probe(space, source, wish.most_seconds)
    length = clip_length(video.seconds, wish.num_clips, wish.clip_seconds)
    tell(10, "analysing")
    whole = video.seconds <= WHOLE_SECONDS
    if whole:
        signals = extract(
            space, source, video, on_share=lambda s: tell(10 + 80 * s, "analysing")
        )
    else:
        signals = _scan(space, source, video, wish, length, budget, notes, tell)
    tell(90, "selecting")
    if late := [event for event in wish.events if event > video.seconds]:
        notes.append(f"{len(late)} of the events lie after the end of the video.")
    events = moments.event_curve(wish.events, signals)
    scores = moments.channel_scores(signals)
    fused = moments.fuse(scores, STYLES[wish.style], events)
    rows = max(1, round(length / STEP))
    chosen, fewer = moments.choose(signals, fused, wish.num_clips, rows)
    clips = _bounded(signals, scores, events, chosen, video.seconds)
    tell(100, "done")
    answer: dict[str, Any] = {
        "outcome": "done",
        "clips": [clip.as_json() for clip in clips],
        "video": video.as_json(),
        "report": {
            "decoded": "whole" if whole else "keyframes and the best stretches",
            "cuts": [round(cut, 3) for cut in signals.cuts],
            "notes": notes,
            "seconds": round(budget.spent(), 2),
        },
    }
    if fewer:
        answer["why_fewer"] = fewer
    return answer


def clip_length(duration: float, count: int, wished: float | None) -> float:
    """Return a clip's length: all together a quarter of the source, each 5 to 30 s."""
    natural = min(30.0, max(5.0, 0.27 * duration / count))
    return min(natural if wished is None else wished, duration)


# --- long sources -------------------------------------------------------------------


def _scan(
    space: Workspace,
    source: Path,
    video: Probe,
    wish: Wish,
    length: float,
    budget: _Budget,
    notes: list[str],
    tell: Tell,
) -> Signals:
    """Scan a source by its keyframes and sound, then see its best stretches fully."""
    coarse = extract(
        space,
        source,
        video,
        keyframes_only=True,
        limits=Limits(wall_seconds=max(120.0, 3 * wish.budget_seconds)),
        on_share=lambda share: tell(10 + 40 * share, "analysing"),
    )
    events = moments.event_curve(wish.events, coarse)
    fused = moments.fuse(moments.channel_scores(coarse), STYLES[wish.style], events)
    rows = round(length / STEP)
    rough, _ = moments.choose(coarse, fused, 3 * wish.num_clips, rows)
    dearest = 0.0
    for done, moment in enumerate(rough):
        if budget.left() < max(5.0, 2 * dearest):
            notes.append(
                f"The time budget ended after {done} of {len(rough)} stretches; "
                "the others are judged by their sound and keyframes."
            )
            break
        tell(50 + 40 * done / len(rough), "analysing")
        begun = time.monotonic()
        _refine(coarse, moment, space, source, video, length)
        dearest = max(dearest, time.monotonic() - begun)
    coarse.cuts.sort()
    return coarse


def _refine(
    coarse: Signals,
    moment: Moment,
    space: Workspace,
    source: Path,
    video: Probe,
    length: float,
) -> None:
    """Replace what the keyframes said about one stretch by what all frames say."""
    at = max(0, moment.first - round(2 / STEP))
    fine = extract(space, source, video, start=at * STEP, seconds=length + 4)
    span = slice(at, min(coarse.rows, at + fine.rows))
    size = span.stop - span.start
    # Keyframes jump by more than neighbouring frames do: match the medians.
    usual = max(1e-6, float(np.median(fine.motion)))
    scale = min(10.0, float(np.median(coarse.motion[span])) / usual)
    coarse.motion[span] = fine.motion[:size] * scale
    coarse.flash[span] = fine.flash[:size]
    coarse.cuts += [cut for cut in fine.cuts if cut not in coarse.cuts]


# --- bounds and words ---------------------------------------------------------------


def _bounded(
    signals: Signals,
    scores: dict[str, Floats],
    events: Floats | None,
    chosen: Sequence[Moment],
    duration: float,
) -> list[Clip]:
    """Turn moments into clips with good boundaries that touch no other clip."""
    spans = [(m.first * STEP, min(duration, m.last * STEP)) for m in chosen]
    clips = []
    for index, moment in enumerate(chosen):
        start, end = spans[index]
        others = spans[:index] + spans[index + 1 :]
        low = max([0.0, *(after for _, after in others if after <= start + 0.01)])
        high = min([duration, *(first for first, _ in others if first >= end - 0.01)])
        start = _snap(signals, start, low, min(end - 1.5, start + 2))
        end = _snap(signals, end, max(start + 1.5, end - 2), high)
        # The peak stays inside, wherever the boundaries moved.
        peak = (moment.peak + 0.5) * STEP
        start = max(low, min(start, peak - 0.5))
        end = min(high, max(end, peak + 0.5))
        spans[index] = (start, end)
        clips.append(_clip(signals, scores, events, moment, start, end))
    return sorted(clips, key=lambda clip: (-clip.score, clip.start))


def _snap(signals: Signals, time_: float, low: float, high: float) -> float:
    """Move a boundary to a hard cut nearby, else to the quietest row nearby."""
    near = [
        c for c in signals.cuts if abs(c - time_) <= SNAP_SECONDS and low <= c <= high
    ]
    if near:
        return min(near, key=lambda cut: abs(cut - time_))
    rows = signals.times()
    close = np.flatnonzero(np.abs(rows - time_) <= 0.8 * SNAP_SECONDS)
    close = close[(rows[close] >= low) & (rows[close] <= high)]
    if close.size == 0:
        return float(np.clip(time_, low, max(low, high)))
    return float(rows[close[np.argmin(signals.loudness[close])]])


def _clip(
    signals: Signals,
    scores: dict[str, Floats],
    events: Floats | None,
    moment: Moment,
    start: float,
    end: float,
) -> Clip:
    first = max(0, int(start / STEP))
    last = max(first + 1, min(signals.rows, int(end / STEP)))
    features = {
        name: float(moments.smooth(curve, 0.6)[first:last].max())
        for name, curve in scores.items()
    }
    features["loudness_db"] = float(signals.loudness[first:last].max())
    features["event"] = float(events[first:last].max()) if events is not None else 0.0
    features["cuts"] = float(sum(start <= cut < end for cut in signals.cuts))
    score = 1 / (1 + np.exp(-(moment.value - 0.6) * 1.5))
    reason = _reason(features, moment.peak * STEP)
    return Clip(start, end, float(score), reason, features)


WORDS = {
    "motion": "strong motion",
    "loudness": "a loud passage",
    "onset": "sudden sounds",
    "flash": "a flash of light",
    "ending": "an end of the noise",
}


def _reason(features: dict[str, float], peak: float) -> str:
    """Say in words what stands out, strongest first."""
    strong = sorted(
        (n for n in WORDS if features[n] > 0.8), key=lambda name: features[name]
    )
    said = [WORDS[name] for name in reversed(strong)][:2]
    if features["event"] > 0.5:
        said = ["an event that you marked", *said][:2]
    if not said:
        return f"The most active stretch left, around {peak:.1f} s."
    return f"{' with '.join(said).capitalize()} around {peak:.1f} s."

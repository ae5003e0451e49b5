"""Measure how many of a game's kills lie in the clips that detection offers.

    python -m media.tests.videos.kills FOLDER tuning|held-out    prints the table

The lift is the share of kills inside the clips over the share of time inside them, so
chance has 1. A single channel is a detector that looks at one signal only. The best
is what any three clips could reach, by looking at the kills themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from media.tests.videos import game
from media.tests.videos.game import Session
from media.video import moments
from media.video.detect import clip_length
from media.video.moments import STYLES, Style
from media.video.probe import probe
from media.video.signals import STEP, Signals, extract
from media.workspace import Workspace

CLIPS = 3
CHANNELS = {
    "motion alone": Style(motion=1),
    "loudness alone": Style(loudness=1),
    "onset alone": Style(onset=1),
    "flash alone": Style(flash=1),
    "ending alone": Style(ending=1),
}


@dataclass
class Lift:
    kills: int = 0
    caught: int = 0
    seconds: float = 0
    covered: float = 0

    @property
    def value(self) -> float:
        return (self.caught / self.kills) / (self.covered / self.seconds)

    def add(self, session: Session, spans: Sequence[tuple[float, float]]) -> None:
        self.kills += len(session.kills)
        self.caught += sum(any(a <= k < b for a, b in spans) for k in session.kills)
        self.seconds += session.seconds
        self.covered += sum(b - a for a, b in spans)


def tables(session: Session) -> Signals:
    with Workspace(session.video.parent) as space:
        return extract(space, session.video, probe(space, session.video))


def measured(sessions: Sequence[tuple[Session, Signals]]) -> dict[str, Lift]:
    """Return the lift of each style, of each channel alone, and of the best choice."""
    lifts = {name: Lift() for name in (*STYLES, *CHANNELS, "best")}
    for session, signals in sessions:
        rows = round(clip_length(session.seconds, CLIPS, None) / STEP)
        scores = moments.channel_scores(signals)
        for name, style in (STYLES | CHANNELS).items():
            fused = moments.fuse(scores, style)
            chosen, _ = moments.choose(signals, fused, CLIPS, rows)
            spans = [(m.first * STEP, m.last * STEP) for m in chosen]
            lifts[name].add(session, spans)
        lifts["best"].add(session, _best(session, signals.rows, rows))
    return lifts


def _best(session: Session, total: int, rows: int) -> list[tuple[float, float]]:
    """Return the clips that hold most kills, by dynamic programming over rows."""
    kills = np.zeros(total + 1)
    for kill in session.kills:
        kills[min(int(kill / STEP), total - 1) + 1] += 1
    before = np.cumsum(kills)
    # best[k][i]: most kills of k clips that end by row i, and the clips' ends.
    best: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] * (total + 1)]
    for clip in range(CLIPS):
        row: list[tuple[float, tuple[int, ...]]] = [(0.0, ())] * (total + 1)
        for end in range(1, total + 1):
            row[end] = row[end - 1]
            if end >= rows:
                most, ends = best[clip][end - rows]
                with_it = most + float(before[end] - before[end - rows])
                row[end] = max(row[end], (with_it, (*ends, end)))
        best.append(row)
    return [((end - rows) * STEP, end * STEP) for end in best[CLIPS][total][1]]


def main(folder: Path, which: str) -> None:
    seeds = {"tuning": game.TUNING, "held-out": game.HELD_OUT}[which]
    known = [game.recorded(folder, seed) for seed in seeds]
    for name, lift in measured([(s, tables(s)) for s in known]).items():
        share = lift.covered / lift.seconds
        sys.stdout.write(
            f"{name:14} {lift.value:5.2f}  {lift.caught} of {lift.kills} kills "
            f"in {share:.0%} of the time\n"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])

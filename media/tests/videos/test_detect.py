"""Known events are found, boundaries hold, and the same question has one answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media.tests.videos import footage
from media.video.detect import Wish, clip_length, detect
from media.workspace import Workspace


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path) as workspace:
        yield workspace


@pytest.fixture(scope="session")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footage.reel(tmp_path_factory.mktemp("reel") / "reel.mp4")


def found(space: Workspace, source: Path, **wish: Any) -> dict[str, Any]:
    """Detect, and check what holds for every answer."""
    told: list[tuple[float, str]] = []
    answer = detect(space, source, Wish(**wish), lambda *line: told.append(line))
    assert [percent for percent, _ in told] == sorted(percent for percent, _ in told)
    assert told[-1] == (100, "done")
    json.dumps(answer, allow_nan=False)
    clips, seconds = answer["clips"], answer["video"]["seconds"]
    assert len(clips) <= wish.get("num_clips", 6)
    assert ("why_fewer" in answer) == (len(clips) < wish.get("num_clips", 6))
    for clip in clips:
        assert 0 <= clip["start"] < clip["end"] <= seconds
        assert 0 <= clip["score"] <= 1
        peak = re.search(r"around ([\d.]+) s\.$", clip["reason"])
        assert peak
        assert clip["start"] - 0.1 <= float(peak.group(1)) <= clip["end"]
    spans = sorted((clip["start"], clip["end"]) for clip in clips)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    scores = [clip["score"] for clip in clips]
    assert scores == sorted(scores, reverse=True)
    assert list(space.path.glob("*.pcm")) == []
    return answer


def test_bursts_are_found_cuts_are_exact_and_the_answer_repeats(
    space: Workspace, reel: Path
) -> None:
    answer = found(space, reel, num_clips=3)
    clips = answer["clips"]
    for burst in footage.BURSTS:
        inside = [c for c in clips if c["start"] <= burst and burst + 3 <= c["end"]]
        assert len(inside) == 1, (burst, clips)
    cuts = answer["report"]["cuts"]
    assert cuts == pytest.approx(footage.CUTS, abs=1 / footage.FPS)
    assert answer["report"]["decoded"] == "whole"
    assert found(space, reel, num_clips=3)["clips"] == clips


def test_more_of_a_clip_lies_before_its_peak_than_after(
    space: Workspace, reel: Path
) -> None:
    """A viewer needs what leads to a moment."""
    for clip in found(space, reel, num_clips=3, clip_seconds=12)["clips"]:
        peak = float(re.findall(r"[\d.]+", clip["reason"])[0])
        assert peak - clip["start"] > 0.45 * (clip["end"] - clip["start"])


def test_boundaries_lie_on_a_cut_nearby(space: Workspace, reel: Path) -> None:
    # The clip of 5 s around 31.9 would begin near the cut at 30.
    clip = found(space, reel, num_clips=1, clip_seconds=5, events=(32.9,))["clips"][0]
    assert clip["start"] == pytest.approx(30, abs=1 / footage.FPS)


def test_events_of_the_caller_come_first(
    space: Workspace, reel: Path, tmp_path: Path
) -> None:
    answer = found(space, reel, num_clips=2, events=(25.0, 44.0))
    for event in (25.0, 44.0):
        assert any(c["start"] <= event <= c["end"] for c in answer["clips"])
    assert all("you marked" in clip["reason"] for clip in answer["clips"])
    short = footage.plain(tmp_path / "short.mp4", seconds=3)
    late = found(space, short, num_clips=1, events=(7000.0,))
    assert late["report"]["notes"] == [
        "1 of the events lie after the end of the video."
    ]


def test_fewer_clips_than_asked_come_with_a_reason(
    space: Workspace, tmp_path: Path
) -> None:
    answer = found(space, footage.plain(tmp_path / "a.mp4", seconds=9), num_clips=8)
    assert 1 <= len(answer["clips"]) < 8
    assert answer["why_fewer"].endswith(".")


@pytest.mark.parametrize("seconds", [0.6, 1.7])
def test_a_video_shorter_than_a_clip_is_one_clip(
    space: Workspace, tmp_path: Path, seconds: float
) -> None:
    source = footage.plain(tmp_path / "a.mp4", seconds=seconds)
    [clip] = found(space, source, num_clips=3)["clips"]
    assert clip["end"] - clip["start"] > 0.5


def test_a_loop_is_offered_once(space: Workspace, tmp_path: Path) -> None:
    shaken = "noise=alls=50:allf=t:enable='between(t,5,8)'"
    once = footage.plain(tmp_path / "once.mp4", seconds=12, filters=shaken)
    footage.run(*("-stream_loop", "3", "-i", once, "-c", "copy", tmp_path / "four.mp4"))
    answer = found(space, tmp_path / "four.mp4", num_clips=4, clip_seconds=5)
    starts = [clip["start"] % 12 for clip in answer["clips"]]
    apart = [abs(a - b) for i, a in enumerate(starts) for b in starts[i + 1 :]]
    assert all(distance > 0.7 for distance in apart), starts
    assert "look and sound like" in answer["why_fewer"]


def test_speech_over_one_picture_is_no_loop(space: Workspace, tmp_path: Path) -> None:
    """Different sentences are different moments, although they look alike."""
    lecture = footage.lecture(tmp_path / "a.mp4")
    answer = found(space, lecture, num_clips=3, clip_seconds=5)
    assert len(answer["clips"]) == 3


def test_a_still_and_silent_video_has_one_moment(
    space: Workspace, tmp_path: Path
) -> None:
    still = tmp_path / "still.mp4"
    footage.run("-f", "lavfi", "-i", "color=gray:s=320x240:d=12", still)
    answer = found(space, still, num_clips=2)
    assert len(answer["clips"]) == 1
    assert "look and sound like" in answer["why_fewer"]


@pytest.mark.slow
def test_a_long_source_is_seen_at_its_keyframes_and_best_stretches(
    space: Workspace, reel: Path, tmp_path: Path
) -> None:
    longer = tmp_path / "long.mp4"
    footage.run("-stream_loop", "4", "-i", reel, "-c", "copy", longer)
    # A budget that no machine spends: every stretch is decoded.
    answer = found(space, longer, num_clips=3, budget_seconds=3600)
    assert answer["report"]["decoded"] == "keyframes and the best stretches"
    bursts = [burst + 60 * n for n in range(5) for burst in footage.BURSTS]
    for clip in answer["clips"]:
        assert any(clip["start"] <= b + 1.5 <= clip["end"] for b in bursts)
    short = found(space, longer, num_clips=3, budget_seconds=1)
    assert "The time budget ended after 0 of" in short["report"]["notes"][0]
    assert short["clips"]


def test_the_length_of_clips_has_bounds() -> None:
    assert clip_length(7200, 6, None) == 30
    assert clip_length(60, 3, None) == pytest.approx(5.4)
    assert clip_length(3, 6, None) == 3
    assert clip_length(600, 6, 12.0) == 12
    assert np.isfinite(clip_length(0.5, 20, None))

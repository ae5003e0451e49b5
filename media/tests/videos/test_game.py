"""The recorder makes footage with sound whose events are really in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.tests.videos import game
from media.video.probe import probe
from media.workspace import Workspace


def test_no_seed_chooses_thresholds_and_judges_them() -> None:
    assert len(set(game.TUNING)) == len(game.TUNING) == 4
    assert len(set(game.HELD_OUT)) == len(game.HELD_OUT) == 6
    assert not set(game.TUNING) & set(game.HELD_OUT)


@pytest.mark.slow
def test_a_recording_has_sound_and_known_events_and_can_be_repeated(
    tmp_path: Path,
) -> None:
    once = game.record(tmp_path, game.TUNING[0], 20)
    content = once.video.read_bytes()
    with Workspace(tmp_path) as space:
        video = probe(space, once.video)
    assert video.seconds == pytest.approx(20, abs=0.1)
    assert video.sound
    assert video.problems == ()
    assert once.hits
    assert all(0 <= time < 20 for time in once.kills + once.hits + once.cuts)
    again = game.record(tmp_path, game.TUNING[0], 20)
    assert (again.kills, again.hits, again.cuts) == (once.kills, once.hits, once.cuts)
    assert again.video.stat().st_size == pytest.approx(len(content), rel=0.01)

"""The recorder makes footage with sound, and its events are really in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.tests.videos import game, kills
from media.video.probe import probe
from media.workspace import Workspace


def test_no_seed_chooses_thresholds_and_judges_them() -> None:
    assert len(set(game.TUNING)) == len(game.TUNING) == 12
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


@pytest.mark.slow
def test_kills_are_found_better_than_by_any_single_signal(tmp_path: Path) -> None:
    """The goal is a lift of 2; media/README.md has what is reached."""
    known = [game.recorded(tmp_path, seed) for seed in game.HELD_OUT]
    assert sum(len(session.kills) for session in known) > 40
    lifts = kills.measured([(session, kills.tables(session)) for session in known])
    assert lifts["best"].value > 2
    for style in ("default", "gaming"):
        assert lifts[style].value > 1.7
        for channel in kills.CHANNELS:
            assert lifts[style].value > lifts[channel].value, (style, channel)

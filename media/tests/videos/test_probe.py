"""Unusual videos are understood, and every other file is refused with a reason."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from media import binaries
from media.errors import MediaRefused
from media.tests.videos import footage
from media.video.probe import Probe, probe
from media.workspace import Workspace

Make = Callable[[Path], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], Path]:
    """Make a file for both ffmpegs at once."""
    folder = tmp_path_factory.mktemp("made")
    known: dict[str, Path] = {}

    def made(name: str, make: Make) -> Path:
        if name not in known:
            known[name] = make(folder / name)
        return known[name]

    return made


@pytest.fixture(
    params=["system", pytest.param("imageio-ffmpeg", marks=pytest.mark.slow)]
)
def space(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    """A workspace with Debian's tools, and then with imageio's ffmpeg."""
    if request.param != "system":
        monkeypatch.setenv("FOCUS_FFMPEG", "imageio")
    if binaries.find().source != request.param:
        pytest.skip("this machine has no ffmpeg of its own")
    with Workspace(tmp_path) as workspace:
        yield workspace


def problems(found: Probe) -> set[str]:
    assert all(p["sentence"].endswith(".") for p in found.problems)
    json.dumps(found.as_json(), allow_nan=False)
    return {problem["code"] for problem in found.problems}


def children() -> list[str]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


# --- accepted -----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "webm"])
def test_the_containers_of_the_guides_are_accepted(
    space: Workspace, tmp_path: Path, suffix: str
) -> None:
    options: tuple[str, ...] = footage.FAST
    if suffix == "webm":
        options = ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus")
    made = footage.plain(tmp_path / f"a.{suffix}", options=options)
    # The name means nothing.
    found = probe(space, made.rename(tmp_path / "upload"))
    expected = {"mkv": "matroska", "webm": "matroska", "avi": "avi"}
    assert found.container == expected.get(suffix, "mp4")
    assert (found.width, found.height) == (160, 120)
    assert found.seconds == pytest.approx(2, abs=0.05)
    assert (found.fps, found.peak_fps) == pytest.approx((30, 30), rel=0.1)
    assert not found.variable_fps
    assert found.sound
    assert found.sound.channels == 1
    assert [stream.kind for stream in found.streams] == ["video", "audio"]
    assert problems(found) == set()


def test_a_turned_video_has_its_upright_size(space: Workspace, tmp_path: Path) -> None:
    found = probe(space, footage.turned(tmp_path / "a.mp4"))
    assert (found.width, found.height) == (180, 320)
    assert found.picture.rotation in (90, 270)
    assert problems(found) == {"turned"}


def test_a_variable_frame_rate_is_noticed(space: Workspace, tmp_path: Path) -> None:
    found = probe(space, footage.variable(tmp_path / "a.mp4"))
    assert found.variable_fps
    assert 7 < found.fps < 25 < found.peak_fps
    assert problems(found) == {"variable_fps"}


@pytest.mark.parametrize(
    ("transfer", "name"), [("smpte2084", "HDR10"), ("arib-std-b67", "HLG")]
)
def test_a_high_dynamic_range_is_noticed(
    space: Workspace, tmp_path: Path, transfer: str, name: str
) -> None:
    found = probe(space, footage.high_range(tmp_path / "a.mp4", transfer))
    assert found.hdr == name
    assert problems(found) == {"hdr"}


def test_long_pixels_are_made_square(space: Workspace, tmp_path: Path) -> None:
    made = footage.plain(tmp_path / "a.mp4", size="720x576", filters="setsar=64/45")
    found = probe(space, made)
    assert (found.width, found.height) == (1024, 576)
    assert problems(found) == {"odd_pixels"}


def test_a_silent_video_is_accepted(space: Workspace, tmp_path: Path) -> None:
    found = probe(space, footage.plain(tmp_path / "a.mp4", sound=False))
    assert found.sound is None
    assert problems(found) == {"no_sound"}


def test_an_unfinished_upload_has_the_length_that_decodes(
    space: Workspace, tmp_path: Path
) -> None:
    found = probe(space, footage.cut_short(tmp_path / "a.mp4"))
    assert found.claimed_seconds == pytest.approx(10, abs=0.1)
    assert 4 < found.seconds < 8
    assert problems(found) == {"ends_early"}


def test_a_cover_before_the_video_is_no_video(space: Workspace, tmp_path: Path) -> None:
    """Nor are subtitles a reason to refuse."""
    footage.plain(tmp_path / "video.mp4")
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    footage.run(
        *("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1", tmp_path / "a.png")
    )
    mapped = ("-map", "0", "-map", "1", "-map", "2", "-c", "copy", "-c:s", "mov_text")
    inputs = [
        part
        for name in ("a.png", "video.mp4", "a.srt")
        for part in ("-i", tmp_path / name)
    ]
    disposition = ("-disposition:v:0", "attached_pic")
    footage.run(*inputs, *mapped, *disposition, tmp_path / "covered.mp4")
    found = probe(space, tmp_path / "covered.mp4")
    assert (found.width, found.height) == (160, 120)
    assert {"png", "mov_text"} <= {stream.codec for stream in found.streams}


# --- refused ------------------------------------------------------------------------


def text(content: str) -> Make:
    def write(path: Path) -> Path:
        path.write_text(content)
        return path

    return write


def picture(path: Path) -> Path:
    still = path.with_suffix(".png")
    footage.run("-f", "lavfi", "-i", "testsrc2=s=320x240", "-frames:v", "1", still)
    return still.rename(path)


def other_format(path: Path, name: str) -> Path:
    return footage.plain(path, options=(*footage.FAST, "-f", name))


REFUSED: dict[str, tuple[Make, str]] = {
    "an empty file": (text(""), "not_a_video"),
    "a text": (text("hello\n" * 100), "not_a_video"),
    "a picture": (picture, "not_a_video"),
    "MPEG-TS": (partial(other_format, name="mpegts"), "not_a_video"),
    "FLV": (partial(other_format, name="flv"), "not_a_video"),
    "HLS": (text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"), "playlist"),
    "HLS after spaces": (text("\ufeff \n#EXTM3U\n#EXTINF:1,\na.ts\n"), "playlist"),
    "ffconcat": (text("ffconcat version 1.0\nfile /etc/passwd\n"), "playlist"),
    "DASH": (
        text("<?xml version='1.0'?>\n<MPD><BaseURL>x</BaseURL></MPD>"),
        "playlist",
    ),
    "SDP": (text("v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"), "playlist"),
    "sound alone": (
        lambda path: footage.only_sound(path.with_suffix(".m4a")),
        "no_picture",
    ),
    "an index that is missing": (footage.without_index, "broken_video"),
    "noise instead of frames": (footage.scrambled, "broken_video"),
    "half an MP4's head": (text("\0\0\0\x18ftypmp42"), "broken_video"),
    "12000 x 8000 pixels": (footage.bomb, "too_large"),
    "a bomb that says 640 x 360": (footage.lying_bomb, "too_large"),
    "5000 pixels wide": (
        partial(footage.plain, size="5000x64", seconds=1),
        "too_large",
    ),
    "32 pixels high": (partial(footage.plain, size="64x32", seconds=1), "too_small"),
    "240 frames a second": (
        partial(footage.plain, size="64x64", rate=240, seconds=1),
        "too_many_frames",
    ),
    "a quarter of a second": (partial(footage.plain, seconds=0.25), "too_short"),
    "pixels of 8 : 1": (partial(footage.plain, filters="setsar=8"), "odd_pixels"),
    "an unknown codec": (
        partial(footage.plain, options=("-c:v", "snow", "-strict", "-2")),
        "unknown_codec",
    ),
}


@pytest.mark.parametrize(
    "name",
    # Making pictures of 96 megapixels takes seconds.
    [
        pytest.param(n, marks=pytest.mark.slow) if code == "too_large" else n
        for n, (_, code) in REFUSED.items()
    ],
)
def test_a_hostile_file_is_refused(
    space: Workspace, name: str, made_once: Callable[[str, Make], Path]
) -> None:
    make, code = REFUSED[name]
    suffix = ".mkv" if code == "unknown_codec" else ".mp4"
    made = made_once(f"{list(REFUSED).index(name)}{suffix}", make)
    with pytest.raises(MediaRefused) as refusal:
        probe(space, made)
    assert refusal.value.code == code
    assert refusal.value.sentence.endswith(".")
    assert refusal.value.change.endswith(".")
    assert children() == []


def test_a_video_over_the_plans_limit_is_refused(
    space: Workspace, tmp_path: Path
) -> None:
    made = footage.plain(tmp_path / "a.mp4", seconds=3)
    assert probe(space, made, most_seconds=3.5).seconds == pytest.approx(3, abs=0.05)
    with pytest.raises(MediaRefused) as refusal:
        probe(space, made, most_seconds=2.5)
    assert refusal.value.code == "too_long"
    assert (
        refusal.value.sentence
        == "The video lasts 0:03 minutes; the limit is 0:02 minutes."
    )


@pytest.mark.skipif("FOCUS_CI" not in os.environ, reason="only CI installs it")
def test_ci_has_debians_ffmpeg() -> None:
    found: dict[str, Any] = binaries.capabilities()
    assert (found["state"], found["source"]) == ("ready", "system")
    assert all(found["filters"].values())
    assert all(found["encoders"].values())
    assert found["ffprobe"]
    assert found["limited"]

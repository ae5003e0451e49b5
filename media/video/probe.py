"""Find out what an uploaded video is: refuse it, or say what is unusual about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from media import binaries, ffmpeg
from media.containers import demuxer_of, is_playlist
from media.errors import EngineFailed, MediaRefused
from media.ffmpeg import Limits, TooMuchOutput
from media.video import listing
from media.video.listing import Listing, Stream
from media.workspace import Workspace

MOST_SECONDS = 2 * 3600.0
LEAST_SECONDS = 0.5
LONGEST_SIDE = 4096
MOST_PIXELS = 4096 * 2304
SHORTEST_SIDE = 64
MOST_FPS = 121.0
ASPECTS = (0.25, 4.0)  # Of a pixel: width over height.

CONTAINERS = {"mov": "mp4", "matroska": "matroska", "avi": "avi"}
HDR = {"smpte2084": "HDR10", "arib-std-b67": "HLG"}
DECODING = Limits(wall_seconds=120, cpu_seconds=120)


@dataclass(frozen=True)
class Probe:
    """A usable video as its viewer sees it: upright, with square pixels."""

    container: str
    seconds: float  # To the end of the last frame that decodes.
    claimed_seconds: float
    width: int
    height: int
    picture: Stream
    sound: Stream | None
    streams: tuple[Stream, ...]
    fps: float
    peak_fps: float
    variable_fps: bool
    hdr: str
    problems: tuple[dict[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        picture, sound = self.picture, self.sound
        return {
            "container": self.container,
            "seconds": round(self.seconds, 3),
            "claimed_seconds": round(self.claimed_seconds, 3),
            "width": self.width,
            "height": self.height,
            "streams": [{"kind": s.kind, "codec": s.codec} for s in self.streams],
            "picture": {
                "codec": picture.codec,
                "pixel_format": picture.pixel_format,
                "coded_width": picture.width,
                "coded_height": picture.height,
                "pixel_aspect": round(float(picture.pixel_aspect), 4),
                "rotation": picture.rotation,
                "fps": round(self.fps, 3),
                "peak_fps": round(self.peak_fps, 3),
                "variable_fps": self.variable_fps,
                "hdr": self.hdr,
            },
            "sound": sound
            and {
                "codec": sound.codec,
                "channels": sound.channels,
                "sample_rate": sound.sample_rate,
            },
            "problems": list(self.problems),
        }


def probe(space: Workspace, source: Path, most_seconds: float = MOST_SECONDS) -> Probe:
    """Describe a video. Raises MediaRefused with a reason for its owner."""
    demuxer = demuxer_of(source)
    if demuxer is None:
        raise _playlist() if is_playlist(source) else ffmpeg.not_a_video()
    found = _list(space, source, demuxer)
    picture = found.picture
    if picture is None:
        raise MediaRefused(
            "no_picture",
            "The file holds no moving picture.",
            "Upload a file with a video track.",
        )
    _check_size(picture)
    if not found.packets:
        raise _broken("The file holds no frame that can be read.")
    problems: list[dict[str, str]] = []
    width, height = _upright(picture, problems)
    fps, peak, variable = _rates(found)
    if variable:
        _note(
            problems,
            "variable_fps",
            "The frame rate varies; results have a constant one.",
        )
    end = max(packet.end for packet in found.packets)
    _check_times(end, peak, most_seconds)
    hdr = HDR.get(picture.transfer, "")
    if hdr:
        _check_hdr(hdr)
        _note(
            problems, "hdr", f"The picture is {hdr}; results have the standard range."
        )
    seconds = _decoded_end(space, source, end)
    if seconds < LEAST_SECONDS:
        raise MediaRefused(
            "too_short",
            "The video is shorter than half a second.",
            "Upload a longer video.",
        )
    longest = max(end, found.duration)
    if longest - seconds > max(1.0, 0.02 * seconds):
        _note(
            problems,
            "ends_early",
            f"The file claims {longest:.1f} s; its picture ends after {seconds:.1f} s.",
        )
    return Probe(
        container=CONTAINERS[demuxer],
        seconds=seconds,
        claimed_seconds=found.duration,
        width=width,
        height=height,
        picture=picture,
        sound=_sound(found, problems),
        streams=found.streams,
        fps=fps,
        peak_fps=peak,
        variable_fps=variable,
        hdr=hdr,
        problems=tuple(problems),
    )


def _note(problems: list[dict[str, str]], code: str, sentence: str) -> None:
    problems.append({"code": code, "sentence": sentence})


# --- refusals -----------------------------------------------------------------------


def _list(space: Workspace, source: Path, demuxer: str) -> Listing:
    try:
        found = listing.of(space, source, demuxer)
    except TooMuchOutput as endless:
        raise _broken("The file lists more frames than a video can have.") from endless
    except EngineFailed as failed:
        if failed.code != "ffmpeg":
            raise
        _read_complaints(failed.detail)
        raise _broken("The video is damaged or its upload is incomplete.") from failed
    _read_complaints(found.said)
    return found


def _read_complaints(said: str) -> None:
    """Raise MediaRefused where one of the flags of `input_flags` stopped the tool."""
    if "exceeds specified max pixel count" in said:
        raise _too_large("more pixels than a decoder may make")
    if unknown := re.search(r"Codec \((\w+)\) not on whitelist", said):
        raise MediaRefused(
            "unknown_codec",
            f"The file has the codec {unknown.group(1)}, which is not accepted.",
            "Export the video as H.264 with AAC sound in an MP4 file.",
        )


def _broken(sentence: str) -> MediaRefused:
    return MediaRefused(
        "broken_video", sentence, "Export the video again and upload the new file."
    )


def _playlist() -> MediaRefused:
    return MediaRefused(
        "playlist",
        "The file is a playlist: it names videos and holds none.",
        "Upload the video itself.",
    )


def _too_large(size: str) -> MediaRefused:
    return MediaRefused(
        "too_large",
        f"The video has {size}; the limit is 4096 x 2304.",
        "Export it at 3840 x 2160 or smaller.",
    )


def _check_size(picture: Stream) -> None:
    width, height = picture.width, picture.height
    if max(width, height) > LONGEST_SIDE or width * height > MOST_PIXELS:
        raise _too_large(f"{width} x {height} pixels")
    if not width or not height:
        raise _broken("The size of the picture cannot be read.")
    if min(width, height) < SHORTEST_SIDE:
        raise MediaRefused(
            "too_small",
            f"The video has {width} x {height} pixels; its shorter side needs 64.",
            "Export it at a larger size.",
        )
    if not ASPECTS[0] <= picture.pixel_aspect <= ASPECTS[1]:
        raise MediaRefused(
            "odd_pixels",
            "The pixels of the video are far from square.",
            "Export it with square pixels.",
        )


def _check_times(end: float, peak: float, most_seconds: float) -> None:
    if peak > MOST_FPS:
        raise MediaRefused(
            "too_many_frames",
            f"The video has up to {peak:.0f} frames a second; the limit is 120.",
            "Export it at 60 frames a second or fewer.",
        )
    if end > most_seconds:
        raise MediaRefused(
            "too_long",
            f"The video lasts {_clock(end)}; the limit is {_clock(most_seconds)}.",
            "Upload a shorter part of it.",
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} minutes"


def _check_hdr(hdr: str) -> None:
    if not {"zscale", "tonemap"} <= binaries.find().filters:
        raise MediaRefused(
            "hdr",
            f"The video is {hdr}, which this server cannot convert.",
            "Export it in the standard range (SDR).",
        )


# --- measurements -------------------------------------------------------------------


def _upright(picture: Stream, problems: list[dict[str, str]]) -> tuple[int, int]:
    """Return the size that a player shows, in even numbers."""
    aspect = float(picture.pixel_aspect)
    wide, high = picture.width * aspect, float(picture.height)
    if abs(aspect - 1) > 0.01:
        _note(problems, "odd_pixels", f"Pixels of {aspect:.2f} : 1 are made square.")
    turn = picture.rotation
    if turn:
        _note(problems, "turned", f"The picture is stored turned by {turn} degrees.")
    if turn in (90, 270):
        wide, high = high, wide
    return max(2, round(wide / 2) * 2), max(2, round(high / 2) * 2)


def _rates(found: Listing) -> tuple[float, float, bool]:
    """Return the mean rate, the peak rate, and whether the rate varies."""
    times = np.sort(np.array([packet.begin for packet in found.packets]))
    steps: NDArray[np.float64] = np.diff(times)
    steps = steps[steps > 1e-6]
    if steps.size == 0:
        return 25.0, 25.0, False
    low, middle, high = np.percentile(steps, (5, 50, 95))
    variable = steps.size > 8 and high - low > 0.2 * middle
    return float(1 / steps.mean()), float(1 / low), bool(variable)


def _sound(found: Listing, problems: list[dict[str, str]]) -> Stream | None:
    """Return the first sound stream, which is the one that results use."""
    sounds = [stream for stream in found.streams if stream.kind == "audio"]
    if not sounds:
        _note(problems, "no_sound", "The video has no sound.")
        return None
    if not sounds[0].channels:
        _note(problems, "broken_sound", "The sound is damaged and is left out.")
        return None
    return sounds[0]


def _decoded_end(space: Workspace, source: Path, end: float) -> float:
    """Return the end of the last frame that decodes. Raises MediaRefused.

    The last seconds usually decode. If not, a longer part does, or the file is broken.
    """
    for back in (3.0, 30.0, 300.0):
        start = max(0.0, end - back)
        reached = [0.0]
        discard = ["-map", "0:V:0", "-vf", "scale=64:36", "-f", "null", "-"]
        arguments = [*ffmpeg.open_input(space, source, start=start), *discard]
        try:
            ffmpeg.render(arguments, space, limits=DECODING, on_progress=reached.append)
        except EngineFailed as failed:
            if failed.code != "ffmpeg":
                raise
        if max(reached) > 0:
            return min(end, start + max(reached))
        if start == 0:
            break
    raise _broken("The last minutes of the video cannot be decoded.")

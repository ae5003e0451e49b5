"""List the streams of a video and the times of its packets, with ffprobe or ffmpeg.

The container's own word is not enough: a broken upload claims more than it holds, and
a phone's frame rate varies. So each packet's time is read as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from media import binaries, ffmpeg
from media.errors import EngineFailed
from media.ffmpeg import Limits
from media.workspace import Workspace

LIMITS = Limits(wall_seconds=120, cpu_seconds=120)


@dataclass(frozen=True)
class Stream:
    """One stream as the container describes it. Unknown values are 0 or empty."""

    kind: str  # video, audio, subtitle, data, attachment
    codec: str
    cover: bool = False  # A still picture: album art, not a video.
    width: int = 0
    height: int = 0
    pixel_format: str = ""
    pixel_aspect: Fraction = Fraction(1)
    rotation: int = 0  # Degrees by which a player turns the picture, counter-clockwise.
    transfer: str = ""
    channels: int = 0
    sample_rate: int = 0


@dataclass(frozen=True)
class Packet:
    """A packet of the first picture stream, in seconds after the container's start."""

    begin: float
    end: float


@dataclass(frozen=True)
class Listing:
    duration: float  # The container's own word; 0 if it says none.
    streams: tuple[Stream, ...]
    packets: tuple[Packet, ...]
    said: str  # The tool's complaints.

    @property
    def picture(self) -> Stream | None:
        pictures = (s for s in self.streams if s.kind == "video" and not s.cover)
        return next(pictures, None)


def of(space: Workspace, source: Path, demuxer: str) -> Listing:
    """List a source. Raises EngineFailed `ffmpeg` where no demuxer understands it."""
    name = space.link(source)
    if binaries.find().ffprobe is None:
        return _by_ffmpeg(space, name, demuxer)
    return _by_ffprobe(space, name, demuxer)


# --- ffprobe ------------------------------------------------------------------------

_FIELDS = (
    "codec_type,codec_name,width,height,pix_fmt,sample_aspect_ratio,color_transfer,"
    "channels,sample_rate"
)


def _by_ffprobe(space: Workspace, name: str, demuxer: str) -> Listing:
    probe = binaries.find().ffprobe or ""
    base = [probe, "-v", "error", *ffmpeg.input_flags(demuxer)]
    # Only these: tags are texts of the file's maker, of any size.
    wanted = f"stream={_FIELDS}:stream_disposition=attached_pic"
    wanted += ":stream_side_data=rotation:format=duration,start_time"
    shape = ["-show_entries", wanted, "-of", "json", name]
    written, said = ffmpeg.capture([*base, *shape], space, limits=LIMITS)
    try:
        facts = json.loads(written)
    except ValueError as error:
        raise EngineFailed("ffprobe", "ffprobe wrote no JSON.", str(error)) from error
    streams = tuple(_stream(entry) for entry in facts.get("streams", []))
    began = _number(facts.get("format", {}).get("start_time"))
    packets: tuple[Packet, ...] = ()
    # A cover may come before the video, and V means a video stream that is no cover.
    if any(s.kind == "video" and not s.cover for s in streams):
        entries = "packet=pts_time,dts_time,duration_time"
        shape = [
            "-select_streams",
            "V:0",
            "-show_entries",
            entries,
            "-of",
            "csv=p=0",
            name,
        ]
        rows, _ = ffmpeg.capture([*base, *shape], space, limits=LIMITS)
        packets = tuple(_packets(rows.decode("ascii", "replace"), began))
    return Listing(
        _number(facts.get("format", {}).get("duration")), streams, packets, said
    )


def _stream(entry: dict[str, Any]) -> Stream:
    turns = [
        _number(data.get("rotation"))
        for data in entry.get("side_data_list", [])
        if "rotation" in data
    ]
    return Stream(
        kind=str(entry.get("codec_type", "data")),
        codec=str(entry.get("codec_name", "unknown")),
        cover=bool(entry.get("disposition", {}).get("attached_pic")),
        width=int(_number(entry.get("width"))),
        height=int(_number(entry.get("height"))),
        pixel_format=str(entry.get("pix_fmt", "")),
        pixel_aspect=_ratio(entry.get("sample_aspect_ratio")),
        rotation=round(turns[0]) % 360 if turns else 0,
        transfer=str(entry.get("color_transfer", "")),
        channels=int(_number(entry.get("channels"))),
        sample_rate=int(_number(entry.get("sample_rate"))),
    )


def _packets(rows: str, began: float) -> Iterator[Packet]:
    for row in rows.splitlines():
        cells = row.split(",")
        if len(cells) < 3:
            continue
        # AVI has no presentation times for some codecs; decoding times are near them.
        time = cells[0] if cells[0] != "N/A" else cells[1]
        try:
            begin = float(time) - began
        except ValueError:
            continue
        yield Packet(begin, begin + max(0.0, _number(cells[2])))


def _number(text: object) -> float:
    try:
        value = float(str(text))
    except ValueError:
        return 0.0
    return value if abs(value) < 1e12 else 0.0


def _ratio(text: object) -> Fraction:
    above, _, below = str(text or "").partition(":")
    if above.isdigit() and below.isdigit() and int(above) and int(below):
        return Fraction(int(above), int(below))
    return Fraction(1)


# --- ffmpeg alone -------------------------------------------------------------------

_STREAM = re.compile(
    r"^\s+Stream #0:\d+(?:\[\w+\])?(?:\([^)\n]*\))?: (\w+): (\w+)(.*)$"
)
_PICTURE = re.compile(r", (\w+)(?:\(([^)]*)\))?, (\d+)x(\d+)(?: \[SAR (\d+:\d+) )?")
_SOUND = re.compile(r", (\d+) Hz, ([^,]+)")
_LENGTH = re.compile(r"^\s+Duration: (\d+):(\d+):(\d+\.\d+)", re.MULTILINE)
_TURN = re.compile(r"^\s+display ?matrix: rotation of (-?\d+\.\d+) degrees", re.I)
_LAYOUTS = {"mono": 1, "stereo": 2, "2.1": 3, "quad": 4, "5.0": 5, "5.1": 6, "7.1": 8}


def _by_ffmpeg(space: Workspace, name: str, demuxer: str) -> Listing:
    """Read ffmpeg's own description, and packet times from its checksum format."""
    base = [
        binaries.find().ffmpeg,
        "-nostdin",
        "-hide_banner",
        *ffmpeg.input_flags(demuxer),
    ]
    _, said = ffmpeg.capture(
        [*base, "-i", name, "-f", "ffmetadata", "pipe:1"], space, limits=LIMITS
    )
    described = said.partition("Input #0,")[2].partition("\nOutput #0,")[0]
    streams = tuple(_described(described))
    packets: tuple[Packet, ...] = ()
    if any(s.kind == "video" and not s.cover for s in streams):
        copy = ["-map", "0:V:0", "-c", "copy", "-f", "framecrc", "pipe:1"]
        rows, _ = ffmpeg.capture([*base, "-i", name, *copy], space, limits=LIMITS)
        packets = tuple(_checksums(rows.decode("ascii", "replace")))
    length = _LENGTH.search(described)
    seconds = 0.0
    if length:
        hours, minutes, rest = length.groups()
        seconds = int(hours) * 3600 + int(minutes) * 60 + float(rest)
    return Listing(seconds, streams, packets, said)


def _described(text: str) -> Iterator[Stream]:
    lines = text.splitlines()
    for at, line in enumerate(lines):
        found = _STREAM.match(line)
        if not found:
            continue
        kind, codec, rest = found.group(1).lower(), found.group(2), found.group(3)
        if kind == "video" and (picture := _PICTURE.search(rest)):
            pixel_format, colours, width, height, aspect = picture.groups()
            turn = 0
            for below in lines[at + 1 :]:
                if _STREAM.match(below):
                    break
                if turned := _TURN.match(below):
                    turn = round(float(turned.group(1))) % 360
            yield Stream(
                kind=kind,
                codec=codec,
                cover="(attached pic)" in rest,
                width=int(width),
                height=int(height),
                pixel_format=pixel_format,
                pixel_aspect=_ratio(aspect),
                rotation=turn,
                transfer=_transfer(colours or ""),
            )
        elif kind == "audio" and (sound := _SOUND.search(rest)):
            layout = sound.group(2).partition("(")[0].strip()
            count = layout.partition(" channels")[0]
            channels = int(count) if count.isdigit() else _LAYOUTS.get(layout, 0)
            yield Stream(
                kind, codec, channels=channels, sample_rate=int(sound.group(1))
            )
        else:
            yield Stream(kind, codec)


def _transfer(colours: str) -> str:
    """Return the transfer from a text such as 'tv, bt2020nc/bt2020/smpte2084'."""
    triple = next((part for part in colours.split(", ") if part.count("/") == 2), "")
    return triple.rpartition("/")[2]


def _checksums(rows: str) -> Iterator[Packet]:
    base = Fraction(1)
    for row in rows.splitlines():
        if row.startswith("#tb 0:"):
            base = Fraction(row.partition(":")[2].strip())
        cells = [cell.strip() for cell in row.split(",")]
        if row.startswith("#") or len(cells) < 5:
            continue
        begin = float(int(cells[2]) * base)
        yield Packet(begin, begin + float(max(0, int(cells[3])) * base))

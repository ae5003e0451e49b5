"""Tell a container by its first bytes, before any demuxer sees the file."""

from __future__ import annotations

from pathlib import Path

# What people record and export: MP4, MOV, M4V and 3GP; MKV and WebM; AVI. The names are
# ffmpeg's demuxers. Demuxers that open further files (HLS, DASH, concat, image
# sequences) must never be added.
DEMUXERS = ("mov", "matroska", "avi")

_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_PLAYLISTS = (
    b"#extm3u",
    b"ffconcat",
    b"<mpd",
    b"<smil",
    b"[playlist",
    b"v=0\r",
    b"v=0\n",
)
_HEAD = 4096


def demuxer_of(path: Path) -> str | None:
    """Return the demuxer for this file, or None if it is in no accepted container."""
    head = _head(path)
    if head[4:8] in _BOXES:
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"):
        return "avi"
    return None


def is_playlist(path: Path) -> bool:
    """Return whether the file is a text that names other files or hosts."""
    head = _head(path).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(b"<?xml"):
        return b"<mpd" in head or b"<smil" in head
    return head.startswith(_PLAYLISTS)


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEAD)

"""Read the headers of a JPEG, PNG or WEBP file, and copy it without its metadata.

Nothing here decodes a pixel or unpacks a compressed chunk, so a decompression bomb
costs as much as its own bytes. Damage inside the pixels is the engine's to find.

The copy has the picture's own parts: pixels, palette, transparency, colour profile and
resolution. Places, names, comments, thumbnails, further pictures and everything behind
the end are left out. Only the orientation is written anew, because the picture would
lie on its side without it.
"""

import mmap
import os
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

# More pieces than any real file has. Each one costs a step here.
MOST_PIECES = 100_000


class UnreadablePhoto(Exception):
    """The file is no picture, or is damaged or cut short."""


class OtherFormat(Exception):
    """The file is a picture in a format that the product does not take."""


class Animated(Exception):
    """The file holds more than one frame."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's headers say. Width and height are as stored, before any turn."""

    content_type: str
    width: int
    height: int
    # Of EXIF, 1 to 8; 1 is upright.
    orientation: int
    lossless: bool


@dataclass(slots=True)
class _Found:
    """The parts of a file that its copy keeps, in order."""

    data: mmap.mmap
    parts: list[bytes | tuple[int, int]] = field(default_factory=list)
    pieces: int = 0
    width: int = 0
    height: int = 0
    orientation: int = 1
    lossless: bool = False

    def keep(self, start: int, end: int) -> None:
        self.parts.append((start, end))

    def count_piece(self) -> None:
        self.pieces += 1
        if self.pieces > MOST_PIECES:
            raise UnreadablePhoto("too many pieces")

    def set_size(self, width: int, height: int) -> None:
        if not width or not height:
            raise UnreadablePhoto("no size")
        self.width, self.height = width, height

    def read(self, start: int, length: int) -> bytes:
        """Return bytes of the file. Raises `UnreadablePhoto` beyond its end."""
        if start + length > len(self.data):
            raise UnreadablePhoto("cut short")
        return self.data[start : start + length]

    def number(self, form: str, start: int) -> int:
        """Return the number in the `struct` format `form` at `start`."""
        content = self.read(start, struct.calcsize(form))
        value: int = struct.unpack(form, content)[0]
        return value


def kind_of(begin: bytes) -> str | None:
    """Return the type of a file by its first 16 bytes or more.

    The type is one that `read` takes, `image/other` for a picture in another format, or
    None for anything else.
    """
    if begin.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if begin.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if begin[:4] == b"RIFF" and begin[8:12] == b"WEBP":
        return "image/webp"
    if begin.startswith(_OTHERS) or _is_heif(begin):
        return "image/other"
    return None


_OTHERS = (
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"8BPS",
    b"\0\0\1\0",
    b"\xff\x0a",
    b"\xff\x4f\xff\x51",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\0\0\0\x0cJXL \r\n\x87\n",
    b"<svg",
    b"gimp xcf",
)


def _is_heif(begin: bytes) -> bool:
    # The brands of HEIC and AVIF, which phones write.
    return begin[4:8] == b"ftyp" and begin[8:12] in (
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis",
    )  # fmt: skip


def read_header(source: BinaryIO) -> Header:
    """Check the headers of a file on disk, as `copy_without_metadata` does."""
    return copy_without_metadata(source, lambda part: None)


def copy_without_metadata(source: BinaryIO, write: Callable[[bytes], object]) -> Header:
    """Check the headers of `source`, a file on disk, and write its copy by `write`.

    The copy is no larger than its source, but for a byte of padding. Raises
    `UnreadablePhoto`, `OtherFormat` or `Animated`, and then writes nothing.
    """
    if not source.seek(0, os.SEEK_END):
        raise UnreadablePhoto("empty")
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
        content_type = kind_of(data[:32])
        if content_type == "image/other":
            raise OtherFormat
        if content_type is None:
            raise UnreadablePhoto("no picture")
        found = _Found(data)
        _READERS[content_type](found)
        for part in found.parts:
            write(part if isinstance(part, bytes) else data[slice(*part)])
    return Header(
        content_type, found.width, found.height, found.orientation, found.lossless
    )


# JPEG (ITU T.81): segments, and the coded pixels behind each start of scan.

_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, 0xD9
# Tables, restart interval, number of lines.
_KEPT_MARKERS = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD})
# In coded pixels, 0xFF is followed by 0 or belongs to a restart. Others are markers.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def _read_jpeg(found: _Found) -> None:
    found.parts.append(b"\xff\xd8")
    at, has_scan, has_end = 2, False, False
    head_end = 1  # Where the orientation goes: behind the JFIF segment.
    while (marker := _MARKER.search(found.data, at)) is not None:
        found.count_piece()
        code, at = found.data[marker.start() + 1], marker.end()
        if code == _END:
            found.parts.append(b"\xff\xd9")
            has_end = True
            break
        if code in (0x01, 0xD8):
            continue  # They stand alone and mean nothing here.
        length = found.number(">H", at)
        body, end = at + 2, at + length
        if length < 2 or end > len(found.data):
            raise UnreadablePhoto("a segment is cut short")
        if code in _SIZES:
            if found.width:
                raise UnreadablePhoto("two frames")
            height, width = found.number(">H", body + 1), found.number(">H", body + 3)
            found.set_size(width, height)
        if code in _SIZES or code in _KEPT_MARKERS:
            found.keep(marker.start(), end)
        elif code == _SCAN:
            if not found.width:
                raise UnreadablePhoto("pixels without a size")
            has_scan = True
            following = _MARKER.search(found.data, end)
            scan_end = len(found.data) if following is None else following.start()
            found.keep(marker.start(), scan_end)
            end = scan_end
        elif (part := _kept_segment(found, code, body, end)) is not None:
            found.parts.append(part)
            if code == 0xE0:
                head_end = len(found.parts)
        at = end
    if not (has_scan and has_end):
        raise UnreadablePhoto("cut short")
    if found.orientation != 1:
        exif = b"Exif\0\0" + _exif(found.orientation)
        segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
        found.parts.insert(head_end, segment)


def _kept_segment(found: _Found, code: int, body: int, end: int) -> bytes | None:
    """Return what the copy keeps of an application's segment, or None.

    Reads the orientation of EXIF on the way.
    """
    content = found.data[body:end]
    if code == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 14:
        # Version, unit and resolution; the thumbnail that may follow is left out.
        return b"\xff\xe0\0\x10" + content[:12] + b"\0\0"
    if code == 0xE1 and content.startswith(b"Exif\0\0"):
        found.orientation = _orientation(content[6:])
    if code == 0xE2 and content.startswith(b"ICC_PROFILE\0"):
        return found.data[body - 4 : end]
    if code == 0xEE and content.startswith(b"Adobe") and len(content) >= 12:
        # It says how the colours are coded.
        return b"\xff\xee\0\x0e" + content[:12]
    return None


# PNG: chunks.

_KEPT_CHUNKS = frozenset(
    b"PLTE IDAT tRNS gAMA cHRM sRGB iCCP cICP sBIT bKGD pHYs".split()
)

_CHECKED_CHUNKS = _KEPT_CHUNKS | {b"IHDR"}


def _read_png(found: _Found) -> None:
    found.keep(0, 8)
    found.lossless = True
    at, has_pixels = 8, False
    while True:
        found.count_piece()
        length, name = found.number(">I", at), found.read(at + 4, 4)
        body, end = at + 8, at + 12 + length
        if end > len(found.data) or not (name.isalpha() and name.isascii()):
            raise UnreadablePhoto("a chunk is cut short")
        # Decoders read on after damage, and show what never was in the photo.
        check = zlib.crc32(found.data[at + 4 : end - 4])
        if name in _CHECKED_CHUNKS and check != found.number(">I", end - 4):
            raise UnreadablePhoto("a chunk is damaged")
        if (name == b"IHDR") != (at == 8) or (name == b"IHDR" and length != 13):
            raise UnreadablePhoto("the header is not first and once")
        if name == b"IHDR":
            found.set_size(found.number(">I", body), found.number(">I", body + 4))
            found.keep(at, end)
        elif name in _KEPT_CHUNKS:
            has_pixels |= name == b"IDAT"
            found.keep(at, end)
        elif name == b"acTL" and length >= 4 and found.number(">I", body) > 1:
            raise Animated
        elif name == b"eXIf":
            found.orientation = _orientation(found.data[body : end - 4])
        elif name == b"IEND":
            break
        elif name[:1].isupper():
            raise UnreadablePhoto("an unknown chunk that is needed")
        at = end
    if not has_pixels:
        raise UnreadablePhoto("no pixels")
    if found.orientation != 1:
        # It must precede the pixels, for readers that read no further.
        found.parts.insert(2, _png_chunk(b"eXIf", _exif(found.orientation)))
    found.parts.append(_png_chunk(b"IEND", b""))


def _png_chunk(name: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + check


# WEBP: a RIFF file with one picture, or VP8X and the parts that it names.

_PROFILE, _ALPHA, _EXIF_FLAG, _ANIMATION = 0x20, 0x10, 0x08, 0x02


def _read_webp(found: _Found) -> None:
    at, end = 12, 8 + found.number("<I", 4)
    if end > len(found.data):
        raise UnreadablePhoto("cut short")
    # The first chunk of each name, as its place and its length.
    chunks: dict[bytes, tuple[int, int]] = {}
    first = found.read(at, 4)
    while at + 8 <= end:
        found.count_piece()
        name, length = found.read(at, 4), found.number("<I", at + 4)
        if at + 8 + length > end:
            raise UnreadablePhoto("a chunk is cut short")
        chunks.setdefault(name, (at + 8, length))
        at += 8 + length + length % 2
    extended = first == b"VP8X" and chunks[first][1] == 10
    if b"ANMF" in chunks or b"ANIM" in chunks:
        raise Animated
    pixels = next((it for it in (b"VP8 ", b"VP8L") if it in chunks), None)
    if pixels is None or not (extended or first == pixels):
        raise UnreadablePhoto("no picture")
    _read_webp_size(found, pixels, chunks[pixels][0])
    kept: list[bytes] = [pixels]
    if extended:
        kept = [it for it in (b"ICCP", b"ALPH") if it in chunks] + kept
        found.parts.append(_extended_header(found, chunks))
    found.parts += [_webp_chunk(it, found.read(*chunks[it])) for it in kept]
    if extended and found.orientation != 1:
        found.parts.append(_webp_chunk(b"EXIF", _exif(found.orientation)))
    size = 4 + sum(len(part) for part in found.parts if isinstance(part, bytes))
    found.parts.insert(0, b"RIFF" + struct.pack("<I", size) + b"WEBP")


def _read_webp_size(found: _Found, name: bytes, body: int) -> None:
    if name == b"VP8L":
        found.lossless = True
        if found.read(body, 1) != b"\x2f":
            raise UnreadablePhoto("no lossless picture")
        bits = found.number("<I", body + 1)
        found.set_size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        return
    if found.read(body + 3, 3) != b"\x9d\x01\x2a":
        raise UnreadablePhoto("no key frame")
    width, height = found.number("<H", body + 6), found.number("<H", body + 8)
    found.set_size(width & 0x3FFF, height & 0x3FFF)


def _extended_header(found: _Found, chunks: dict[bytes, tuple[int, int]]) -> bytes:
    """Return the VP8X chunk of the copy. Reads the orientation of EXIF on the way."""
    body = found.read(*chunks[b"VP8X"])
    if body[0] & _ANIMATION:
        raise Animated
    canvas = (
        int.from_bytes(body[4:7], "little") + 1,
        int.from_bytes(body[7:10], "little") + 1,
    )
    if canvas != (found.width, found.height):
        # A still picture fills its canvas.
        raise UnreadablePhoto("two sizes")
    if b"EXIF" in chunks:
        exif = found.read(*chunks[b"EXIF"])
        found.orientation = _orientation(exif.removeprefix(b"Exif\0\0"))
    flags = body[0] & (_PROFILE | _ALPHA)
    if found.orientation != 1:
        flags |= _EXIF_FLAG
    return _webp_chunk(b"VP8X", bytes([flags]) + body[1:])


def _webp_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


# EXIF (TIFF 6): the orientation is tag 0x0112 of the first directory.

_ORIENTATION, _SHORT, _LONG = 0x0112, 3, 4
_MOST_TAGS = 1000


def _orientation(tiff: bytes) -> int:
    """Return the orientation, or 1 if there is none that can be read.

    A photo with broken EXIF is a photo all the same: viewers show it unturned.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, _MOST_TAGS), 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, entry)
            if tag == _ORIENTATION and kind in (_SHORT, _LONG):
                form = order + ("H" if kind == _SHORT else "I")
                (value,) = struct.unpack_from(form, tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _exif(orientation: int) -> bytes:
    """Return EXIF that holds nothing but the orientation."""
    entry = struct.pack(">HHIHH", _ORIENTATION, _SHORT, 1, orientation, 0)
    return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)


_READERS: dict[str, Callable[[_Found], None]] = {
    "image/jpeg": _read_jpeg,
    "image/png": _read_png,
    "image/webp": _read_webp,
}

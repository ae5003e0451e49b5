"""Headers of photos and copies without metadata; the engine's tests decode them."""

import random
import struct
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest

from jobs.hosted.restorations import photo_files
from jobs.hosted.restorations.photo_files import (
    Animated,
    Header,
    OtherFormat,
    UnreadablePhoto,
    copy_without_metadata,
)
from tests.restorations import PLACE, chunk, jpeg, png, riff, segment, tiff, webp


@pytest.fixture
def copied(tmp_path: Path):
    def copies(content: bytes) -> tuple[Header, bytes]:
        path, written = tmp_path / "photo", BytesIO()
        path.write_bytes(content)
        with path.open("rb") as source:
            header = copy_without_metadata(source, written.write)
        return header, written.getvalue()

    return copies


def vp8x(flags: int, *chunks: bytes) -> bytes:
    sides = (499).to_bytes(3, "little") + (599).to_bytes(3, "little")
    return riff(piece(b"VP8X", bytes([flags, 0, 0, 0]) + sides), *chunks)


def piece(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


PIXELS = webp()[12:]
LOSSY = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 500, 600) + b"pixels"
JFIF = b"JFIF\0\1\2\1\0\x48\0\x48"
ICC = b"ICC_PROFILE\0\1\1profile"
ADOBE = b"Adobe\0\x64\0\0\0\0\1"


@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        (png(), Header("image/png", 500, 600, 1, lossless=True)),
        (jpeg(), Header("image/jpeg", 500, 600, 1, lossless=False)),
        (webp(), Header("image/webp", 500, 600, 1, lossless=True)),
        (
            riff(piece(b"VP8 ", LOSSY)),
            Header("image/webp", 500, 600, 1, lossless=False),
        ),
        (vp8x(0, PIXELS), Header("image/webp", 500, 600, 1, lossless=True)),
    ],
    ids=["png", "jpeg", "lossless webp", "lossy webp", "extended webp"],
)
def test_a_plain_photo_is_copied_as_it_is(
    copied, photo: bytes, expected: Header
) -> None:
    assert copied(photo) == (expected, photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_alone_stays_of_exif(copied, orientation: int) -> None:
    exif = tiff(orientation)
    photos = [
        png(500, 600, chunk(b"eXIf", exif)),
        jpeg(500, 600, segment(0xE1, b"Exif\0\0" + exif)),
        vp8x(8, PIXELS, piece(b"EXIF", exif)),
        vp8x(8, PIXELS, piece(b"EXIF", b"Exif\0\0" + exif)),
    ]
    for photo in photos:
        header, copy = copied(photo)
        assert header.orientation == orientation
        assert PLACE in photo
        assert PLACE not in copy
        assert (b"MM\0*" in copy) == (orientation != 1)
        assert len(copy) <= len(photo)
        # The copy says the same, and a copy of it is the same.
        assert copied(copy) == (header, copy)


def test_little_endian_exif_and_a_long_orientation(copied) -> None:
    for order, form, kind in (("<", "H", 3), (">", "I", 4), ("<", "I", 4)):
        mark = b"II*\0" if order == "<" else b"MM\0*"
        value = struct.pack(order + form, 8).ljust(4, b"\0")
        exif = mark + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + value
        assert copied(png(500, 600, chunk(b"eXIf", exif)))[0].orientation == 8


def test_broken_exif_means_upright(copied) -> None:
    for exif in (
        b"",
        b"MM",
        b"MM\0*",
        b"MM\0*\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        tiff(0),
        tiff(9),
        tiff(65535),
        b"nonsense" * 10,
    ):
        header, copy = copied(png(500, 600, chunk(b"eXIf", exif)))
        assert header.orientation == 1
        assert copy == png()


def test_what_a_jpeg_needs_stays_and_the_rest_goes(copied) -> None:
    thumbnail = b"\1\1" + b"\xff\xd8\xff"
    photo = jpeg(
        500,
        600,
        segment(0xE0, JFIF + thumbnail),
        segment(0xE0, b"JFXX\0\x10" + PLACE),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PLACE),
        segment(0xE2, ICC),
        segment(0xE2, b"MPF\0" + PLACE),
        segment(0xED, b"Photoshop 3.0\0" + PLACE),
        segment(0xEE, ADOBE + PLACE),
        segment(0xEF, PLACE),
        segment(0xFE, PLACE),
        segment(0xDB, b"\0" + b"\1" * 64),
    )
    _, copy = copied(photo + b"<script>" + PLACE)
    assert copy == jpeg(
        500,
        600,
        segment(0xE0, JFIF + b"\0\0"),
        segment(0xE2, ICC),
        segment(0xEE, ADOBE),
        segment(0xDB, b"\0" + b"\1" * 64),
    )


def test_the_orientation_of_a_jpeg_is_behind_its_jfif_segment(copied) -> None:
    exif = segment(0xE1, b"Exif\0\0" + tiff(6))
    _, copy = copied(jpeg(500, 600, segment(0xE0, JFIF + b"\0\0"), exif))
    assert copy[2:6] == b"\xff\xe0\0\x10"
    assert copy[20:24] == b"\xff\xe1\0\x22"


def test_a_second_scan_and_what_is_between_stay_apart(copied) -> None:
    table = segment(0xC4, b"\0" * 17)
    scan = segment(0xDA, b"\1\1\0\0\x3f\0") + b"more \xff\0 pixels"
    hidden = segment(0xFE, PLACE)
    photo = jpeg()[:-2] + hidden + table + scan + b"\xff\xd9"
    assert copied(photo)[1] == jpeg()[:-2] + table + scan + b"\xff\xd9"


def test_what_a_png_needs_stays_and_the_rest_goes(copied) -> None:
    needed = [
        chunk(b"gAMA", b"\0\0\xb1\x8f"),
        chunk(b"iCCP", b"name\0\0packed"),
        chunk(b"tRNS", b"\0\1"),
    ]
    other = [
        chunk(b"tEXt", b"Place\0" + PLACE),
        chunk(b"zTXt", b"Place\0\0" + PLACE),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0" + PLACE),
        chunk(b"tIME", b"\x07\xe0\1\1\1\1\1"),
        chunk(b"prVt", PLACE),
        chunk(b"acTL", struct.pack(">II", 1, 0)),
        chunk(b"fcTL", PLACE),
    ]
    _, copy = copied(png(500, 600, *other, *needed, *other) + b"<script>" + PLACE)
    assert copy == png(500, 600, *needed)


def test_what_a_webp_needs_stays_and_the_rest_goes(copied) -> None:
    photo = vp8x(
        0x3C,
        piece(b"ICCP", b"profile"),
        piece(b"ALPH", b"alpha"),
        piece(b"VP8 ", LOSSY),
        piece(b"EXIF", tiff(1)),
        piece(b"XMP ", PLACE),
        piece(b"ABCD", PLACE),
    )
    _, copy = copied(photo + PLACE)
    assert copy == vp8x(
        0x30,
        piece(b"ICCP", b"profile"),
        piece(b"ALPH", b"alpha"),
        piece(b"VP8 ", LOSSY),
    )


def test_more_pieces_than_any_photo_has_are_refused(copied) -> None:
    with pytest.raises(UnreadablePhoto):
        copied(jpeg(500, 600, *[segment(0xFE, b"")] * (photo_files.MOST_PIECES + 1)))


def test_an_unknown_chunk_that_a_png_needs_is_refused(copied) -> None:
    for name in (b"CgBI", b"ABCD"):
        with pytest.raises(UnreadablePhoto):
            copied(png(500, 600, chunk(name, b"")))


@pytest.mark.parametrize("flags", [0, 2])
def test_an_animated_webp_is_refused(copied, flags: int) -> None:
    frame = piece(b"ANMF", b"\0" * 16)
    with pytest.raises(Animated):
        copied(vp8x(flags, *([] if flags else [frame]), PIXELS))


KINDS = {
    "jpeg": jpeg(
        500,
        600,
        segment(0xE0, JFIF + b"\0\0"),
        segment(0xE1, b"Exif\0\0" + tiff(6)),
        segment(0xE2, ICC),
    ),
    "png": png(500, 600, chunk(b"eXIf", tiff(6)), chunk(b"tEXt", b"a\0b")),
    "webp": vp8x(8, PIXELS, piece(b"EXIF", tiff(6)), piece(b"XMP ", b"xmp")),
}


@pytest.mark.parametrize("photo", KINDS.values(), ids=KINDS)
def test_a_file_with_any_damage_is_copied_cleanly_or_refused(
    copied, photo: bytes
) -> None:
    refused = 0
    for seed in range(1500):
        chance = random.Random(seed)
        broken = bytearray(photo[:4000])
        for _ in range(chance.choice([1, 2, 8])):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        if chance.random() < 0.3:
            del broken[chance.randrange(len(broken)) :]
        try:
            header, copy = copied(bytes(broken))
        except (UnreadablePhoto, OtherFormat, Animated):
            refused += 1
            continue
        # One byte of padding is all that a copy may add.
        assert len(copy) <= len(broken) + 1
        assert copied(copy) == (header, copy)
    assert 0 < refused < 1500


def test_random_bytes_behind_each_signature_are_refused_or_copied(copied) -> None:
    signatures = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xf0\0\0\0WEBP", b"")
    for seed in range(1500):
        chance = random.Random(seed)
        content = chance.choice(signatures) + chance.randbytes(chance.randrange(400))
        if content:
            with suppress(UnreadablePhoto, OtherFormat, Animated):
                copied(content)

"""Hostile and unusual images are right or clearly refused; metadata never survives."""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from media.errors import MediaRefused
from media.photos.files import UPRIGHT, Photo, open_photo
from media.photos.restore import Options, preview_file, restore_file
from media.tests import hostile
from media.tests.hostile import PLACE, SCRIPT, photo, saved

TRUTH = np.asarray(photo())


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[bytes], Photo]:
    def open_bytes(content: bytes) -> Photo:
        (tmp_path / "upload").write_bytes(content)
        return open_photo(tmp_path / "upload")

    return open_bytes


def differs(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


# --- refused -----------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "PNG bomb of 900 megapixels": (
        lambda: hostile.png_bomb(30000, 30000),
        "too_many_pixels",
    ),
    "PNG of 41 megapixels": (lambda: hostile.png_bomb(8200, 5000), "too_many_pixels"),
    "JPEG header of 4 gigapixels": (hostile.jpeg_bomb, "too_many_pixels"),
    "comment that unpacks to 200 MB": (hostile.text_bomb, "broken_photo"),
    "truncated JPEG": (lambda: saved("JPEG", quality=95)[:900], "broken_photo"),
    "truncated PNG": (lambda: saved("PNG")[:-200], "broken_photo"),
    "truncated WEBP": (lambda: saved("WEBP")[:200], "broken_photo"),
    "PNG without pixels": (
        lambda: hostile.PNG + saved("PNG")[8:33] + hostile.chunk(b"IEND", b""),
        "broken_photo",
    ),
    "PNG with an unknown critical chunk": (
        lambda: saved("PNG").replace(b"IDAT", b"IDAU"),
        "not_a_photo",
    ),
    "PNG with pixels that are no zlib stream": (
        lambda: (
            hostile.PNG
            + saved("PNG")[8:33]
            + hostile.chunk(b"IDAT", b"\xff" * 300)
            + hostile.chunk(b"IEND", b"")
        ),
        "broken_photo",
    ),
    "animated WEBP": (lambda: hostile.animated("WEBP"), "animated"),
    "animated PNG": (lambda: hostile.animated("PNG"), "animated"),
    "GIF": (lambda: hostile.animated("GIF"), "not_a_photo"),
    "BMP": (lambda: saved("BMP"), "not_a_photo"),
    "TIFF": (lambda: saved("TIFF"), "not_a_photo"),
    "JPEG 2000": (lambda: saved("JPEG2000"), "not_a_photo"),
    "PDF": (lambda: saved("PDF"), "not_a_photo"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", "not_a_photo"),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_a_photo"),
    "HTML before a JPEG": (lambda: SCRIPT + saved("JPEG"), "not_a_photo"),
    "HEIC": (lambda: b"\0\0\0\x18ftypheic" + b"\0" * 64, "not_a_photo"),
    "an empty file": (lambda: b"", "not_a_photo"),
    "one byte": (lambda: b"\xff", "not_a_photo"),
    "only a JPEG's first bytes": (lambda: b"\xff\xd8\xff\xe0", "not_a_photo"),
    "63 pixels wide": (lambda: saved("PNG", (63, 500)), "too_small"),
    "30001 pixels wide": (lambda: saved("PNG", (30001, 64)), "too_long"),
    "more than 10 MB": (
        lambda: saved("PNG") + b"\0" * (10 * 1024 * 1024),
        "too_many_bytes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_file_is_refused(name: str, opened: Callable[[bytes], Photo]) -> None:
    build, code = REFUSED[name]
    with pytest.raises(MediaRefused) as refusal:
        opened(build())
    assert refusal.value.code == code
    assert refusal.value.sentence.endswith(".")
    assert refusal.value.change.endswith(".")


@pytest.mark.parametrize("name", [n for n in REFUSED if "bomb" in n or "MB" in n])
def test_refusing_a_bomb_takes_little_memory(name: str, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(REFUSED[name][0]())
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from media.errors import MediaRefused\n"
        "from media.photos.files import open_photo\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "try:\n"
        "    open_photo(Path(sys.argv[1]))\n"
        "except MediaRefused:\n"
        "    print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "upload"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert int(done.stdout) < 100 * 1024, done.stderr  # KiB


def test_every_truncation_is_a_photo_or_a_refusal(
    opened: Callable[[bytes], Photo],
) -> None:
    outcomes: set[object] = set()
    for whole in (saved("JPEG"), saved("PNG"), saved("WEBP"), hostile.located("JPEG")):
        for end in range(0, len(whole), max(1, len(whole) // 40)):
            try:
                outcomes.add(opened(whole[:end]).pixels.shape)
            except MediaRefused as refusal:
                outcomes.add(refusal.code)
    assert outcomes <= {TRUTH.shape, "broken_photo", "not_a_photo"}
    assert "broken_photo" in outcomes


def test_random_damage_is_a_photo_or_a_refusal(
    opened: Callable[[bytes], Photo],
) -> None:
    random = np.random.default_rng(5)
    outcomes = set()
    for whole in (saved("JPEG"), saved("PNG"), saved("WEBP"), hostile.located("PNG")):
        for _ in range(60):
            harmed = bytearray(whole)
            for at in random.integers(0, len(whole), 6):
                harmed[at] = random.integers(0, 256)
            try:
                opened(bytes(harmed))
                outcomes.add("photo")
            except MediaRefused as refusal:
                outcomes.add(refusal.code)
    assert {"photo", "broken_photo"} <= outcomes


def test_memory_that_runs_out_is_not_the_photos_fault(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 6000)).save(tmp_path / "upload", "PNG")
    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (held + (40 << 20), before[1]))
    try:
        with pytest.raises(MemoryError):
            open_photo(tmp_path / "upload")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# --- accepted ----------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_the_content_decides_the_format(tmp_path: Path, format_: str) -> None:
    for name in ("photo.gif", "photo.jpg", "photo.php", "photo"):
        (tmp_path / name).write_bytes(saved(format_))
        found = open_photo(tmp_path / name)
        assert found.source_format == format_
        assert differs(found.pixels, TRUTH) < 4


@pytest.mark.parametrize("orientation", range(10))
def test_a_turned_photo_is_made_upright(
    opened: Callable[[bytes], Photo], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = opened(saved("PNG", exif=exif.tobytes()))
    expected = photo()
    if orientation in UPRIGHT:
        expected = expected.transpose(UPRIGHT[orientation])
    assert np.array_equal(found.pixels, np.asarray(expected))
    assert found.turned == (orientation in range(2, 9))
    assert (found.width, found.height) == (200, 120)


def test_orientation_six_turns_clockwise(opened: Callable[[bytes], Photo]) -> None:
    """The camera's left side was up: row 0 of the file is the photo's right side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    found = opened(saved("PNG", exif=exif.tobytes()))
    assert np.array_equal(found.pixels[:, -1], TRUTH[0])


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\xff" * 500]
)
def test_broken_exif_costs_nothing(
    opened: Callable[[bytes], Photo], exif: bytes
) -> None:
    found = opened(saved("JPEG", exif=exif, quality=95))
    assert differs(found.pixels, TRUTH) < 2
    assert not found.turned


def test_cmyk(opened: Callable[[bytes], Photo]) -> None:
    found = opened(saved("JPEG", mode="CMYK", quality=95))
    assert differs(found.pixels, TRUTH) < 3


def test_sixteen_bit_grey(opened: Callable[[bytes], Photo]) -> None:
    grey = np.asarray(photo().convert("L"))
    stream = io.BytesIO()
    Image.fromarray(grey.astype(np.uint16) * 257).save(stream, "PNG")
    found = opened(stream.getvalue())
    assert np.array_equal(found.pixels, np.dstack([grey] * 3))


def test_dark_sixteen_bit_grey_stays_dark(opened: Callable[[bytes], Photo]) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((80, 80), 200, np.uint16)).save(stream, "PNG")
    assert opened(stream.getvalue()).pixels.max() <= 1


def test_sixteen_bit_colour(opened: Callable[[bytes], Photo]) -> None:
    height, width = TRUTH.shape[:2]
    wide = (TRUTH.astype(">u2") * 257).reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    found = opened(
        hostile.PNG
        + hostile.chunk(b"IHDR", header)
        + hostile.chunk(b"IDAT", zlib.compress(rows))
        + hostile.chunk(b"IEND", b"")
    )
    assert np.array_equal(found.pixels, TRUTH)


def test_one_bit(opened: Callable[[bytes], Photo]) -> None:
    found = opened(saved("PNG", mode="1"))
    assert set(np.unique(found.pixels)) == {0, 255}
    expected = np.asarray(photo().convert("1").convert("RGB"))
    assert np.array_equal(found.pixels, expected)


def test_grey_and_palette(opened: Callable[[bytes], Photo]) -> None:
    grey = np.asarray(photo().convert("L"))
    assert np.array_equal(opened(saved("PNG", mode="L")).pixels, np.dstack([grey] * 3))
    assert differs(opened(saved("PNG", mode="P")).pixels, TRUTH) < 20


@pytest.mark.parametrize(
    ("format_", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA")]
)
def test_what_is_transparent_becomes_white(
    opened: Callable[[bytes], Photo], format_: str, mode: str
) -> None:
    image = photo().convert(mode)
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 100, 120))
    image.putalpha(alpha)
    stream = io.BytesIO()
    image.save(stream, format_, **({"lossless": True} if format_ == "WEBP" else {}))
    found = opened(stream.getvalue())
    assert found.had_alpha
    assert (found.pixels[:, :100] == 255).all()
    right = np.asarray(photo().convert("L" if mode == "LA" else "RGB").convert("RGB"))
    assert np.array_equal(found.pixels[:, 100:], right[:, 100:])


def test_a_transparent_palette_colour_becomes_white(
    opened: Callable[[bytes], Photo],
) -> None:
    image = Image.new("P", (80, 80), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (40, 0, 80, 80))
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=0)
    found = opened(stream.getvalue())
    assert tuple(found.pixels[0, 0]) == (255, 255, 255)
    assert tuple(found.pixels[0, 79]) == (200, 100, 50)


def test_a_phones_second_picture_is_no_animation(
    opened: Callable[[bytes], Photo],
) -> None:
    found = opened(hostile.phone_photo())
    assert found.source_format == "JPEG"
    assert differs(found.pixels, TRUTH) < 4


def test_a_colour_profile_is_applied(opened: Callable[[bytes], Photo]) -> None:
    found = opened(saved("PNG", icc_profile=hostile.swapped_profile()))
    assert found.profile == "converted"
    assert differs(found.pixels, TRUTH[..., [1, 0, 2]]) < 2.5


def test_a_transparent_photo_with_a_profile(opened: Callable[[bytes], Photo]) -> None:
    image = photo()
    image.putalpha(Image.new("L", image.size, 255))
    stream = io.BytesIO()
    image.save(stream, "PNG", icc_profile=hostile.swapped_profile())
    found = opened(stream.getvalue())
    assert (found.profile, found.had_alpha) == ("converted", True)
    assert differs(found.pixels, TRUTH[..., [1, 0, 2]]) < 2.5


def test_the_profile_srgb_changes_no_pixel(opened: Callable[[bytes], Photo]) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = opened(saved("PNG", icc_profile=srgb))
    assert found.profile == "srgb"
    assert np.array_equal(found.pixels, TRUTH)


@pytest.mark.parametrize("profile", [b"x", b"\0" * 200, b"acsp" * 1000])
def test_a_broken_profile_costs_nothing(
    opened: Callable[[bytes], Photo], profile: bytes
) -> None:
    found = opened(saved("PNG", icc_profile=profile))
    assert found.profile == "unreadable"
    assert np.array_equal(found.pixels, TRUTH)


def test_a_profile_of_another_colour_space_costs_nothing(
    opened: Callable[[bytes], Photo],
) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    found = opened(saved("PNG", icc_profile=lab))
    assert found.profile == "unreadable"
    assert np.array_equal(found.pixels, TRUTH)


# --- nothing but pixels comes out --------------------------------------------------


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_no_output_says_where_the_photo_was_taken(
    tmp_path: Path, format_: str, suffix: str
) -> None:
    upload = hostile.located(format_, orientation=6)
    assert PLACE in upload
    (tmp_path / "in").write_bytes(upload)
    full, preview = tmp_path / f"full{suffix}", tmp_path / "preview.jpg"
    answer = restore_file(tmp_path / "in", full, preview, Options())
    preview_file(tmp_path / "in", tmp_path / "alone.jpg")
    assert answer["source"]["had_metadata"]
    assert answer["source"]["turned_upright"]
    for path in (full, preview, tmp_path / "alone.jpg"):
        content = path.read_bytes()
        for secret in (PLACE, b"Secret", b"Exif", b"xmp", b"GPS"):
            assert secret not in content
        with Image.open(path) as made:
            assert not made.getexif()
            assert not set(made.info) & {"exif", "xmp", "comment", "icc_profile"}
            assert made.height > made.width


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_what_a_polyglot_hides_is_gone(tmp_path: Path, format_: str) -> None:
    zip_ = b"PK\x03\x04" + b"\0" * 26 + SCRIPT
    (tmp_path / "in").write_bytes(saved(format_) + zip_)
    full, preview = tmp_path / "full.png", tmp_path / "preview.jpg"
    restore_file(tmp_path / "in", full, preview, Options())
    for path in (full, preview):
        assert b"PK\x03\x04" not in path.read_bytes()
        assert b"script" not in path.read_bytes()

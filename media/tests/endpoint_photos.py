"""Make photos for the tests of reviv's endpoints, and look at what came of them.

    python -m media.tests.endpoint_photos make FOLDER
    python -m media.tests.endpoint_photos look FOLDER

`make` writes one file a case, named by its case. `look` reads each case's `full`,
`preview` and `original`, and prints what they are as JSON.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from media.tests import hostile

SIZE = (640, 520)
_saved = hostile.saved


def saved(
    format_: str, size: tuple[int, int] = SIZE, mode: str = "RGB", **options: Any
) -> bytes:
    """As `hostile.saved`, large enough for reviv."""
    return _saved(format_, SIZE if size == (200, 120) else size, mode, **options)


def deep() -> Image.Image:
    grey = np.linspace(0, 65535, SIZE[0] * SIZE[1]).reshape(SIZE[::-1])
    return Image.fromarray(grey.astype(np.uint16))


def in_memory(image: Image.Image, format_: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def lying_png() -> bytes:
    """Return a PNG that promises more rows than it has."""
    good = bytearray(saved("PNG"))
    header = good[16:29]
    header[4:8] = (2000).to_bytes(4, "big")
    return bytes(good[:8]) + hostile.chunk(b"IHDR", bytes(header)) + bytes(good[33:])


def photos() -> dict[str, bytes]:
    script = hostile.SCRIPT
    good: dict[str, bytes] = {
        "jpeg": saved("JPEG"),
        "jpeg, progressive": saved("JPEG", progressive=True),
        "jpeg, CMYK": saved("JPEG", mode="CMYK"),
        "jpeg, grey": saved("JPEG", mode="L"),
        "jpeg, a phone's": in_memory(
            hostile.photo(SIZE),
            "MPO",
            save_all=True,
            append_images=[hostile.photo((100, 60))],
        ),
        "jpeg, polyglot": saved("JPEG") + script,
        "jpeg, script in its comment": saved("JPEG", comment=script),
        "png": saved("PNG"),
        "png, one bit": saved("PNG", mode="1"),
        "png, palette": saved("PNG", mode="P"),
        "png, sixteen bits": in_memory(deep(), "PNG"),
        "png, transparent": saved("PNG", mode="RGBA"),
        "png, grey and transparent": saved("PNG", mode="LA"),
        "png, polyglot": saved("PNG") + script,
        "png, text bomb": hostile.text_bomb(),
        "webp": saved("WEBP"),
        "webp, lossless": saved("WEBP", lossless=True),
        "webp, transparent": saved("WEBP", mode="RGBA"),
        "webp, polyglot": saved("WEBP") + script,
    }
    for format_ in ("JPEG", "PNG", "WEBP"):
        profile = hostile.swapped_profile()
        good[f"{format_.lower()}, profile"] = saved(format_, icc_profile=profile)
        for turn in (1, 6):
            name = f"{format_.lower()}, with its place, orientation {turn}"
            good[name] = hostile.located(format_, turn)
    # The server cannot see these: their pixels are damaged. The engine refuses them, or
    # shows missing rows as black, as browsers do.
    damaged = {
        "either: png, rows missing": lying_png(),
        "either: png, 16 rows of 40 megapixels": hostile.png_bomb(8000, 16)[:8]
        + hostile.chunk(
            b"IHDR",
            (8000).to_bytes(4, "big") + (5000).to_bytes(4, "big") + b"\x08" + b"\0" * 4,
        )
        + hostile.png_bomb(8000, 16)[33:],
        "refused: webp, damaged": saved("WEBP")[:40]
        + b"\xff" * (len(saved("WEBP")) - 40),
        "refused: longer than the engine takes": hostile.png_bomb(31_000, 500),
    }
    return good | damaged


def make(folder: Path) -> None:
    hostile.saved = saved
    for name, content in photos().items():
        (folder / name).write_bytes(content)
    from skimage import data

    astronaut = np.asarray(Image.fromarray(data.astronaut())).astype(float)
    noise = np.random.default_rng(1).normal(0, 18, astronaut.shape)
    noisy = Image.fromarray((astronaut + noise).clip(0, 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x010F] = "Secret Camera"
    exif.get_ifd(0x8825)[27] = hostile.PLACE
    noisy.save(folder / "astronaut", "JPEG", quality=92, exif=exif.tobytes())
    clean = Image.fromarray(data.astronaut())
    clean.save(folder / "the astronaut without noise", "PNG")


def pixels(image: Image.Image, size: tuple[int, int]) -> Any:
    return np.asarray(image.convert("RGB").resize(size)).astype(float)


def look(folder: Path) -> None:
    seen: dict[str, Any] = {}
    for case in sorted({path.stem for path in folder.glob("*.full")}):
        with (
            Image.open(folder / f"{case}.full") as full,
            Image.open(folder / f"{case}.preview") as preview,
            Image.open(folder / f"{case}.original") as original,
        ):
            upright = original.size
            if original.getexif().get(0x0112, 1) >= 5:
                upright = upright[1], upright[0]
            difference = np.abs(
                pixels(full, preview.size) - pixels(preview, preview.size)
            )
            seen[case] = {
                "formats": [full.format, preview.format],
                "modes": [full.mode, preview.mode],
                "full": full.size,
                "upright": upright,
                "preview": preview.size,
                # A few bytes of every file are no metadata: JFIF's density.
                "metadata": sorted(
                    {*full.info, *preview.info}
                    - {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
                ),
                "exif": [dict(full.getexif()), dict(preview.getexif())],
                "tags of the original": sorted(original.getexif()),
                # The share of pixels that the watermark changed.
                "marked": float((difference.max(axis=2) > 12).mean()),
            }
    print(json.dumps(seen))


if __name__ == "__main__":
    {"make": make, "look": look}[sys.argv[1]](Path(sys.argv[2]))

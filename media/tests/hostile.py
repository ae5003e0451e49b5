"""Build image files that attack or confuse a decoder."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

PNG = b"\x89PNG\r\n\x1a\n"
SCRIPT = b"<script>alert('polyglot')</script>"
PLACE = b"Secret Street 7"


def saved(
    format_: str,
    size: tuple[int, int] = (200, 120),
    mode: str = "RGB",
    **options: Any,
) -> bytes:
    stream = io.BytesIO()
    photo(size).convert(mode).save(stream, format_, **options)
    return stream.getvalue()


def photo(size: tuple[int, int] = (200, 120)) -> Image.Image:
    """Return a picture with four different corners, so that a turn shows."""
    width, height = size
    across = np.linspace(30, 220, width)[None, :, None]
    down = np.linspace(20, 200, height)[:, None, None]
    pixels = np.concatenate(
        [
            np.broadcast_to(across, (height, width, 1)),
            np.broadcast_to(down, (height, width, 1)),
            np.broadcast_to((across + down) / 2, (height, width, 1)),
        ],
        axis=2,
    )
    return Image.fromarray(pixels.astype(np.uint8))


def chunk(kind: bytes, body: bytes) -> bytes:
    crc = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png_bomb(width: int, height: int) -> bytes:
    """Return a small PNG that promises and holds very many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = b"\0" * (width + 1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_with(kind: bytes, body: bytes) -> bytes:
    """Put one more chunk after the header of a good PNG."""
    good = saved("PNG")
    at = len(PNG) + 25
    return good[:at] + chunk(kind, body) + good[at:]


def text_bomb() -> bytes:
    """Return a PNG with a compressed comment that unpacks to 200 MB."""
    return png_with(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * (200 << 20), 9))


def jpeg_bomb() -> bytes:
    """Return a JPEG with a header that promises 65000 x 65000 pixels."""
    data = bytearray(saved("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    return bytes(data)


def animated(format_: str) -> bytes:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (99, 99), colour) for colour in ("red", "blue")]
    frames[0].save(stream, format_, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def phone_photo() -> bytes:
    """Return an MPO, as phones write: a JPEG with a second, smaller picture."""
    stream = io.BytesIO()
    photo().save(stream, "MPO", save_all=True, append_images=[photo((100, 60))])
    return stream.getvalue()


def located(format_: str, orientation: int = 1) -> bytes:
    """Return a photo that says where it was taken, in every place that can."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Secret Camera"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2] = "N", (52.0, 31.0, 7.5)
    gps[27] = PLACE  # GPSProcessingMethod
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + PLACE + b"</x:xmpmeta>"
    options: dict[str, Any] = {"exif": exif.tobytes()}
    if format_ == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Location", PLACE.decode())
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        options["pnginfo"] = text
    else:
        options["xmp"] = xmp
    if format_ == "JPEG":
        options["comment"] = PLACE
    return saved(format_, **options)


def swapped_profile() -> bytes:
    """Return an RGB colour profile in which red means green and green means red."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def point(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(x) + fixed(y) + fixed(z)

    text = b"swapped\0"
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 79,
        b"cprt": b"text\0\0\0\0" + b"none\0\0\0\0",
        b"wtpt": point(0.9642, 1.0, 0.8249),
        b"rXYZ": point(0.3851, 0.7169, 0.0971),  # sRGB's green
        b"gXYZ": point(0.4361, 0.2225, 0.0139),  # sRGB's red
        b"bXYZ": point(0.1431, 0.0606, 0.7141),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    begin = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", begin + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    white = fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    header = struct.pack(">I", begin + len(body)) + b"\0" * 4 + b"\x02\x40\0\0"
    header += b"mntrRGB XYZ " + b"\0" * 12 + b"acsp" + b"\0" * 28 + white
    return header.ljust(128, b"\0") + table + body

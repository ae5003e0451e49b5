"""Open hostile image files, and write files that hold nothing but pixels."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from media.errors import MediaRefused

Pixels = NDArray[np.uint8]  # height x width x 3, RGB

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_BYTES = 10 * 1024 * 1024
MOST_PIXELS = 40_000_000
LONGEST_SIDE = 30_000  # OpenCV's limit is 32767, and a JPEG's 65535.
SHORTEST_SIDE = 64
MOST_PROFILE_BYTES = 4 * 1024 * 1024

ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Photo:
    """One decoded photo: upright, sRGB, eight bits a channel, opaque."""

    pixels: Pixels
    source_format: str
    width: int  # As stored, before the orientation is applied.
    height: int
    turned: bool
    had_metadata: bool
    had_alpha: bool
    profile: str  # none, srgb, converted, or unreadable (then taken for sRGB)


def open_photo(path: Path) -> Photo:
    """Decode a photo. Raises MediaRefused with a reason for its owner.

    The content decides the format; the file's name means nothing. The size is
    checked before any pixel is decoded.
    """
    if path.stat().st_size > MOST_BYTES:
        raise MediaRefused(
            "too_many_bytes",
            "The file is larger than 10 MB.",
            "Save the photo with a lower quality or size and upload it again.",
        )
    try:
        with warnings.catch_warnings():
            # Pillow warns of broken EXIF and of large sizes; both are checked here.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                return _decode(image)
    except (MediaRefused, MemoryError):
        raise
    except Image.DecompressionBombError as bomb:
        raise _too_many_pixels("more than 40 megapixels") from bomb
    except UnidentifiedImageError as unknown:
        raise MediaRefused(
            "not_a_photo",
            "The file is not a JPEG, PNG or WEBP photo.",
            "Save the photo in one of these formats and upload it again.",
        ) from unknown
    except Exception as broken:
        # Pillow raises almost every built-in exception for one broken file or another.
        raise MediaRefused(
            "broken_photo",
            "The photo is damaged or cut short.",
            "Export the photo again and upload the new file.",
        ) from broken


def _too_many_pixels(size: str) -> MediaRefused:
    return MediaRefused(
        "too_many_pixels",
        f"The photo has {size}; the limit is 40 megapixels.",
        "Save the photo at a smaller size and upload it again.",
    )


def _check(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise _too_many_pixels(f"{width} x {height} pixels")
    if max(width, height) > LONGEST_SIDE:
        raise MediaRefused(
            "too_long",
            f"The photo is {width} x {height}; its longer side has a limit of "
            f"{LONGEST_SIDE} pixels.",
            "Cut the photo into parts and upload them one by one.",
        )
    if min(width, height) < SHORTEST_SIDE:
        raise MediaRefused(
            "too_small",
            f"The photo is {width} x {height}; its shorter side needs "
            f"{SHORTEST_SIDE} pixels.",
            "Upload a larger scan.",
        )
    # Phones write MPO: a JPEG with further pictures, such as previews or depth maps.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise MediaRefused(
            "animated", "The file is an animation.", "Upload a still photo."
        )


def _decode(image: Image.Image) -> Photo:
    _check(image)
    (width, height), source_format = image.size, image.format or ""
    # First the pixels: reading a PNG's EXIF decodes them too, and after a failed
    # attempt Pillow takes the photo for decoded.
    image.load()
    orientation = _orientation(image)
    metadata = _has_metadata(image)
    profile = image.info.get("icc_profile")
    alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    flat, used = _to_srgb(_flatten(image, alpha), profile)
    if orientation in UPRIGHT:
        flat = flat.transpose(UPRIGHT[orientation])
    return Photo(
        pixels=np.array(flat.convert("RGB")),
        source_format="JPEG" if source_format == "MPO" else source_format,
        width=width,
        height=height,
        turned=orientation in UPRIGHT,
        had_metadata=metadata,
        had_alpha=alpha,
        profile=used,
    )


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:
        # A photo with broken EXIF is a photo all the same: viewers show it unturned.
        return 1
    return value if isinstance(value, int) else 1


def _has_metadata(image: Image.Image) -> bool:
    kept = ("exif", "icc_profile", "xmp", "comment", "photoshop", "XML:com.adobe.xmp")
    text = getattr(image, "text", None)  # PNG text chunks
    return bool(text) or any(image.info.get(key) for key in kept)


def _flatten(image: Image.Image, alpha: bool) -> Image.Image:
    """Return the image without palette, transparency or 16-bit values."""
    if image.mode.startswith("I"):
        # Pillow clips sixteen-bit grey to eight bits, so scale the values here.
        grey = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
    if alpha:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode in ("RGB", "L", "CMYK"):
        return image
    return image.convert("RGB")


def _to_srgb(image: Image.Image, profile: object) -> tuple[Image.Image, str]:
    """Convert a photo with an embedded colour profile to sRGB."""
    if not isinstance(profile, bytes) or not profile:
        return image, "none"
    if len(profile) > MOST_PROFILE_BYTES:
        return image, "unreadable"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode != "CMYK" and "sRGB" in ImageCms.getProfileDescription(source):
            return image, "srgb"  # A round trip would change values by one.
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except Exception:
        # The profile is a hint about colour; a broken one must not cost the photo.
        return image, "unreadable"
    return converted or image, "converted"


def write_png(pixels: Pixels, path: Path) -> None:
    """Write a lossless PNG that holds no metadata."""
    Image.fromarray(pixels).save(path, "PNG", compress_level=3)


def write_jpeg(pixels: Pixels, path: Path, quality: int = 95) -> None:
    """Write a JPEG with full chroma that holds no metadata."""
    Image.fromarray(pixels).save(
        path, "JPEG", quality=quality, subsampling=0, optimize=True
    )

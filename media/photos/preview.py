"""The locked preview: small, with the watermark inside its pixels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from media.photos.files import Pixels, write_jpeg

LONGEST_SIDE = 1024
SHARE_OF_A_SMALL_PHOTO = 0.75
WATERMARK = "PREVIEW"
OPACITY = 0.34
QUALITY = 80


def make_preview(pixels: Pixels) -> Pixels:
    """Return a watermarked picture of at most 1024 pixels a side.

    Both sides are shorter than the photo's, also for a small photo: a preview
    never stands in for the full image.
    """
    image = Image.fromarray(pixels)
    longest = min(LONGEST_SIDE, round(max(image.size) * SHARE_OF_A_SMALL_PHOTO))
    scale = longest / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.LANCZOS)
    base = np.asarray(small, dtype=np.float32)
    mask = np.asarray(_watermark(size), dtype=np.float32)[..., None] / 255 * OPACITY
    # White on dark parts and black on bright ones, so that the mark shows everywhere.
    ink = np.where(base.mean(axis=2, keepdims=True) < 140, 255.0, 0.0)
    marked = base * (1 - mask) + ink * mask
    return marked.round().clip(0, 255).astype(np.uint8)


def _watermark(size: tuple[int, int]) -> Image.Image:
    """Return a mask with the text repeated on a slanted grid over the whole size."""
    width, height = size
    reach = math.ceil(math.hypot(width, height))
    letters = max(16, min(width, height) // 9)
    font = ImageFont.load_default(letters)
    sheet = Image.new("L", (reach, reach), 0)
    draw = ImageDraw.Draw(sheet)
    step_x = max(1, round(font.getlength(WATERMARK) * 1.35))
    step_y = max(1, round(letters * 2.4))
    for row, top in enumerate(range(0, reach, step_y)):
        for left in range(-step_x // 2 * (row % 2), reach, step_x):
            draw.text((left, top), WATERMARK, fill=255, font=font)
    turned = sheet.rotate(30, resample=Image.Resampling.BICUBIC)
    left, top = (reach - width) // 2, (reach - height) // 2
    return turned.crop((left, top, left + width, top + height))


def write_preview(pixels: Pixels, path: Path) -> None:
    """Write the preview as a JPEG that holds no metadata."""
    write_jpeg(make_preview(pixels), path, QUALITY)

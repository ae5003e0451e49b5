"""Write photos of 1, 4 and 12 megapixels, clean and noisy, for the benchmarks.

    python -m media.tests.large_photos FOLDER

Each is a mosaic of the test photos, so its pixels are as fine as those of real photos.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from media.photos.files import Pixels
from media.tests import damage, photo_sets

SIZES = {1: (1152, 864), 4: (2304, 1728), 12: (4000, 3000)}
SIGMA = 15


def mosaic(width: int, height: int) -> Pixels:
    photos = [photo for photo in photo_sets.colour().values() if min(photo.shape[:2])]
    rows, place, top = np.zeros((height, width, 3), np.uint8), 0, 0
    while top < height:
        left, tallest = 0, height
        while left < width:
            photo = photos[place % len(photos)][: height - top, : width - left]
            rows[top : top + photo.shape[0], left : left + photo.shape[1]] = photo
            left += photo.shape[1]
            tallest = min(tallest, photo.shape[0])
            place += 1
        top += tallest
    return rows


def main(folder: Path) -> None:
    for megapixels, size in SIZES.items():
        clean = mosaic(*size)
        for name, pixels in ("clean", clean), ("noisy", damage.noise(clean, SIGMA)):
            path = folder / f"{megapixels}-{name}.jpg"
            Image.fromarray(pixels).save(path, quality=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

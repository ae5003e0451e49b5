"""The preview is small, marked in its pixels, and never the full image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from media.photos.files import Pixels
from media.photos.preview import make_preview
from media.photos.restore import Options, restore_file

LARGE = [(500, 500), (640, 480), (2500, 700), (700, 2500)]
SIZES = [(64, 64), (96, 64), (64, 2000), *LARGE]


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


@pytest.mark.parametrize("size", SIZES)
def test_a_preview_is_smaller_than_its_photo(
    astronaut: Pixels, size: tuple[int, int]
) -> None:
    full = _resized(astronaut, size)
    preview = make_preview(full)
    assert max(preview.shape[:2]) <= 1024
    assert preview.shape[0] < full.shape[0]
    assert preview.shape[1] < full.shape[1]
    shape = preview.shape[1] / preview.shape[0]
    assert shape == pytest.approx(size[0] / size[1], rel=0.05)


@pytest.mark.parametrize("size", LARGE)
def test_the_watermark_is_in_every_ninth_of_the_pixels(
    astronaut: Pixels, size: tuple[int, int]
) -> None:
    full = _resized(astronaut, size)
    preview = make_preview(full)
    plain = _resized(full, (preview.shape[1], preview.shape[0]))
    marked = np.abs(preview.astype(int) - plain).max(axis=2) > 25
    assert marked.mean() > 0.04
    for rows in np.array_split(marked, 3, axis=0):
        for part in np.array_split(rows, 3, axis=1):
            assert part.mean() > 0.02


@pytest.mark.parametrize("tone", [0, 60, 128, 200, 255])
def test_the_watermark_shows_on_every_tone(tone: int) -> None:
    preview = make_preview(np.full((600, 600, 3), tone, np.uint8))
    assert (np.abs(preview.astype(int) - tone) > 30).mean() > 0.03


def test_no_written_preview_is_a_full_image(tmp_path: Path, astronaut: Pixels) -> None:
    """Enlarging the preview does not give the full image back."""
    Image.fromarray(astronaut).save(tmp_path / "in.png")
    full, preview = tmp_path / "full.png", tmp_path / "preview.jpg"
    restore_file(tmp_path / "in.png", full, preview, Options())
    with Image.open(full) as made, Image.open(preview) as small:
        assert np.array_equal(np.asarray(made), astronaut)
        assert small.format == "JPEG"
        assert small.size == (288, 288)
        enlarged = _resized(np.asarray(small), made.size)
    difference = np.abs(enlarged.astype(int) - astronaut)
    assert (difference.max(axis=2) > 25).mean() > 0.05

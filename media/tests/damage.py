"""Damage good photos in known ways, so that a repair can be scored."""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from media.photos.files import Pixels


def _seeded(pixels: Pixels, salt: int) -> np.random.Generator:
    return np.random.default_rng(salt + int(pixels[::17, ::13].sum()) % 100_000)


def _bytes(values: np.ndarray) -> Pixels:
    return values.round().clip(0, 255).astype(np.uint8)


def noise(pixels: Pixels, sigma: float) -> Pixels:
    """Add independent Gaussian noise to each channel."""
    return _bytes(pixels + _seeded(pixels, 1).normal(0, sigma, pixels.shape))


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Save a poor JPEG and read it back."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream).convert("RGB"))


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Blur as a soft lens does."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.uint8)


def fade(pixels: Pixels) -> Pixels:
    """Lift the blacks, lower the whites, and let the blue dye fade most."""
    gain, lift = np.array([0.68, 0.62, 0.52]), np.array([62, 52, 44])
    return _bytes(pixels * gain + lift)


def haze(pixels: Pixels, thickness: float = 0.35) -> Pixels:
    """Mix in grey air, more of it towards the top: a scene, not damage.

    The camera exposes for the whites, so they stay as bright as they were.
    """
    height = pixels.shape[0]
    depth = np.linspace(1.5, 0.5, height)[:, None, None] * thickness
    depth = np.minimum(depth, 0.9)
    mixed = pixels * (1 - depth) + np.array([205, 208, 212]) * depth
    exposure = np.percentile(pixels, 99.5) / np.percentile(mixed, 99.5)
    return _bytes(mixed * max(1.0, exposure))


def scratch(pixels: Pixels) -> Pixels:
    """Draw bright, nearly vertical scratches and dust."""
    random, image = _seeded(pixels, 2), pixels.copy()
    height, width = image.shape[:2]
    for _ in range(7):
        x, y = random.integers(0, width), random.integers(0, height // 2)
        length, lean = random.integers(height // 3, height), random.normal(0, 0.06)
        tone = int(random.integers(215, 256))
        wobble = np.cumsum(random.normal(0, 0.15, length))
        xs = x + lean * np.arange(length) + wobble
        points = np.stack([xs, y + np.arange(length)], 1).round().astype(np.int32)
        thick = int(random.integers(1, 4))
        cv2.polylines(image, [points], False, (tone,) * 3, thick)
    for _ in range(60):
        at = (int(random.integers(0, width)), int(random.integers(0, height)))
        tone = int(random.integers(215, 256))
        cv2.circle(image, at, int(random.integers(1, 4)), (tone,) * 3, -1)
    return image


def old(pixels: Pixels) -> Pixels:
    """Do all of it: blur, fade, grain, scratches."""
    return scratch(noise(fade(blur(pixels, 0.7)), 9))


DAMAGES: dict[str, Callable[[Pixels], Pixels]] = {
    "clean": lambda pixels: pixels.copy(),
    "noise15": lambda pixels: noise(pixels, 15),
    "noise25": lambda pixels: noise(pixels, 25),
    "jpeg20": lambda pixels: jpeg(pixels, 20),
    "blur": lambda pixels: blur(pixels, 1.4),
    "fade": fade,
    "scratch": scratch,
    "old": old,
}

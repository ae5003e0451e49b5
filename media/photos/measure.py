"""Measure a photo's damage, and how well the measurement supports a repair.

Each repair has a measure of the damage and a measure of the evidence. Texture
looks like noise, haze looks like fading, and soft light looks like blur; the
evidence tells them apart, and without evidence the step does not run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from media.photos.files import Pixels
from media.photos.scratches import Mask, ScratchMap, find_scratches

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]
Triple = tuple[float, float, float]

BLOCK = 16
BAND = 32 * BLOCK  # Rows filtered at once: bounds the memory for a large photo.
VIEWING_PIXELS = 600_000
NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
# The mean of |NOISE_KERNEL * noise| is 6 * sqrt(2 / pi) times the noise's sigma.
TO_SIGMA = float(np.sqrt(np.pi / 2) / 6)


@dataclass(frozen=True)
class Noise:
    sigma: float  # Grey levels, in the calmest tenth of blocks.
    floor: float  # Grey levels that all but 2 % of the blocks exceed.
    evenness: float  # Floor over lower quartile: near 1 for noise, lower for texture.


@dataclass(frozen=True)
class Blocks:
    step: float  # Grey levels by which steps on the 8-pixel grid exceed the others.
    ratio: float  # Steps on the grid over the others; 1 is none.


@dataclass(frozen=True)
class Tones:
    black: Triple  # Per channel, all but 0.5 % are brighter.
    white: Triple  # Per channel, all but 0.5 % are darker.
    luma_range: float
    # How slowly the darkest tones begin, as a share of the range. Fading moves a
    # photo's blacks together, so they stay a sharp edge; haze spreads them.
    shadow_taper: float


@dataclass(frozen=True)
class Edges:
    width: float  # Sigma of the sharpest strong edges, in pixels at viewing size.
    strength: float  # Grey levels a pixel; near 0 in a picture without edges.


@dataclass(frozen=True)
class Measurements:
    """The numbers that decide each step; the report shows all of them."""

    noise: Noise
    blocks: Blocks
    tones: Tones
    edges: Edges
    scratch_diagonals: float  # Total length of scratches in photo diagonals.

    def as_json(self) -> dict[str, Any]:
        return {key: _rounded(value) for key, value in asdict(self).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [round(inner, 1) for inner in value]
    return round(value, 3)


def measure(pixels: Pixels) -> tuple[Measurements, ScratchMap]:
    """Return all measurements and the map of scratches."""
    scratches = find_scratches(pixels)
    numbers = Measurements(
        noise=measure_noise(pixels),
        blocks=measure_blocks(_grey(pixels)),
        tones=measure_tones(pixels),
        edges=measure_edges(pixels),
        scratch_diagonals=scratches.diagonals,
    )
    return numbers, scratches


def _grey(pixels: Pixels) -> Grey:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def viewing_scale(pixels: Pixels) -> float:
    """Return the factor that brings a photo to the size of a screen, at most 1.

    Every large photo is soft pixel by pixel, so blur is judged at this size.
    """
    height, width = pixels.shape[:2]
    return float(min(1.0, (VIEWING_PIXELS / (height * width)) ** 0.5))


def _shrunk(pixels: Pixels, scale: float) -> Pixels:
    if scale >= 1.0:
        return pixels
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def measure_noise(pixels: Pixels) -> Noise:
    """Measure the noise in calm blocks, without those that black or white clips."""
    height, width = (side // BLOCK * BLOCK for side in pixels.shape[:2])
    sigmas, means = [], []
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        # One more row on each side, or the filter would invent a border here.
        first = max(0, top - 1)
        band = pixels[first : min(bottom + 1, pixels.shape[0])]
        inside = slice(top - first, top - first + bottom - top)
        high = np.abs(cv2.filter2D(band, cv2.CV_16S, NOISE_KERNEL))[inside, :width]
        sigmas.append(_block_means(high).mean(axis=-1) * TO_SIGMA)
        means.append(_block_means(band[inside, :width]).mean(axis=-1))
    sigma, mean = np.concatenate(sigmas), np.concatenate(means)
    usable = sigma[(mean > 16) & (mean < 239)]
    if usable.size < 8:
        usable = sigma.ravel()
    floor, calm, quartile = (float(v) for v in np.percentile(usable, (2, 10, 25)))
    return Noise(calm, floor, floor / max(quartile, 1e-6))


def _block_means(values: NDArray[Any]) -> NDArray[np.float64]:
    height, width, channels = values.shape
    shape = (height // BLOCK, BLOCK, width // BLOCK, BLOCK, channels)
    means: NDArray[np.float64] = values.reshape(shape).mean(axis=(1, 3))
    return means


def measure_blocks(grey: Grey) -> Blocks:
    """Measure the 8-pixel grid that JPEG leaves, wherever the grid begins.

    The ratio alone says little: in a smooth photo even a good JPEG's grid stands
    out, and removing it costs more than it gives.
    """
    worst = Blocks(0.0, 1.0)
    for turned in (grey, grey.T):
        difference = cv2.absdiff(turned[1:], turned[:-1])
        # A strong edge is content: cap it, so that the mean shows the grid.
        line = np.minimum(difference, 12).mean(axis=1)
        if line.size < 32:
            continue
        phases = np.array([line[phase::8].mean() for phase in range(8)])
        best = int(phases.argmax())
        others = float(np.delete(phases, best).mean())
        step = float(phases[best]) - others
        if step > worst.step:
            worst = Blocks(step, float(phases[best]) / (others + 0.05))
    return worst


def measure_tones(pixels: Pixels, leave_out: Mask | None = None) -> Tones:
    """Measure blacks, whites and the shadows' edge, apart from noise and the mask."""
    scale = viewing_scale(pixels) * 0.5
    small = np.asarray(cv2.medianBlur(_shrunk(pixels, scale), 3), dtype=np.uint8)
    sample = small.reshape(-1, 3)
    if leave_out is not None and leave_out.any():
        size = small.shape[1::-1]
        near = cv2.dilate(leave_out, np.ones((5, 5), np.uint8))
        share = cv2.resize(near * np.uint8(255), size, interpolation=cv2.INTER_AREA)
        away = small[np.asarray(share) == 0]
        sample = away if len(away) > len(sample) // 10 else sample
    lowest, black, dark, white = np.percentile(sample, (0.1, 0.5, 5, 99.5), axis=0)
    span = np.maximum(white - black, 1.0)
    return Tones(
        black=(float(black[0]), float(black[1]), float(black[2])),
        white=(float(white[0]), float(white[1]), float(white[2])),
        luma_range=float((white - black) @ (0.299, 0.587, 0.114)),
        shadow_taper=float(((dark - lowest) / span).mean()),
    )


def measure_edges(pixels: Pixels) -> Edges:
    """Measure the sharpest strong edges by blurring the photo once more.

    An edge of width s and a blur of width 1 add up to sqrt(s * s + 1), and the
    slope falls by the same factor. The sharpest edges decide: a photo with one
    sharp subject before a soft background is not blurred.
    """
    grey = _grey(_shrunk(pixels, viewing_scale(pixels))).astype(np.float32)
    slope = _slope(grey)
    blurred = _slope(np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.0), dtype=np.float32))
    strong = float(np.percentile(blurred, 98))
    chosen = blurred >= max(strong, 1.0)
    if int(chosen.sum()) < 50:
        return Edges(0.0, strong)
    ratio = float(np.percentile(slope[chosen] / blurred[chosen], 90))
    return Edges(1.0 / float(np.sqrt(max(ratio * ratio - 1.0, 1e-2))), strong)


def _slope(grey: Floats) -> Floats:
    down, across = np.gradient(grey)
    return np.asarray(np.hypot(down, across), dtype=np.float32)

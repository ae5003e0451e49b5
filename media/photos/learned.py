"""The learned networks (ncnn, CPU), run over small tiles and checked for nonsense."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from media import weights
from media.photos.files import Pixels

Floats = NDArray[np.float32]
Progress = Callable[[float], None]  # A share from 0 to 1.

THREADS = min(2, len(os.sched_getaffinity(0)))
MOST_DRIFT = 25  # Grey levels between the means of input and answer.
SHARPEN_PIXELS = 250_000


class NetworkUnusable(Exception):
    """The network is missing or answers nonsense. The report must say so."""


@dataclass(frozen=True)
class Layout:
    """How a network takes its tiles and how its answer is stored."""

    scale: int  # The answer is this many times larger than the tile.
    keep: int  # The stored size: `scale`, or 1 for the mean of each square.
    tile: int
    edge: int  # Context around a tile, in input pixels.
    crop: int  # The answer's border to drop, in output pixels.
    entry: str
    answer: str


WAIFU2X = Layout(2, 1, 256, 7, 0, "Input1", "Eltwise4")
REALESRGAN = Layout(4, 4, 96, 10, 40, "data", "output")


def denoise(pixels: Pixels, progress: Progress | None = None) -> Pixels:
    """Return the photo without noise and JPEG blocks, at its own size.

    Raises NetworkUnusable.
    """
    return _tiled(pixels, _network("waifu2x-denoise3"), WAIFU2X, progress)


def sharpen(pixels: Pixels, progress: Progress | None = None) -> Pixels:
    """Return the photo sharpened by Real-ESRGAN, at its own size.

    A blurred photo holds less detail than its size says, so a large one is made
    smaller first. This also bounds the time, about 400 seconds a megapixel.
    Raises NetworkUnusable.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, (SHARPEN_PIXELS / (height * width)) ** 0.5)
    small = pixels
    if scale < 1.0:
        size = (max(64, round(width * scale)), max(64, round(height * scale)))
        small = _resize(pixels, size, cv2.INTER_AREA)
    large = _tiled(small, _network("realesrgan-x4plus"), REALESRGAN, progress)
    shrinks = large.shape[0] >= height
    return _resize(
        large, (width, height), cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )


def _resize(pixels: Pixels, size: tuple[int, int], how: int) -> Pixels:
    return np.asarray(cv2.resize(pixels, size, interpolation=how), dtype=np.uint8)


@lru_cache(maxsize=2)
def _network(name: str) -> Any:
    try:
        import ncnn

        network, binary = weights.locate(name)
    except (ImportError, weights.ModelMissing) as missing:
        raise NetworkUnusable(str(missing)) from missing
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = THREADS
    if net.load_param(str(network)) or net.load_model(str(binary)):
        raise NetworkUnusable(f"{name}: ncnn cannot load it")
    return net


def _tiled(
    pixels: Pixels, net: Any, layout: Layout, progress: Progress | None
) -> Pixels:
    """Run a network over tiles, holding only one of them as floats."""
    height, width = pixels.shape[:2]
    edge, tile, keep = layout.edge, layout.tile, layout.keep
    padded = cv2.copyMakeBorder(pixels, edge, edge, edge, edge, cv2.BORDER_REFLECT_101)
    result = np.empty((height * keep, width * keep, 3), np.uint8)
    places = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
    for done, (top, left) in enumerate(places, 1):
        bottom, right = min(top + tile, height), min(left + tile, width)
        piece = padded[top : bottom + 2 * edge, left : right + 2 * edge]
        answer = _infer(net, piece.astype(np.float32) / np.float32(255), layout)
        if layout.crop:
            answer = answer[layout.crop : -layout.crop, layout.crop : -layout.crop]
        expected = ((bottom - top) * layout.scale, (right - left) * layout.scale, 3)
        if answer.shape != expected:
            raise NetworkUnusable(f"the answer is {answer.shape}, not {expected}")
        if keep != layout.scale:
            size = (right - left, bottom - top)
            small = cv2.resize(answer, size, interpolation=cv2.INTER_AREA)
            answer = np.asarray(small, dtype=np.float32)
        to = result[top * keep : bottom * keep, left * keep : right * keep]
        to[:] = _to_bytes(answer)
        if progress is not None:
            progress(done / len(places))
    if abs(float(result.mean()) - float(pixels.mean())) > MOST_DRIFT:
        raise NetworkUnusable("the answer has another brightness than the photo")
    return result


def _infer(net: Any, tile: Floats, layout: Layout) -> Floats:
    import ncnn

    planes = np.ascontiguousarray(tile.transpose(2, 0, 1))
    # ncnn.Mat does not own a numpy buffer: `planes` must outlive the clone() call.
    mat = ncnn.Mat(planes).clone()
    with net.create_extractor() as extractor:
        extractor.input(layout.entry, mat)
        status, out = extractor.extract(layout.answer)
        if status:
            raise NetworkUnusable(f"ncnn ended with status {status}")
        return np.array(out, dtype=np.float32).transpose(1, 2, 0)


def _to_bytes(tile: Floats) -> Pixels:
    if not np.isfinite(tile).all():
        raise NetworkUnusable("the answer holds values that are not numbers")
    return (tile * 255).round().clip(0, 255).astype(np.uint8)

"""Find scratches and dust: thin, straight, even, and as white as bare paper."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from media.photos.files import Pixels

Mask = NDArray[np.uint8]
Indices = NDArray[np.intp]

ACT_FROM_DIAGONALS = 0.7  # Fences, masts and painted strokes stay below.
PAPER_WHITE = 185  # A scratch is missing dye: even its darkest channel is bright.
LEAST_LINES = 4  # Fewer may be the cables of a bridge.
MOST_SHARE = 0.08  # Of the picture; more lines than that are its pattern.
LEAST_CONTRAST = 40  # Grey levels above the surroundings, for the median scratch.
FAN, STEP = 18, 4  # Degrees: one fan of directions, and the step inside it.
DETECTION_PIXELS = 700_000


@dataclass(frozen=True)
class ScratchMap:
    """The mask to repaint, the length of its lines, and how many it holds."""

    mask: Mask
    diagonals: float
    lines: int
    dots: int


def find_scratches(pixels: Pixels) -> ScratchMap:
    """Return the scratches and dust; an empty mask means that nothing is repaired."""
    height, width = pixels.shape[:2]
    scale = min(1.0, (DETECTION_PIXELS / (height * width)) ** 0.5)
    if scale == 1.0:
        return _search(pixels)
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = _search(np.asarray(small, dtype=np.uint8))
    mask = cv2.resize(found.mask, (width, height), interpolation=cv2.INTER_NEAREST)
    if mask.any():
        around = np.ones((3, 3), np.uint8)
        mask = cv2.dilate(mask, around, iterations=round(0.5 / scale))
    return ScratchMap(
        np.asarray(mask, dtype=np.uint8), found.diagonals, found.lines, found.dots
    )


def _search(pixels: Pixels) -> ScratchMap:
    height, width = pixels.shape[:2]
    diagonal = float(np.hypot(height, width))
    darkest = pixels.min(axis=2)
    widest = max(5.5, diagonal / 130)
    reach = int(widest * 2) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    opened = cv2.morphologyEx(darkest, cv2.MORPH_TOPHAT, kernel)
    hat = np.asarray(opened, dtype=np.uint8)
    thin = ((hat > 22) & (darkest > PAPER_WHITE - 35)).astype(np.uint8)
    found = _Lines(thin, darkest, widest)
    found.collect(straight=diagonal / 14, shortest=0.1 * diagonal)
    total = found.length / diagonal
    scratched = total >= ACT_FROM_DIAGONALS and found.lines >= LEAST_LINES
    if not scratched or not _stands_out(found.mask, hat):
        return ScratchMap(np.zeros_like(thin), total, found.lines, 0)
    # The photo is scratched, so believe shorter and fainter pieces that lie in the
    # directions of the scratches.
    faint = ((hat > 14) & (darkest > PAPER_WHITE - 45)).astype(np.uint8)
    pieces = _Lines(faint, darkest, widest)
    pieces.collect(diagonal / 32, diagonal / 24, frozenset(found.fans))
    mask = found.mask | pieces.mask
    dust, dots = _find_dust(thin & ~mask, hat, darkest, diagonal)
    edge = (hat > 8).astype(np.uint8)
    found_all = mask | dust
    around = cv2.dilate(found_all, np.ones((3, 3), np.uint8))
    whole = found_all | (np.asarray(around, dtype=np.uint8) & edge)
    return ScratchMap(whole, total, found.lines, dots)


def _stands_out(lines: Mask, hat: Mask) -> bool:
    """Tell damage from a bright pattern, such as the joints of a wall in mist."""
    few = float(lines.mean()) <= MOST_SHARE
    return few and float(np.median(hat[lines > 0])) >= LEAST_CONTRAST


class _Lines:
    """Collects the pieces of a mask that pass every test of a scratch."""

    def __init__(self, thin: Mask, darkest: Mask, widest: float) -> None:
        self.thin, self.darkest, self.widest = thin, darkest, widest
        self.mask = np.zeros_like(thin)
        self.length, self.lines = 0.0, 0
        self.fans: set[int] = set()

    def collect(
        self, straight: float, shortest: float, only: frozenset[int] | None = None
    ) -> None:
        fans = _straight_parts(self.thin, max(11, int(straight)))
        for number, fan in enumerate(fans):
            if only is None or number in only:
                self._collect_from(number, fan, shortest)

    def _collect_from(self, number: int, fan: Mask, shortest: float) -> None:
        count, labels, stats, _ = cv2.connectedComponentsWithStats(fan, connectivity=8)
        for index in range(1, count):
            left, top, wide, tall = (int(v) for v in stats[index][:4])
            if np.hypot(wide, tall) < shortest:
                continue
            window = (slice(top, top + tall), slice(left, left + wide))
            here = labels[window] == index
            ys, xs = np.nonzero(here)
            length = _scratch_length(xs, ys, self.darkest[window][here], self.widest)
            if not length:
                continue
            # Fans overlap, so count only what another fan has not found.
            new = float((self.mask[window][here] == 0).mean())
            self.mask[window][here] = 1
            self.length += length * new
            self.lines += new > 0.5
            self.fans.add(number)


def _straight_parts(thin: Mask, length: int) -> list[Mask]:
    """Keep the parts into which a straight line fits, one mask for each fan.

    Fans keep a scratch apart from the bright things that it crosses.
    """
    swollen = cv2.dilate(thin, np.ones((3, 3), np.uint8))
    fans: list[Mask] = []
    for first in range(0, 180, FAN):
        kept = np.zeros_like(thin)
        for angle in range(first - STEP, first + FAN + STEP, STEP):
            element = _line_element(length, angle)
            opened = cv2.morphologyEx(swollen, cv2.MORPH_OPEN, element)
            kept |= np.asarray(opened, dtype=np.uint8)
        fans.append(kept & thin)
    return fans


def _line_element(length: int, degrees: float) -> Mask:
    element = np.zeros((length, length), np.uint8)
    middle = (length - 1) / 2
    across = np.cos(np.deg2rad(degrees)) * middle
    down = np.sin(np.deg2rad(degrees)) * middle
    first = (round(middle - across), round(middle - down))
    last = (round(middle + across), round(middle + down))
    cv2.line(element, first, last, 1, 1)
    return element


def _scratch_length(xs: Indices, ys: Indices, tones: Mask, widest: float) -> float:
    """Return the length of a component that looks like a scratch, else 0."""
    points = np.stack([xs, ys], 1).astype(np.float64)
    centred = points - points.mean(0)
    # The 2x2 covariance has the same axes as the points, in bounded memory.
    axes = np.linalg.eigh(centred.T @ centred)[1]
    along, across = centred @ axes[:, 1], centred @ axes[:, 0]
    length = float(np.ptp(along))
    if length < 12:
        return 0.0
    # A scratch bows a little, the rim of a cup much more.
    parabola = np.polyfit(along, across, 2)
    bow = abs(float(parabola[0])) * (length / 2) ** 2
    across = across - np.polyval(parabola, along)
    bins = ((along - along.min()) / 4).astype(int)
    count = np.bincount(bins)
    width = count[count > 0] / 4
    usual = float(np.median(width))
    looks = (
        bow <= 0.03 * length + 1.5,
        float((count > 0).mean()) > 0.8,
        float(np.percentile(width, 90)) <= 2.0 * usual + 1.0,
        usual <= widest and float(np.std(across)) <= widest,
        float(np.median(tones)) >= PAPER_WHITE,
        float(np.percentile(tones, 90) - np.percentile(tones, 30)) <= 30,
    )
    return length if all(looks) else 0.0


def _find_dust(
    thin: Mask, hat: Mask, darkest: Mask, diagonal: float
) -> tuple[Mask, int]:
    """Find small round white dots in a photo that is known to have scratches."""
    dust, dots = np.zeros_like(thin), 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(thin, connectivity=8)
    largest = (max(4.0, diagonal / 110)) ** 2
    for index in range(1, count):
        left, top, wide, tall, area = (int(v) for v in stats[index][:5])
        if not 2 <= area <= largest or max(wide, tall) > 1.8 * min(wide, tall) + 1:
            continue
        window = (slice(top, top + tall), slice(left, left + wide))
        here = labels[window] == index
        white = float(np.median(darkest[window][here])) > PAPER_WHITE + 15
        stands_out = float(np.median(hat[window][here])) > 45
        if area > 0.45 * wide * tall and white and stands_out:
            dust[window][here] = 1
            dots += 1
    return dust, dots

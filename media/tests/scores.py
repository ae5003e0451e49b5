"""Score a repair against the undamaged photo; print the gate table.

    .venv-media/bin/python -m media.tests.scores [FOLDER [DAMAGE …]]

Without a folder it scores the photos that the test packages ship.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from media.photos.files import Pixels
from media.photos.restore import restore_pixels
from media.tests import photo_sets
from media.tests.damage import DAMAGES

IDENTICAL = 99.0  # Decibels, in place of infinity.


@dataclass(frozen=True)
class Score:
    name: str
    before: float  # PSNR in dB
    after: float
    before_ssim: float
    after_ssim: float
    report: dict[str, Any]

    @property
    def gain(self) -> float:
        return self.after - self.before

    @property
    def gain_ssim(self) -> float:
        return self.after_ssim - self.before_ssim


def compare(truth: Pixels, other: Pixels) -> tuple[float, float]:
    """Return PSNR in dB (99 for identical photos) and SSIM."""
    if np.array_equal(truth, other):
        return IDENTICAL, 1.0
    psnr = peak_signal_noise_ratio(truth, other, data_range=255)
    ssim = structural_similarity(truth, other, channel_axis=2, data_range=255)
    return float(psnr), float(ssim)


def score(name: str, truth: Pixels, kind: str) -> Score:
    """Damage a photo, restore it, and compare both with the undamaged photo."""
    harmed = DAMAGES[kind](truth)
    mended, report = restore_pixels(harmed)
    before, after = compare(truth, harmed), compare(truth, mended)
    return Score(name, before[0], after[0], before[1], after[1], report.as_json())


def score_all(photos: dict[str, Pixels], kind: str) -> list[Score]:
    return [score(name, pixels, kind) for name, pixels in photos.items()]


def _print_table(photos: dict[str, Pixels], kinds: list[str]) -> None:
    for kind in kinds:
        scores = score_all(photos, kind)
        for one in scores:
            steps = ", ".join(step["step"] for step in one.report["steps"])
            left = ", ".join(step["step"] for step in one.report["not_done"])
            print(
                f"  {kind:8} {one.name[:24]:24} {one.before:5.1f}/{one.before_ssim:.3f}"
                f" -> {one.after:5.1f}/{one.after_ssim:.3f} ({one.gain:+5.1f})"
                f" {one.report['seconds']:5.1f} s  {steps or '-'}"
                f"{f' (not: {left})' if left else ''}",
                flush=True,
            )
        gains = [one.gain for one in scores]
        worst = min(scores, key=lambda one: one.gain)
        print(
            f"{kind:8} {len(scores)} photos: mean {np.mean(gains):+.2f} dB, "
            f"SSIM {np.mean([one.gain_ssim for one in scores]):+.3f}, "
            f"worst {worst.gain:+.2f} dB ({worst.name}), "
            f"{sum(gain == 0 for gain in gains)} unchanged",
            flush=True,
        )


if __name__ == "__main__":
    where = sys.argv[1:2]
    chosen = photo_sets.folder(Path(where[0])) if where else photo_sets.all_photos()
    _print_table(chosen, sys.argv[2:] or list(DAMAGES))

"""Restore a photo in steps; each runs only when its measurements support it.

The order is scratches, noise or JPEG blocks, fading, blur. A photo in which
nothing is measured comes back with the same pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from media.errors import EngineFailed
from media.photos import learned
from media.photos.files import Photo, Pixels, open_photo, write_jpeg, write_png
from media.photos.measure import (
    Measurements,
    Tones,
    Triple,
    measure,
    measure_edges,
    measure_tones,
    viewing_scale,
)
from media.photos.preview import write_preview
from media.photos.report import Report
from media.photos.scratches import Mask, ScratchMap
from media.workspace import Workspace

NOISY = 4.5  # Grey levels, in the calmest blocks …
NOISE_FLOOR = 4.0  # … and nearly everywhere,
NOISE_EVENNESS = 0.62  # alike in all of them: texture is not.
EVEN_NOISE = 0.75  # Under this, texture or JPEG may have part in the noise,
UNEVEN_SHARE = 0.5  # so at most this share of it is taken.
HEAVY_NOISE = 16.0
TEXTURE_WINDOW = 9  # Pixels around each pixel; odd.
TEXTURE_BAND = 512  # Rows at once: bounds the memory for a large photo.

JPEG_STEP = 0.8  # Grey levels; under this a JPEG is better left alone,
MOST_JPEG_STEP = 8.0  # over this the grid is a drawn pattern,
JPEG_RATIO = 1.3  # and under this it may be the texture of the photo.

FADED_BLACK = 26.0  # All three channels must have lost their blacks,
FADED_RANGE = 170.0  # the range must be short …
CAST_RANGE = 190.0  # … or fairly short where the whites have a cast as well,
CAST_WHITE = 215.0
LEAST_RANGE = 20.0  # Under this range the picture is empty.

# Haze and dim light shorten the range too. The signs of fading are that
DULL_WHITE = 242.0  # the whites are dull: a camera exposes for them, also in haze,
FADED_CAST = 40.0  # and warm: old paper is yellow, old dyes are yellow or red;
SAME_TONE = 3.0
SAME_CAST = 0.3  # the blacks share that cast (-1 to 1): in haze they are grey;
HAZY_SHADOWS = 0.35  # and the blacks moved together, while haze spreads them.
# A hazy scene that faded looks more faded than it is: beyond these values
# the pixels do not say how much of it is fading.
CLEAR_BLACK = 62.0
CLEAR_RANGE = 75.0
# From this taper on, some of it may be haze.
SHARP_SHADOWS = 0.12
CAREFUL_STRENGTH = 0.3

BLURRED_EDGES = 1.15  # Pixels; sharp photos stay under 1.1.
WEAK_EDGES = 3.0  # Under this slope there is nothing to sharpen.
MOST_NOISE_TO_SHARPEN = 3.0

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Options:
    """What the owner of the photo decides."""

    keep_original_colors: bool = False
    generated_detail: bool = False  # Real-ESRGAN for blur: slow, invents detail.


def _silent(percent: float, stage: str) -> None:
    return None


def restore_pixels(
    pixels: Pixels, options: Options | None = None, tell: Tell = _silent
) -> tuple[Pixels, Report]:
    """Return the restored photo, at the same size, and the report."""
    options = options or Options()
    begun, report = time.monotonic(), Report()
    tell(5, "measuring")
    numbers, scratches = measure(pixels)
    report.before = report.after = numbers.as_json()
    tell(15, "scratches")
    current = _repair_scratches(pixels, scratches, report)
    tell(25, "noise")
    current = _denoise(current, numbers, report, tell)
    tell(75, "colours")
    current = _restore_colours(current, scratches.mask, options, report)
    tell(80, "sharpness")
    if not {"repair scratches", "denoise"} & {step["step"] for step in report.steps}:
        # After those steps the softness is their own doing, and sharpening undoes them.
        current = _sharpen(current, numbers, options, report, tell)
    if current.shape != pixels.shape or current.dtype != np.uint8:
        raise EngineFailed("shape", "The restored photo has another size.")
    if not report.unchanged:
        report.after = measure(current)[0].as_json()
    report.seconds = time.monotonic() - begun
    return current, report


def _repair_scratches(pixels: Pixels, scratches: ScratchMap, report: Report) -> Pixels:
    if not scratches.mask.any():
        return pixels
    report.did(
        "repair scratches",
        "inpainting by Telea (OpenCV)",
        f"{scratches.lines} scratches, {scratches.diagonals:.1f} diagonals long",
        lines=scratches.lines,
        dots=scratches.dots,
        share=round(float(scratches.mask.mean()), 4),
    )
    mended = cv2.inpaint(pixels, scratches.mask, 3, cv2.INPAINT_TELEA)
    return np.asarray(mended, dtype=np.uint8)


def _denoise(
    pixels: Pixels, numbers: Measurements, report: Report, tell: Tell
) -> Pixels:
    noise, blocks = numbers.noise, numbers.blocks
    noisy = noise.sigma >= NOISY
    grid = JPEG_STEP < blocks.step < MOST_JPEG_STEP and blocks.ratio > JPEG_RATIO
    blocky = grid and not noisy
    if noisy and (noise.floor < NOISE_FLOOR or noise.evenness < NOISE_EVENNESS):
        report.left("denoise", "The grain is uneven, as texture is and noise is not.")
        return pixels
    if not (noisy or blocky):
        return pixels
    start, engines = pixels, []
    if noise.sigma > HEAVY_NOISE:
        # waifu2x was trained on less noise than this: take the coarse part off first.
        start = _non_local_means(pixels, 0.5 * noise.sigma)
        engines.append("non-local means (OpenCV)")
    why = f"noise of {noise.sigma:.1f} grey levels"
    if blocky:
        why = f"JPEG blocks: the grid stands out by {blocks.step:.1f} grey levels"
    try:
        result = learned.denoise(start, lambda part: tell(25 + 50 * part, "noise"))
    except learned.NetworkUnusable as problem:
        report.left("denoise by waifu2x", str(problem))
        if blocky:
            report.left("remove JPEG blocks", "Only the learned network can do this.")
            return pixels
        result = _non_local_means(pixels, 0.9 * noise.sigma)
        engines = ["non-local means (OpenCV)"]
    else:
        engines.append("waifu2x photo, denoise 3 (ncnn)")
        if noisy and noise.sigma <= HEAVY_NOISE:
            share = 1.0 if noise.evenness >= EVEN_NOISE else UNEVEN_SHARE
            result = keep_texture(pixels, result, noise.floor, share)
    report.did("denoise", " + ".join(engines), why)
    return result


def _non_local_means(pixels: Pixels, strength: float) -> Pixels:
    result = cv2.fastNlMeansDenoisingColored(pixels, None, strength, strength, 5, 15)
    return np.asarray(result, dtype=np.uint8)


def keep_texture(
    noisy: Pixels, clean: Pixels, sigma: float, most: float = 1.0
) -> Pixels:
    """Give back what a denoiser took beyond the measured noise.

    Where it took more than noise of `sigma`, the rest is texture. The share to take
    is the one with the least mean square error: sigma squared over the variance of
    what it took (Wiener), measured around each pixel, and `most` at most.
    """
    result = np.empty_like(noisy)
    height, edge = noisy.shape[0], TEXTURE_WINDOW // 2
    for top in range(0, height, TEXTURE_BAND):
        bottom = min(top + TEXTURE_BAND, height)
        first = max(0, top - edge)
        rows = slice(first, min(bottom + edge, height))
        inside = slice(top - first, bottom - first)
        taken = noisy[rows].astype(np.float32) - clean[rows]
        power = np.asarray((taken * taken).mean(axis=2), dtype=np.float32)
        window = (TEXTURE_WINDOW, TEXTURE_WINDOW)
        variance = np.maximum(np.asarray(cv2.blur(power, window)), 1e-3)
        share = np.minimum(most, sigma * sigma / variance)[..., None]
        band = noisy[rows] - share * taken
        result[top:bottom] = band[inside].round().clip(0, 255).astype(np.uint8)
    return result


def _restore_colours(
    pixels: Pixels, repaired: Mask, options: Options, report: Report
) -> Pixels:
    """Give each channel its black and white back, with bounded gain and shift.

    The pixels do not tell for certain how the photo looked, so the bounds keep a
    wrong guess small. Where the evidence is weak, less strength means less harm if
    the guess is wrong and still less error if it is right.
    """
    tones = measure_tones(pixels, repaired)
    limit = CAST_RANGE if min(tones.white) < CAST_WHITE else FADED_RANGE
    if min(tones.black) <= FADED_BLACK or not LEAST_RANGE < tones.luma_range < limit:
        return pixels
    if doubt := _doubt_of_fading(tones):
        report.left("restore colours", doubt)
        return pixels
    if options.keep_original_colors:
        report.left("restore colours", "The owner keeps the original colours.")
        return pixels
    strength = 1.0 if tones.shadow_taper <= SHARP_SHADOWS else CAREFUL_STRENGTH
    low = np.minimum(np.array(tones.black), 70.0)
    span = np.maximum(np.array(tones.white) - low, 1.0)
    gain = np.minimum(234.0 / span, 1.7)
    gain = gain.mean() + 0.8 * (gain - gain.mean())  # A cast may be the scene's light.
    levels = np.arange(256.0)[:, None]
    table = levels + strength * ((levels - low) * gain + 8.0 - levels)
    table = table.round().clip(0, 255).astype(np.uint8)
    result = np.empty_like(pixels)
    for channel in range(3):
        result[..., channel] = table[:, channel][pixels[..., channel]]
    report.did(
        "restore colours",
        "range of each channel (NumPy)",
        f"the darkest channel begins at {min(tones.black):.0f}, "
        f"the range is {tones.luma_range:.0f} of 255",
        gain=[round(float(g), 2) for g in gain],
        strength=strength,
    )
    return result


def _doubt_of_fading(tones: Tones) -> str:
    """Return why a short range may be the scene itself, or "" if it is fading."""
    red, green, _blue = tones.white
    cast = red - min(tones.white)
    if max(tones.white) > DULL_WHITE:
        return "The photo has a full white, which fading takes away."
    if cast < FADED_CAST or green > red + SAME_TONE:
        return "The whites have no warm cast: the scene may be low in contrast."
    if _likeness(tones.black, tones.white) < SAME_CAST:
        return "The blacks lack the cast of the whites: the scene may be hazy."
    if min(tones.black) > CLEAR_BLACK or tones.luma_range < CLEAR_RANGE:
        return "The photo is too flat to tell fading from haze."
    if tones.shadow_taper > HAZY_SHADOWS:
        return "The darkest tones spread widely: the scene may be hazy."
    return ""


def _likeness(one: Triple, other: Triple) -> float:
    """Return the cosine of two colours' deviations from grey, 0 for a grey one."""
    first, second = np.array(one) - np.mean(one), np.array(other) - np.mean(other)
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / length if length else 0.0


def _sharpen(
    pixels: Pixels, numbers: Measurements, options: Options, report: Report, tell: Tell
) -> Pixels:
    edges = measure_edges(pixels)
    if edges.width < BLURRED_EDGES or edges.strength < WEAK_EDGES:
        return pixels
    if numbers.noise.sigma > MOST_NOISE_TO_SHARPEN:
        report.left("sharpen", "Sharpening would strengthen the photo's noise.")
        return pixels
    why = f"the sharpest edges are {edges.width:.2f} pixels wide at viewing size"
    if options.generated_detail:
        try:
            result = learned.sharpen(pixels, lambda p: tell(80 + 18 * p, "sharpness"))
        except learned.NetworkUnusable as problem:
            report.left("sharpen by Real-ESRGAN", str(problem))
        else:
            note = "This detail is invented: it looks sharper and is no evidence."
            report.did("sharpen", "Real-ESRGAN x4plus (ncnn)", why, note=note)
            return result
    sigma = 1.5 / viewing_scale(pixels)
    soft = cv2.GaussianBlur(pixels, (0, 0), sigma)
    result = np.asarray(cv2.addWeighted(pixels, 1.7, soft, -0.7, 0), dtype=np.uint8)
    report.did("sharpen", "unsharp mask (OpenCV)", why)
    return result


def restore_file(
    source: Path, full: Path, preview: Path, options: Options, tell: Tell = _silent
) -> dict[str, Any]:
    """Restore one upload into the full image and its watermarked preview.

    `full` is a lossless PNG where its name ends in .png, else a JPEG of quality 95.
    Both files appear together, after both are complete. Raises MediaRefused.
    """
    tell(0, "opening")
    photo = open_photo(source)
    restored, report = restore_pixels(photo.pixels, options, tell)
    tell(98, "writing")
    lossless = full.suffix == ".png"
    with Workspace(full.parent) as space, Workspace(preview.parent) as beside:
        made, small = space.file(full.name), beside.file(preview.name)
        (write_png if lossless else write_jpeg)(restored, made)
        write_preview(restored, small)
        space.publish({made: full, small: preview})
    tell(100, "done")
    height, width = restored.shape[:2]
    return {
        "outcome": "done",
        "full": {"width": width, "height": height, "lossless": lossless},
        "source": _source(photo),
        "report": report.as_json(),
    }


def preview_file(source: Path, preview: Path, tell: Tell = _silent) -> dict[str, Any]:
    """Write the watermarked preview of a photo that needs no restoration."""
    tell(0, "opening")
    photo = open_photo(source)
    with Workspace(preview.parent) as space:
        write_preview(photo.pixels, space.file(preview.name))
        space.publish({space.file(preview.name): preview})
    tell(100, "done")
    return {"outcome": "done", "source": _source(photo)}


def _source(photo: Photo) -> dict[str, Any]:
    return {
        "format": photo.source_format,
        "width": photo.width,
        "height": photo.height,
        "turned_upright": photo.turned,
        "had_metadata": photo.had_metadata,
        "had_transparency": photo.had_alpha,
        "colour_profile": photo.profile,
    }

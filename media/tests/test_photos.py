"""The gates: good photos stay identical, damaged ones gain, none gets worse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from media.photos.files import Pixels
from media.photos.measure import measure_edges, measure_noise, measure_tones
from media.photos.restore import (
    EVEN_NOISE,
    Options,
    keep_texture,
    restore_pixels,
)
from media.tests import damage, photo_sets
from media.tests.scores import compare, score, score_all

WORST = -1.0  # dB that a photo may lose by default

# Damage too light, or scenes too much like damage, for a repair to pay.
LIGHT: dict[str, Callable[[Pixels], Pixels]] = {
    "noise 4": lambda pixels: damage.noise(pixels, 4),
    "noise 6": lambda pixels: damage.noise(pixels, 6),
    "noise 8": lambda pixels: damage.noise(pixels, 8),
    "JPEG 75": lambda pixels: damage.jpeg(pixels, 75),
    "JPEG 90": lambda pixels: damage.jpeg(pixels, 90),
    "noisy JPEG": lambda pixels: damage.jpeg(damage.noise(pixels, 12), 88),
    "blur 0.7": lambda pixels: damage.blur(pixels, 0.7),
    "blur 3": lambda pixels: damage.blur(pixels, 3),
    "faded haze": lambda pixels: damage.fade(damage.haze(pixels)),
    "blurred haze": lambda pixels: damage.blur(damage.haze(pixels), 1.4),
    "noisy haze": lambda pixels: damage.noise(damage.haze(pixels), 9),
}
HAZY = ("faded haze", "blurred haze", "noisy haze")


# --- good photos -------------------------------------------------------------------


@pytest.mark.parametrize("name", photo_sets.all_photos())
def test_a_good_photo_comes_back_identical(name: str) -> None:
    pixels = photo_sets.all_photos()[name]
    mended, report = restore_pixels(pixels)
    assert np.array_equal(mended, pixels), report.as_json()
    assert report.unchanged
    assert report.before == report.after
    assert report.as_json()["why_unchanged"].endswith(".")


@pytest.mark.parametrize("thickness", [0.2, 0.35, 0.6])
@pytest.mark.parametrize("name", photo_sets.all_photos())
def test_haze_is_a_scene_and_no_damage(name: str, thickness: float) -> None:
    """Haze lifts blacks and shortens the range, as fading does."""
    hazy = damage.haze(photo_sets.all_photos()[name], thickness)
    mended, report = restore_pixels(hazy)
    assert np.array_equal(mended, hazy), report.as_json()


def test_texture_is_no_noise() -> None:
    """The flattest blocks of a lawn are as rough as noise, but not all alike."""
    noise = measure_noise(photo_sets.texture()["grass"])
    assert noise.sigma > 4.5
    _, report = restore_pixels(photo_sets.texture()["grass"])
    assert report.not_done[0]["step"] == "denoise"


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((64, 64, 3), np.uint8),
        np.full((70, 300, 3), 255, np.uint8),
        np.full((64, 64, 3), (90, 80, 60), np.uint8),
        np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (64, 1, 3)),
        np.dstack([np.kron(np.indices((20, 20)).sum(0) % 2, np.full((8, 8), 255))] * 3),
    ],
    ids=["black", "white", "one colour", "gradient", "chess board"],
)
def test_an_empty_picture_comes_back_identical(pixels: Pixels) -> None:
    pixels = pixels.astype(np.uint8)
    mended, _ = restore_pixels(pixels)
    assert np.array_equal(mended, pixels)


# --- one photo, each damage --------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "least", "steps"),
    [
        ("noise15", 4.0, {"denoise"}),
        ("noise25", 5.0, {"denoise"}),
        ("jpeg20", 0.8, {"denoise"}),
        ("blur", 1.0, {"sharpen"}),
        ("fade", 6.0, {"restore colours"}),
        ("scratch", 4.0, {"repair scratches"}),
        ("old", 4.0, {"repair scratches", "denoise", "restore colours"}),
    ],
)
def test_damage_is_repaired(
    astronaut: Pixels, kind: str, least: float, steps: set[str]
) -> None:
    result = score("astronaut", astronaut, kind)
    assert result.gain >= least, result.report
    assert result.gain_ssim > 0
    assert {step["step"] for step in result.report["steps"]} == steps
    assert not result.report["unchanged"]
    assert "why_unchanged" not in result.report


def test_the_same_photo_gives_the_same_result(astronaut: Pixels) -> None:
    harmed = damage.old(astronaut)
    assert np.array_equal(restore_pixels(harmed)[0], restore_pixels(harmed)[0])


def test_the_owner_keeps_the_colours(astronaut: Pixels) -> None:
    faded = damage.fade(astronaut)
    mended, report = restore_pixels(faded, Options(keep_original_colors=True))
    assert np.array_equal(mended, faded)
    assert report.not_done == [
        {"step": "restore colours", "why": "The owner keeps the original colours."}
    ]


def test_a_large_blurred_photo_is_sharpened_at_viewing_size() -> None:
    """Blur of many pixels in a large photo is the same blur on a screen."""
    import cv2

    chelsea = photo_sets.colour()["chelsea"]
    large = np.asarray(cv2.resize(chelsea, None, fx=3, fy=3), dtype=np.uint8)
    harmed = damage.blur(large, 1.4 * 3 / 0.75)
    mended, report = restore_pixels(harmed)
    assert [step["step"] for step in report.steps] == ["sharpen"]
    assert compare(large, mended)[0] > compare(large, harmed)[0] + 0.2


def test_noise_that_was_saved_as_a_jpeg_is_removed(astronaut: Pixels) -> None:
    """JPEG takes noise away unevenly, so it looks like texture."""
    harmed = damage.jpeg(damage.noise(astronaut, 12), 88)
    noise = measure_noise(harmed)
    assert noise.evenness < EVEN_NOISE
    mended, report = restore_pixels(harmed)
    assert [step["step"] for step in report.steps] == ["denoise"]
    assert compare(astronaut, mended)[0] > compare(astronaut, harmed)[0] + 1


def test_noise_is_not_sharpened(astronaut: Pixels) -> None:
    _, report = restore_pixels(damage.noise(damage.blur(astronaut, 3), 4))
    assert "sharpen" not in {step["step"] for step in report.steps}


@pytest.mark.slow
def test_invented_detail_is_named_in_the_report(astronaut: Pixels) -> None:
    face = np.ascontiguousarray(astronaut[60:156, 150:246])
    options = Options(generated_detail=True)
    mended, report = restore_pixels(damage.blur(face, 1.8), options)
    assert [step["engine"] for step in report.steps] == ["Real-ESRGAN x4plus (ncnn)"]
    assert "invented" in str(report.steps[0]["note"])
    assert mended.shape == face.shape


# --- measures ----------------------------------------------------------------------


def test_the_noise_measure_is_near_the_true_noise(astronaut: Pixels) -> None:
    for sigma in (8, 15, 25):
        harmed = damage.noise(astronaut, sigma)
        assert 0.75 * sigma < measure_noise(harmed).sigma < 1.1 * sigma


def test_a_large_photo_is_measured_in_bands_without_seams() -> None:
    random = np.random.default_rng(3)
    flat = np.full((1100, 96, 3), 128.0)
    noisy = (flat + random.normal(0, 10, flat.shape)).round().astype(np.uint8)
    whole = measure_noise(noisy)
    assert whole.sigma == pytest.approx(10, abs=1)
    assert whole.evenness > 0.9


def test_the_edge_measure_orders_blur(astronaut: Pixels) -> None:
    widths = [
        measure_edges(damage.blur(astronaut, sigma) if sigma else astronaut).width
        for sigma in (0, 0.7, 1.4, 2.5)
    ]
    assert widths == sorted(widths)


def test_fading_keeps_the_shadows_edge_and_haze_spreads_it(astronaut: Pixels) -> None:
    faded = measure_tones(damage.fade(astronaut)).shadow_taper
    assert faded == pytest.approx(measure_tones(astronaut).shadow_taper, abs=0.02)
    assert measure_tones(damage.haze(astronaut)).shadow_taper > faded + 0.1


def test_texture_beyond_the_noise_is_given_back() -> None:
    """A denoiser that takes everything leaves the texture that noise cannot explain."""
    grass = photo_sets.texture()["grass"]
    flat = np.full_like(grass, grass.mean())
    kept = keep_texture(grass, flat, 5.0)
    taken = (grass.astype(float) - kept).std()
    assert taken < 5.0
    assert np.array_equal(keep_texture(flat, flat, 5.0), flat)


# --- every photo, each damage ------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "least", "least_ssim"),
    [
        ("noise15", 4.0, 0.05),
        ("noise25", 5.0, 0.05),
        ("jpeg20", 0.8, 0.0),
        ("blur", 0.5, 0.0),
        ("fade", 6.0, 0.0),
        ("scratch", 4.0, 0.0),
        ("old", 4.0, 0.10),
    ],
)
def test_the_gate_of_a_damage(kind: str, least: float, least_ssim: float) -> None:
    colour = score_all(photo_sets.colour(), kind)
    assert np.mean([one.gain for one in colour]) >= least
    assert np.mean([one.gain_ssim for one in colour]) >= least_ssim
    for one in colour + score_all(photo_sets.texture(), kind):
        assert one.gain >= WORST, (one.name, one.gain, one.report)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LIGHT)
def test_no_photo_gets_worse_from_light_damage(kind: str) -> None:
    for name, pixels in photo_sets.all_photos().items():
        truth = damage.haze(pixels) if kind in HAZY else pixels
        harmed = LIGHT[kind](pixels)
        mended, report = restore_pixels(harmed)
        gain = compare(truth, mended)[0] - compare(truth, harmed)[0]
        assert gain >= WORST, (name, gain, report.as_json())

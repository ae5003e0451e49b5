"""Only files with the recorded SHA-256 are loaded; the report says what is missing."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from media import weights
from media.photos.files import Pixels
from media.photos.restore import Options, restore_pixels
from media.tests import damage

README = Path(weights.__file__).with_name("README.md")


@pytest.mark.parametrize("name", weights.MODELS)
def test_the_installed_weights_have_the_recorded_digests(name: str) -> None:
    for path, file in zip(
        weights.locate(name), weights.MODELS[name].files, strict=True
    ):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256


@pytest.mark.parametrize("name", weights.MODELS)
@pytest.mark.parametrize("changed", [0, 1])
def test_a_wrong_digest_is_not_loaded(
    name: str, changed: int, forged_weights: Path
) -> None:
    model = weights.MODELS[name]
    # Only one of the two files is forged; the other one gets its real bytes back.
    real = forged_weights / model.package / model.files[1 - changed].path
    real.write_bytes(real.read_bytes()[:-1])
    wrong = Path(model.files[changed].path).name
    with pytest.raises(weights.ModelMissing, match=f"{re.escape(wrong)} has a wrong"):
        weights.locate(name)
    assert wrong in weights.capabilities()["models"][name]["state"]


def test_the_right_digest_in_the_mirror_is_loaded(forged_weights: Path) -> None:
    name = "waifu2x-denoise3"
    model = weights.MODELS[name]
    for file in model.files:
        forged = forged_weights / model.package / file.path
        forged.write_bytes(forged.read_bytes()[:-1])
    network, binary = weights.locate(name)
    assert forged_weights in network.parents
    assert forged_weights in binary.parents


def test_an_empty_mirror_leaves_the_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget_networks: None
) -> None:
    monkeypatch.setenv("FOCUS_MODEL_DIR", str(tmp_path))
    assert "site-packages" in str(weights.locate("waifu2x-denoise3")[0])


def test_noise_without_the_network_is_removed_by_another_engine(
    astronaut: Pixels, forged_weights: Path
) -> None:
    _, report = restore_pixels(damage.noise(astronaut, 15))
    assert [step["engine"] for step in report.steps] == ["non-local means (OpenCV)"]
    assert report.not_done[0]["step"] == "denoise by waifu2x"
    assert "wrong SHA-256" in report.not_done[0]["why"]


def test_jpeg_blocks_without_the_network_stay_and_the_report_says_so(
    astronaut: Pixels, forged_weights: Path
) -> None:
    harmed = damage.jpeg(astronaut, 20)
    mended, report = restore_pixels(harmed)
    assert (mended == harmed).all()
    assert report.unchanged
    assert [left["step"] for left in report.not_done] == [
        "denoise by waifu2x",
        "remove JPEG blocks",
    ]


def test_blur_without_the_network_is_sharpened_by_another_engine(
    astronaut: Pixels, forged_weights: Path
) -> None:
    harmed = damage.blur(astronaut, 1.4)
    _, report = restore_pixels(harmed, Options(generated_detail=True))
    assert [step["engine"] for step in report.steps] == ["unsharp mask (OpenCV)"]
    assert report.not_done[0]["step"] == "sharpen by Real-ESRGAN"


def test_the_readme_lists_every_file_with_its_digest_and_licence() -> None:
    text = README.read_text()
    for model in weights.MODELS.values():
        assert model.licence in text
        assert f"{model.package.replace('_', '-')} {model.version}" in text
        for file in model.files:
            assert f"`{Path(file.path).name}`" in text
            assert file.sha256 in text

"""The real engine in the sandbox speaks the protocol that the stand-in imitates."""

import os
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

import pytest

from devtools.launcher.media import Engine
from jobs.hosted import sandbox
from jobs.hosted.sandbox import EngineFailed, Limits, Refused

ENGINE = Engine()
pytestmark = pytest.mark.skipif(
    not ENGINE.ready() and not os.environ.get("FOCUS_CI"),
    reason="./dev media installs the engine",
)
SIDE = 96


@pytest.fixture(autouse=True)
def real_engine(stand_in: Path, settings: Any) -> None:
    settings.MEDIA_PYTHON = ENGINE.python


def noise() -> bytes:
    """A PNG of grey noise."""
    random = Random(1)
    rows = b"".join(
        b"\0" + bytes(min(255, max(0, int(random.gauss(128, 40)))) for _ in range(SIDE))
        for _ in range(SIDE)
    )

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + crc(name + body)

    def crc(data: bytes) -> bytes:
        return struct.pack(">I", zlib.crc32(data))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def restore(content: bytes, folder: Path, **more: Any) -> dict[str, Any]:
    (folder / "source").write_bytes(content)
    request = {
        "source": "source",
        "full": "full.png",
        "preview": "preview.jpg",
        "options": {},
        **more.pop("request", {}),
    }
    limits = more.pop("limits", Limits())
    return sandbox.run("restore", request, folder=folder, limits=limits, **more)


def test_it_says_what_it_can_do() -> None:
    with sandbox.folder() as folder:
        answer = sandbox.run("capabilities", {}, folder=folder, limits=Limits())
    assert answer["outcome"] == "done"


def test_it_restores_a_photo() -> None:
    heard: list[tuple[float, str]] = []
    with sandbox.folder() as folder:
        answer = restore(
            noise(), folder, on_progress=lambda *progress: heard.append(progress)
        )
        assert sorted(path.name for path in folder.iterdir()) == [
            "full.png",
            "preview.jpg",
            "source",
        ]
    assert answer["full"] == {"width": SIDE, "height": SIDE, "lossless": True}
    assert answer["report"]["before"]["noise"]["sigma"] > 0
    percentages = [percent for percent, _ in heard]
    assert percentages == sorted(percentages)
    assert {"opening", "measuring", "writing"} <= {stage for _, stage in heard}


def test_it_refuses_what_is_no_photo() -> None:
    with sandbox.folder() as folder, pytest.raises(Refused) as refused:
        restore(b"GIF89a no photo", folder)
    assert refused.value.code == "not_a_photo"
    assert refused.value.sentence
    assert refused.value.change


def test_it_calls_an_unknown_field_our_mistake() -> None:
    with sandbox.folder() as folder, pytest.raises(EngineFailed) as failed:
        restore(noise(), folder, request={"colour": "blue"})
    assert failed.value.code == "bad_request"
    assert "colour" in failed.value.detail


def test_it_ends_within_a_memory_that_is_too_small() -> None:
    limits = Limits(memory_bytes=96 * 1024**2)
    with sandbox.folder() as folder, pytest.raises(EngineFailed):
        restore(noise(), folder, limits=limits)

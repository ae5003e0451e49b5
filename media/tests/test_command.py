"""The protocol: JSON in, JSON lines out, exit codes, all results or none."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from media.photos.files import Pixels
from media.tests import damage
from media.tests.videos import footage

ROOT = Path(__file__).resolve().parents[2]
ENGINE = [sys.executable, "-m", "media"]


@dataclass
class Run:
    code: int
    lines: list[dict[str, Any]]
    said: str

    @property
    def answer(self) -> dict[str, Any]:
        return self.lines[-1]


def run(command: str, request: object) -> Run:
    text = request if isinstance(request, str) else json.dumps(request)
    done = subprocess.run(
        [*ENGINE, command],
        input=text,
        cwd=ROOT,
        # A worker gives its engine an empty environment.
        env={},
        capture_output=True,
        text=True,
        timeout=180,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return Run(done.returncode, lines, done.stderr)


@pytest.fixture
def photo(tmp_path: Path, astronaut: Pixels) -> Path:
    Image.fromarray(damage.noise(astronaut, 15)).save(tmp_path / "in.png")
    return tmp_path / "in.png"


def request_for(source: Path) -> dict[str, object]:
    folder = source.parent
    return {
        "source": str(source),
        "full": str(folder / "full.png"),
        "preview": str(folder / "preview.jpg"),
    }


def test_restore_writes_both_files_and_a_report(photo: Path) -> None:
    done = run("restore", request_for(photo))
    assert done.code == 0, done.said
    assert done.answer["outcome"] == "done"
    assert done.answer["full"] == {"width": 384, "height": 384, "lossless": True}
    assert done.answer["source"]["format"] == "PNG"
    report = done.answer["report"]
    assert [step["step"] for step in report["steps"]] == ["denoise"]
    assert report["steps"][0]["engine"] == "waifu2x photo, denoise 3 (ncnn)"
    noise_before = report["before"]["noise"]["sigma"]
    assert noise_before > 10 > report["after"]["noise"]["sigma"]
    assert sorted(p.name for p in photo.parent.iterdir()) == [
        "full.png",
        "in.png",
        "preview.jpg",
    ]


def test_progress_comes_first_and_never_falls(photo: Path) -> None:
    done = run("restore", request_for(photo))
    progress = done.lines[:-1]
    assert all(set(line) == {"percent", "stage"} for line in progress)
    percents = [line["percent"] for line in progress]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)
    assert {"measuring", "scratches", "noise", "colours", "writing"} <= {
        line["stage"] for line in progress
    }


def test_preview_alone(photo: Path) -> None:
    target = photo.parent / "preview.jpg"
    done = run("preview", {"source": str(photo), "preview": str(target)})
    assert done.code == 0
    with Image.open(target) as made:
        assert made.size == (288, 288)


def test_capabilities_say_what_this_machine_can_do() -> None:
    done = run("capabilities", "")
    assert done.code == 0
    models = done.answer["models"]
    assert set(models) == {"waifu2x-denoise3", "realesrgan-x4plus"}
    assert {model["state"] for model in models.values()} == {"ready"}
    assert all(done.answer["libraries"].values())
    assert done.answer["ffmpeg"]["state"] == "ready"


@pytest.mark.parametrize(
    "change",
    [
        {"source": "/nowhere/at/all.png"},
        {"source": 7},
        {"source": ""},
        {"source": "a\0b"},
        {"source": "/tmp"},
        {"full": "/tmp/full.exe"},
        {"full": "/nowhere/at/all/full.png"},
        {"full": "preview.jpg", "preview": "preview.jpg"},
        {"preview": "/tmp/preview.png"},
        {"surprise": 1},
        {"options": []},
        {"options": {"evil": True}},
        {"options": {"keep_original_colors": "yes"}},
        {"options": {"generated_detail": 1}},
    ],
)
def test_a_malformed_request_is_the_workers_mistake(
    photo: Path, change: dict[str, object]
) -> None:
    done = run("restore", request_for(photo) | change)
    assert done.code == 2
    assert set(done.answer) == {"outcome", "sentence"}
    assert done.answer["outcome"] == "bad_request"
    assert [p.name for p in photo.parent.iterdir()] == ["in.png"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 60_000])
def test_a_request_that_is_no_object(text: str) -> None:
    done = run("restore", text)
    assert (done.code, done.answer["outcome"]) == (2, "bad_request")


def test_a_request_without_end_is_not_read_to_its_end() -> None:
    done = run("restore", '{"source": "' + "a" * 70_000 + '"}')
    assert done.code == 2
    assert done.answer["sentence"] == "The request is too long."


@pytest.mark.parametrize("arguments", [[], ["montage"], ["restore", "x"], ["--help"]])
def test_other_arguments_print_the_usage(arguments: list[str]) -> None:
    done = subprocess.run(
        [*ENGINE, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "python -m media" in done.stderr
    assert done.stdout == ""


def test_a_refusal_says_why_and_what_to_change(tmp_path: Path) -> None:
    (tmp_path / "in.jpg").write_bytes(b"%PDF-1.7 no photo at all")
    done = run("restore", request_for(tmp_path / "in.jpg"))
    assert done.code == 3
    assert set(done.answer) == {"outcome", "code", "sentence", "change"}
    assert (done.answer["outcome"], done.answer["code"]) == ("refused", "not_a_photo")
    assert [p.name for p in tmp_path.iterdir()] == ["in.jpg"]


def test_a_full_memory_is_a_failure_and_no_refusal(tmp_path: Path) -> None:
    """The owner's photo is fine, so a retry on a larger machine may succeed."""
    big = np.zeros((6000, 6000, 3), np.uint8)
    Image.fromarray(big).save(tmp_path / "in.png")
    small = 700 << 20
    done = subprocess.run(
        [*ENGINE, "restore"],
        input=json.dumps(request_for(tmp_path / "in.png")),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (small, small)),
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 4, answer
    assert answer["outcome"] == "failed"
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"]


def test_sigterm_ends_the_work_and_leaves_no_file(photo: Path) -> None:
    with Image.open(photo) as image:
        image.resize((1800, 1800)).save(photo)
    worker = subprocess.Popen(
        [*ENGINE, "restore"],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdin
    assert worker.stdout
    with worker.stdin, worker.stdout:
        worker.stdin.write(json.dumps(request_for(photo)))
        worker.stdin.close()
        for line in worker.stdout:
            if json.loads(line)["percent"] > 25:
                break
        worker.send_signal(signal.SIGTERM)
        answer = json.loads(worker.stdout.read().splitlines()[-1])
    assert worker.wait(timeout=30) == 4
    assert (answer["outcome"], answer["code"]) == ("failed", "stopped")
    assert [p.name for p in photo.parent.iterdir()] == ["in.png"]


def test_sigkill_leaves_no_result_under_its_final_name(photo: Path) -> None:
    with Image.open(photo) as image:
        image.resize((1800, 1800)).save(photo)
    worker = subprocess.Popen(
        [*ENGINE, "restore"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdin
    assert worker.stdout
    with worker.stdin, worker.stdout:
        worker.stdin.write(json.dumps(request_for(photo)).encode())
        worker.stdin.close()
        worker.stdout.readline()
        time.sleep(0.5)
        worker.kill()
    assert worker.wait(timeout=30) == -signal.SIGKILL
    names = {p.name for p in photo.parent.iterdir()}
    assert not names & {"full.png", "preview.jpg"}


def test_what_a_c_library_prints_is_no_line_of_the_protocol(photo: Path) -> None:
    program = (
        "import os, sys\n"
        "from media import __main__ as engine\n"
        "chosen = engine.COMMANDS['capabilities']\n"
        "def noisy(request, tell):\n"
        "    os.write(1, b'a C library prints this\\n')\n"
        "    return chosen(request, tell)\n"
        "engine.COMMANDS['capabilities'] = noisy\n"
        "sys.exit(engine.main(['capabilities']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert [json.loads(line)["outcome"] for line in done.stdout.splitlines()] == [
        "done"
    ]
    assert "a C library prints this" in done.stderr


# --- videos -------------------------------------------------------------------------


def test_probe_describes_a_video_and_leaves_nothing(tmp_path: Path) -> None:
    source = footage.plain(tmp_path / "a.mp4", size="320x180")
    done = run("probe", {"source": str(source), "folder": str(tmp_path)})
    assert done.code == 0, done.said
    assert (done.lines[0]["stage"], done.lines[-2]["percent"]) == ("probing", 100)
    video = done.answer["video"]
    assert set(video) == {
        *("container", "seconds", "claimed_seconds", "width", "height", "streams"),
        *("picture", "sound", "problems"),
    }
    assert (video["width"], video["height"], video["container"]) == (320, 180, "mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_probe_refuses_with_a_reason_and_leaves_nothing(tmp_path: Path) -> None:
    source = footage.plain(tmp_path / "a.mp4")
    asked = {"source": str(source), "folder": str(tmp_path)}
    done = run("probe", asked | {"options": {"most_seconds": 1}})
    assert (done.code, done.answer["code"]) == (3, "too_long")
    assert set(done.answer) == {"outcome", "code", "sentence", "change"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    "change",
    [
        {"source": "/nowhere/at/all.mp4"},
        {"folder": "/nowhere/at/all"},
        {"folder": None},
        {"surprise": 1},
        {"options": {"evil": 1}},
        {"options": {"most_seconds": "7"}},
        {"options": {"most_seconds": True}},
        {"options": {"most_seconds": 0}},
        {"options": {"most_seconds": float("nan")}},
    ],
)
def test_a_malformed_probe_is_the_workers_mistake(
    tmp_path: Path, change: dict[str, object]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    asked = {"source": str(tmp_path / "a.mp4"), "folder": str(tmp_path)}
    done = run("probe", asked | change)
    assert (done.code, done.answer["outcome"]) == (2, "bad_request")


def test_detect_offers_clips_and_leaves_nothing(tmp_path: Path) -> None:
    burst = "noise=alls=60:allf=t:enable='between(t,12,14)'"
    source = footage.plain(tmp_path / "a.mp4", seconds=20, filters=burst)
    asked = {"source": str(source), "folder": str(tmp_path)}
    done = run("detect", asked | {"options": {"num_clips": 1, "events": [13]}})
    assert done.code == 0, done.said
    stages = [line["stage"] for line in done.lines[:-1]]
    assert list(dict.fromkeys(stages)) == ["probing", "analysing", "selecting", "done"]
    assert set(done.answer) == {"outcome", "clips", "video", "report"}
    [clip] = done.answer["clips"]
    assert set(clip) == {"start", "end", "score", "reason", "features"}
    assert clip["start"] < 13 < clip["end"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    "options",
    [
        {"num_clips": 0},
        {"num_clips": 21},
        {"num_clips": 1.5},
        {"style": "baroque"},
        {"style": []},
        {"events": [True]},
        {"events": [-1]},
        {"events": 7},
        {"events": [1] * 1001},
        {"rules": {}},
    ],
)
def test_a_malformed_detect_is_the_workers_mistake(
    tmp_path: Path, options: dict[str, object]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    asked = {"source": str(tmp_path / "a.mp4"), "folder": str(tmp_path)}
    done = run("detect", asked | {"options": options})
    assert (done.code, done.answer["outcome"]) == (2, "bad_request")

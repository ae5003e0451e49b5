"""ffmpeg opens no socket, reads one file, keeps to limits and ends with its run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from media import binaries, ffmpeg
from media.errors import EngineFailed, MediaRefused
from media.ffmpeg import Limits
from media.tests.videos import footage
from media.video.probe import probe
from media.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
ENDLESS = ["-re", "-f", "lavfi", "-i", "testsrc2=s=64x64:r=30", "-f", "null", "-"]


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path) as workspace:
        yield workspace


@pytest.fixture
def visits() -> Iterator[tuple[int, list[str]]]:
    """Listen on the loopback address; keep what arrives there."""
    server = socket.create_server(("127.0.0.1", 0))
    seen: list[str] = []

    def listen() -> None:
        while True:
            try:
                visitor, _ = server.accept()
            except OSError:
                return
            with visitor:
                seen.append(visitor.recv(100).decode("latin-1"))

    thread = threading.Thread(target=listen)
    thread.start()
    yield server.getsockname()[1], seen
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def playlists(port: int) -> dict[str, str]:
    address = f"http://127.0.0.1:{port}"
    return {
        "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n"
        f"{address}/a.ts\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile {address}/a.ts\n",
        "SDP": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    }


def gone(find: Callable[[], list[int]]) -> bool:
    limit = time.monotonic() + 30
    while find() and time.monotonic() < limit:
        time.sleep(0.05)
    return not find()


def working_in(folder: Path) -> list[int]:
    """Return the processes that have the folder, or one in it, as working directory."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            where = Path(os.readlink(link))
        except OSError:
            continue
        if where.is_relative_to(folder):
            found.append(int(link.parent.name))
    return found


# --- one file and no host -----------------------------------------------------------


def test_a_disguised_playlist_reaches_no_host(
    space: Workspace, tmp_path: Path, visits: tuple[int, list[str]]
) -> None:
    port, seen = visits
    for name, content in playlists(port).items():
        disguised = tmp_path / "upload.mp4"
        disguised.write_text(content)
        with pytest.raises(MediaRefused) as refusal:
            probe(space, disguised)
        assert refusal.value.code == "playlist", name
        # The first bytes decide before ffmpeg starts; its own flags must hold as well.
        for demuxer in ("mov", "matroska", "avi"):
            flags = ffmpeg.input_flags(demuxer)
            for known in (flags, flags[: flags.index("-f")]):
                arguments = [*known, "-i", space.link(disguised), "-f", "null", "-"]
                with pytest.raises(EngineFailed) as failed:
                    ffmpeg.render(arguments, space)
                assert failed.value.code == "ffmpeg"
    assert seen == []
    # Without the flags the same file does call: the test can fail.
    disguised.write_text(playlists(port)["HLS"])
    open_flags = ("-protocol_whitelist", "file,http,tcp", "-rw_timeout", "20000000")
    with pytest.raises(subprocess.CalledProcessError):
        footage.run(*open_flags, "-i", disguised, "-f", "null", "-")
    assert seen[0].startswith("GET /a.ts")


def test_no_name_of_a_user_is_an_argument(space: Workspace, tmp_path: Path) -> None:
    made = footage.plain(tmp_path / "a.mp4", seconds=1)
    named = made.rename(tmp_path / "-i http:,'[x];movie=evil.mp4%03d")
    arguments = ffmpeg.open_input(space, named, start=0.25, seconds=0.5)
    assert not any("evil" in argument for argument in arguments)
    assert arguments[-1] == "file:input0"
    assert probe(space, named).seconds == pytest.approx(1, abs=0.1)


def test_the_flags_stand_before_the_input(space: Workspace, tmp_path: Path) -> None:
    made = footage.plain(tmp_path / "a.mp4", seconds=1)
    arguments = ffmpeg.open_input(space, made)
    for flag in ("-protocol_whitelist", "-format_whitelist", "-codec_whitelist"):
        assert arguments.index(flag) < arguments.index("-i")
    assert arguments[arguments.index("-protocol_whitelist") + 1] == "file"
    assert arguments[arguments.index("-f") + 1] == "mov"


# --- limits -------------------------------------------------------------------------


def test_a_run_over_its_wall_clock_is_killed(space: Workspace) -> None:
    with pytest.raises(EngineFailed) as failed:
        ffmpeg.render(ENDLESS, space, limits=Limits(wall_seconds=1))
    assert failed.value.code == "timeout"
    assert working_in(space.path) == []


def test_a_run_without_progress_is_killed(space: Workspace) -> None:
    """It prints progress lines, but their time stands still."""
    stuck = ["-f", "lavfi", "-i", "testsrc2=r=30,select=0", "-f", "null", "-"]
    with pytest.raises(EngineFailed) as failed:
        ffmpeg.render(stuck, space, limits=Limits(stall_seconds=1.5))
    assert failed.value.code == "stalled"
    assert working_in(space.path) == []


def test_a_run_over_its_memory_fails(space: Workspace) -> None:
    huge = ["-f", "lavfi", "-i", "testsrc2=s=4096x2304:d=1", "-f", "null", "-"]
    ffmpeg.render(huge, space)
    with pytest.raises(EngineFailed):
        ffmpeg.render(huge, space, limits=Limits(memory_bytes=150 << 20))


@pytest.mark.slow
def test_a_decoder_makes_no_picture_of_96_megapixels(
    space: Workspace, tmp_path: Path
) -> None:
    """Not even where the container says 640 x 360."""
    for make in (footage.bomb, footage.lying_bomb):
        opened = ffmpeg.open_input(space, make(tmp_path / "a.mp4"))
        with pytest.raises(EngineFailed) as failed:
            ffmpeg.render([*opened, "-f", "null", "-"], space)
        assert "exceeds specified max pixel count" in failed.value.detail


def test_a_file_without_end_is_stopped(space: Workspace) -> None:
    raw = ["-f", "lavfi", "-i", "testsrc2=s=640x360:d=60", "-f", "rawvideo", "big.raw"]
    with pytest.raises(EngineFailed):
        ffmpeg.render(raw, space, limits=Limits(file_bytes=1 << 20))
    assert space.file("big.raw").stat().st_size <= 1 << 20


def test_output_without_end_is_not_kept(space: Workspace) -> None:
    base = [binaries.find().ffmpeg, "-nostdin", "-loglevel", "error"]
    raw = [*base, *ENDLESS[1:-3], "-f", "rawvideo", "pipe:1"]
    with pytest.raises(ffmpeg.TooMuchOutput):
        ffmpeg.capture(raw, space, most_bytes=1 << 20)
    assert working_in(space.path) == []


def test_complaints_without_end_neither_block_nor_fill_the_memory(
    space: Workspace,
) -> None:
    program = (
        "import sys\n"
        "for _ in range(100): sys.stderr.write('x' * 100_000)\n"
        "print('end', file=sys.stderr); print('out')"
    )
    out, said = ffmpeg.capture([sys.executable, "-c", program], space)
    assert out == b"out\n"
    assert said.endswith("end\n")
    assert len(said) <= ffmpeg.MOST_SAID


def test_a_tool_inherits_nothing_of_the_environment(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "swordfish")
    show = "import os; print(os.environ.get('SECRET_KEY'), os.getcwd())"
    out, _ = ffmpeg.capture([sys.executable, "-c", show], space)
    assert out.decode().split() == ["None", str(space.path)]


def test_progress_is_told_in_seconds_of_output(space: Workspace) -> None:
    heard: list[float] = []
    short = ["-f", "lavfi", "-i", "testsrc2=s=64x64:r=30:d=2", "-f", "null", "-"]
    ffmpeg.render(short, space, on_progress=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(2, abs=0.05)


def test_frames_have_their_size_and_all_arrive(space: Workspace) -> None:
    raw = ["-f", "lavfi", "-i", "testsrc2=s=64x64:r=30:d=2", "-pix_fmt", "gray"]
    got = list(ffmpeg.frames([*raw, "-f", "rawvideo", "pipe:1"], space, 64 * 64))
    assert len(got) == 60
    assert {len(frame) for frame in got} == {64 * 64}


# --- no process left ----------------------------------------------------------------

PROGRAM = (
    "import signal, sys\n"
    "from pathlib import Path\n"
    "from media import __main__ as engine, ffmpeg\n"
    "from media.workspace import Workspace\n"
    "def endless(request, tell):\n"
    "    told = lambda seconds: tell(seconds, 'running')\n"
    "    with Workspace(Path(sys.argv[1])) as space:\n"
    f"        ffmpeg.render({ENDLESS!r}, space, on_progress=told)\n"
    "engine.COMMANDS['probe'] = endless\n"
    "sys.exit(engine.main(['probe']))\n"
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_ffmpeg_outlives_its_engine(tmp_path: Path, number: signal.Signals) -> None:
    engine = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert engine.stdin
    assert engine.stdout
    with engine.stdin, engine.stdout:
        engine.stdin.write("{}")
        engine.stdin.close()
        assert json.loads(engine.stdout.readline())["stage"] == "running"
        assert len(working_in(tmp_path)) == 1
        engine.send_signal(number)
        rest = engine.stdout.read()
    status = engine.wait(timeout=30)
    assert gone(lambda: working_in(tmp_path))
    if number == signal.SIGTERM:
        assert status == 4
        assert json.loads(rest.splitlines()[-1])["code"] == "stopped"
        assert list(tmp_path.iterdir()) == []
    else:
        assert status == -signal.SIGKILL


def test_ffmpeg_is_in_the_engines_process_group(space: Workspace) -> None:
    """So the worker's kill of the group reaches it also without util-linux."""
    base = [binaries.find().ffmpeg, "-nostdin", "-loglevel", "error"]
    with ffmpeg.running([*base, *ENDLESS], space) as run:
        assert os.getpgid(run.process.pid) == os.getpgrp()
    assert run.process.returncode == -signal.SIGKILL

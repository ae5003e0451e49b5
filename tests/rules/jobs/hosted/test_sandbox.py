"""The sandbox with real processes: limits, no network, and no process left behind."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from jobs.hosted import sandbox
from jobs.hosted.sandbox import EngineFailed, Limits, Refused, Stopped
from tests.processes import ROOT, until

LIMITS = Limits(seconds=60, stall_seconds=60)


def engine(folder: Path, *steps: Any, limits: Limits = LIMITS, **more: Any) -> Any:
    return sandbox.run("test", {"steps": steps}, folder=folder, limits=limits, **more)


def processes_with(mark: str) -> list[int]:
    """The ids of the processes that have the mark in their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
            state = (path.parent / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if mark.encode() in text and state != "Z" and path.parent.name != "self":
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


class TestAnswers:
    def test_done(self, folder: Path) -> None:
        heard: list[tuple[float, str]] = []
        answer = engine(
            folder,
            ["tell", 40],
            ["write", "result"],
            on_progress=lambda percent, stage: heard.append((percent, stage)),
        )
        assert answer == {"outcome": "done", "report": {"steps": 2}}
        assert heard == [(10.0, "opening"), (40.0, "working")]
        assert [path.name for path in folder.iterdir()] == ["result"]

    def test_refused(self, folder: Path) -> None:
        with pytest.raises(Refused) as refused:
            engine(folder, ["refuse", "no_photo"])
        assert refused.value.code == "no_photo"
        assert refused.value.sentence == "No photo."
        assert refused.value.change == "Another."

    def test_texts_are_such_that_the_database_stores_them(self, folder: Path) -> None:
        heard: list[tuple[float, str]] = []
        strange = "say(percent=10**400, stage='a\\0b\\ud800')"
        with pytest.raises(Refused) as refused:
            engine(
                folder,
                ["python", strange],
                ["refuse", "a\0b\ud800"],
                on_progress=lambda percent, stage: heard.append((percent, stage)),
            )
        assert refused.value.code == "ab?"
        assert heard == [(10.0, "opening"), (100.0, "ab?")]

    @pytest.mark.parametrize(
        ("step", "code", "detail"),
        [
            (["fail", "shape"], "shape", "the detail"),
            (["bad", ""], "bad_request", "No such field."),
            (["die", "SIGKILL"], "killed", "signal 9"),
            (["die", "SIGABRT"], "killed", "signal 6"),
            (["exit", 0], "protocol", "exit 0"),
            (["exit", 3], "protocol", "exit 3"),
            (["exit", 7], "protocol", "exit 7"),
            (["print", "a library's note"], "output", "no JSON object"),
            (["print", "[1]"], "output", "no JSON object"),
            (["print", '{"percent": NaN, "stage": "x"}'], "output", "no JSON object"),
            (["print", "x" * 300_000], "output", "bytes of output"),
            (["python", "while True: say(percent=1.0, stage='x')"], "output", "bytes"),
            (["python", "raise ValueError('in the log')"], "protocol", "in the log"),
        ],
        ids=lambda value: str(value)[:25],
    )
    def test_failed(
        self, folder: Path, step: list[Any], code: str, detail: str
    ) -> None:
        with pytest.raises(EngineFailed) as failed:
            engine(folder, step)
        assert failed.value.code == code
        assert detail in failed.value.detail
        assert len(failed.value.detail) < 5000

    def test_an_engine_that_is_not_there(self, folder: Path, settings: Any) -> None:
        settings.MEDIA_PYTHON = folder / "nothing"
        with pytest.raises(EngineFailed) as failed:
            engine(folder)
        assert failed.value.code == "protocol"
        assert "FileNotFoundError" in failed.value.detail

    def test_a_text_with_a_nul_can_be_stored(self, folder: Path) -> None:
        with pytest.raises(Refused) as refused:
            engine(folder, ["refuse", "no\0photo"])
        assert refused.value.code == "nophoto"


class TestLimits:
    def test_the_wall_clock(self, folder: Path) -> None:
        limits = Limits(seconds=1, stall_seconds=60)
        with pytest.raises(EngineFailed, match="too_slow"):
            engine(folder, ["sleep", 600], limits=limits)

    def test_an_engine_that_says_nothing_has_stalled(self, folder: Path) -> None:
        limits = Limits(seconds=60, stall_seconds=1)
        with pytest.raises(EngineFailed, match="stalled"):
            engine(folder, ["sleep", 600], limits=limits)

    def test_memory(self, folder: Path) -> None:
        limits = Limits(memory_bytes=256 * 1024**2)
        with pytest.raises(EngineFailed) as failed:
            engine(folder, ["allocate", 512 * 1024**2], limits=limits)
        assert failed.value.code == "memory"

    def test_the_size_of_a_file(self, folder: Path) -> None:
        limits = Limits(file_bytes=1024**2)
        with pytest.raises(EngineFailed) as failed:
            engine(folder, ["fill", 2 * 1024**2], limits=limits)
        assert "File too large" in failed.value.detail
        assert (folder / "big").stat().st_size <= 1024**2

    def test_processor_time(self, folder: Path) -> None:
        """The limit is the wall clock's, times the cores; here the engine sets it."""
        code = (
            "import resource\n"
            "assert resource.getrlimit(resource.RLIMIT_CPU)[1] > 60\n"
            "resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\n"
            "while True: pass"
        )
        with pytest.raises(EngineFailed) as failed:
            engine(folder, ["python", code])
        assert (failed.value.code, failed.value.detail) == ("killed", "signal 9")

    def test_the_environment_is_empty_and_the_priority_low(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET_KEY", "a secret")
        code = (
            "import resource\n"
            "assert set(os.environ) <= {'PYTHONPATH', 'PYTHONDONTWRITEBYTECODE',"
            " 'TMPDIR', 'LC_ALL', 'MALLOC_ARENA_MAX'}, sorted(os.environ)\n"
            "assert os.environ['TMPDIR'] == os.getcwd()\n"
            "assert os.nice(0) >= 10\n"
            "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
            "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, 256)\n"
            "open_files = sorted(map(int, os.listdir('/proc/self/fd')))\n"
            "assert open_files[:3] == [0, 1, 2] and len(open_files) <= 4, open_files"
        )
        engine(folder, ["python", code])

    @pytest.mark.skipif(
        not sandbox.is_isolated(), reason="the kernel allows no new net"
    )
    def test_there_is_no_network(self, folder: Path) -> None:
        code = (
            "import socket\n"
            "assert [name for _, name in socket.if_nameindex()] == ['lo']\n"
            "for family, address in ((socket.AF_INET, ('127.0.0.1', 1)),\n"
            "                        (socket.AF_INET, ('192.0.2.1', 80))):\n"
            "    try:\n"
            "        socket.socket(family).connect(address)\n"
            "    except OSError as error:\n"
            "        assert error.errno == 101, error  # ENETUNREACH, not refused\n"
            "    else:\n"
            "        raise AssertionError(address)\n"
        )
        engine(folder, ["python", code])


class TestNothingIsLeft:
    @pytest.mark.parametrize("last", ["exit", "sleep", "die"])
    def test_a_child_of_the_engine_ends_with_it(self, folder: Path, last: str) -> None:
        mark = uuid.uuid4().hex
        steps = {
            "exit": ["exit", 0],
            "sleep": ["sleep", 600],
            "die": ["die", "SIGKILL"],
        }
        limits = Limits(seconds=3)
        with pytest.raises(EngineFailed):
            engine(folder, ["child", mark], steps[last], limits=limits)
        until(lambda: not processes_with(mark), seconds=30)

    def test_stopping_kills_the_engine_at_once(self, folder: Path) -> None:
        mark = uuid.uuid4().hex
        seen: list[int] = []

        def should_stop() -> bool:
            seen.extend(processes_with(mark))
            return bool(seen)

        with pytest.raises(Stopped):
            engine(folder, ["child", mark], ["sleep", 600], should_stop=should_stop)
        assert seen
        until(lambda: not processes_with(mark), seconds=30)

    @pytest.mark.parametrize("isolated", [True, False])
    def test_a_killed_worker_leaves_no_engine(
        self, folder: Path, stand_in: Path, isolated: bool
    ) -> None:
        """Also where the kernel allows no namespace: the lifeline alone does it."""
        mark = uuid.uuid4().hex
        program = (
            "import sys\n"
            f"sys.path.insert(0, {str(ROOT)!r})\n"
            "from pathlib import Path\n"
            "from django.conf import settings\n"
            f"settings.configure(BASE_DIR=Path({str(ROOT)!r}),"
            f" MEDIA_PYTHON=Path({str(stand_in / 'engine')!r}))\n"
            "from jobs.hosted import sandbox\n"
            "start = sandbox._start\n"
            "def other(command, **how):\n"
            f"    how['isolate'] = {'tried' if isolated else ''!r}\n"
            "    return start(command, **how)\n"
            "sandbox._start = other\n"
            f"sandbox.run('test', {{'steps': [['child', {mark!r}], ['sleep', 600]]}},"
            f" folder=Path({str(folder)!r}), limits=sandbox.Limits())\n"
        )
        worker = subprocess.Popen([sys.executable, "-c", program])
        try:
            # The child; its mark is also in the worker's own program.
            until(lambda: len(processes_with(mark)) == 2, seconds=30)
        finally:
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
        until(lambda: not processes_with(mark), seconds=30)
        until(lambda: not processes_with(str(stand_in / "engine")), seconds=30)

    def test_a_killed_keeper_leaves_no_engine(self, folder: Path) -> None:
        mark = uuid.uuid4().hex
        killed: list[int] = []

        def kill_the_keeper() -> bool:
            keepers = processes_with("keeper.py")
            mine = [pid for pid in keepers if _folder_of(pid) == folder]
            if processes_with(mark) and mine and not killed:
                killed.append(min(mine))
                os.kill(killed[0], signal.SIGKILL)
            return False

        with pytest.raises(EngineFailed) as failed:
            engine(folder, ["child", mark], ["sleep", 600], should_stop=kill_the_keeper)
        assert failed.value.code == "killed"
        until(lambda: not processes_with(mark), seconds=30)


def _folder_of(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


class TestFolders:
    def test_a_folder_is_removed_after_its_run(self, stand_in: Path) -> None:
        with sandbox.folder() as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_bytes(b"x")
        assert not folder.exists()

    def test_a_sweep_leaves_the_folder_of_a_living_worker(self, stand_in: Path) -> None:
        with sandbox.folder() as folder:
            assert sandbox.sweep() == 0
            assert folder.exists()

    def test_a_sweep_removes_the_folder_of_a_killed_worker(
        self, stand_in: Path
    ) -> None:
        work = stand_in / "work"
        program = (
            "import sys, time\n"
            f"sys.path.insert(0, {str(ROOT)!r})\n"
            "from pathlib import Path\n"
            "from django.conf import settings\n"
            f"settings.configure(MEDIA_WORK_FOLDER=Path({str(work)!r}))\n"
            "from jobs.hosted import sandbox\n"
            "with sandbox.folder() as folder:\n"
            "    (folder / 'file').write_bytes(b'x')\n"
            "    time.sleep(600)\n"
        )
        worker = subprocess.Popen([sys.executable, "-c", program])
        try:
            until(lambda: list(work.glob("*/file")), seconds=30)
        finally:
            worker.kill()
            worker.wait()
        assert sandbox.sweep() == 1
        assert list(work.iterdir()) == []

    def test_a_sweep_without_a_folder_does_nothing(self, stand_in: Path) -> None:
        assert sandbox.sweep() == 0

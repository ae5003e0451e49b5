"""Run the media engine once, as a process without network and with limits.

The engine reads files of strangers by large C libraries, so a hostile file may make it
do anything. Its process gets an empty environment, an empty folder, limits of memory,
time and file size, a low priority, and no network where the kernel allows that
(`keeper.py`). No text of a person is ever an argument.
"""

import contextlib
import fcntl
import functools
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.conf import settings

KEEPER = Path(__file__).with_name("keeper.py")
# The engine's own answers are shorter. A longer one fills the worker's memory.
MOST_LINE_BYTES = 256 * 1024
MOST_OUTPUT_BYTES = 8 * 1024 * 1024
KEPT_LOG_BYTES = 2000
LOOK_SECONDS = 0.25
NICENESS = 10
# Exit codes: media/README.md. The keeper adds 128 to a signal.
REFUSED, FAILED, SIGNALLED = 3, 4, 128

Answer = dict[str, Any]
OnProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Limits:
    """What one run of the engine may take.

    `seconds` is the wall clock. `stall_seconds` is the longest time without a line of
    progress. `memory_bytes` limits the address space, which is larger than the memory
    in use. `file_bytes` is the size of the largest file that it may write.
    """

    # For a noisy photo of 40 megapixels on two busy cores: decision 0045.
    seconds: float = 1800
    memory_bytes: int = 3 * 1024**3
    stall_seconds: float = 180
    file_bytes: int = 1024**3


class Refused(Exception):
    """The person's file cannot be used. Never retried; the person reads why.

    `code` is stable. `change` says what the person can do, or is empty.
    """

    def __init__(self, code: str, sentence: str, change: str = "") -> None:
        super().__init__(f"{code}: {sentence}")
        self.code, self.sentence, self.change = code, sentence, change


class EngineFailed(Exception):
    """The engine failed on a file that it accepted. `detail` is for staff."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


class Stopped(Exception):
    """`should_stop` said so, and the engine was killed."""


def run(
    command: str,
    request: Mapping[str, Any],
    *,
    folder: Path,
    limits: Limits,
    on_progress: OnProgress = lambda percent, stage: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Answer:
    """Do one command of the engine and return its last line, with the outcome `done`.

    The engine runs in `folder`, which holds its sources and gets its results. Raises
    `Refused`, `EngineFailed` or `Stopped`. When this call returns or raises, no process
    of the engine is left. `should_stop` is asked about four times a second.
    """
    engine = _Engine(command, request, folder, limits)
    try:
        return engine.answer(on_progress, should_stop)
    finally:
        engine.kill()


@functools.cache
def is_isolated() -> bool:
    """Whether the kernel gives the engine namespaces of its own. Asked once."""
    with open(os.devnull) as nothing:
        process, lifeline = _start(
            [sys.executable, "-I", "-S", "-c", ""],
            environment={},
            limits={},
            isolate="required",
            cwd=Path("/"),
            stdin=nothing,
            output=subprocess.DEVNULL,
        )
    try:
        return process.wait() == 0
    finally:
        os.close(lifeline)


class _Engine:
    """One process group of the engine: its keeper, the engine, and its children."""

    def __init__(
        self, command: str, request: Mapping[str, Any], folder: Path, limits: Limits
    ) -> None:
        self._limits = limits
        self._begun = self._heard_at = time.monotonic()
        self._read, self._rest, self._log = 0, b"", b""
        self._last: dict[str, Any] = {}
        with tempfile.TemporaryFile(dir=folder) as asked:
            # A file and no pipe: a long request in a pipe would block the worker.
            asked.write(json.dumps(request).encode())
            asked.seek(0)
            self._process, self._lifeline = _start(
                [str(settings.MEDIA_PYTHON), "-P", "-s", "-m", "media", command],
                environment=_environment(folder),
                limits={
                    "RLIMIT_AS": limits.memory_bytes,
                    "RLIMIT_CPU": int(limits.seconds * (os.cpu_count() or 1)) + 1,
                    "RLIMIT_FSIZE": limits.file_bytes,
                    "RLIMIT_NOFILE": 256,
                    "RLIMIT_CORE": 0,
                },
                isolate="tried",
                cwd=folder,
                stdin=asked,
                output=subprocess.PIPE,
            )

    def answer(
        self, on_progress: OnProgress, should_stop: Callable[[], bool]
    ) -> Answer:
        """Read until the engine has ended. Raises as `run`."""
        with selectors.DefaultSelector() as pipes:
            for pipe in self._pipes():
                os.set_blocking(pipe.fileno(), False)
                pipes.register(pipe, selectors.EVENT_READ)
            # The end of the keeper counts and not the end of the output: a process that
            # the engine left behind could keep a pipe open.
            while self._process.poll() is None:
                if pipes.get_map():
                    ready = pipes.select(LOOK_SECONDS)
                else:
                    time.sleep(LOOK_SECONDS)
                    ready = []
                self._take(pipes, ready, on_progress)
                self._check(should_stop)
            while ready := pipes.select(0):
                self._take(pipes, ready, on_progress)
                # A process that was left behind could write for ever.
                self._check(should_stop)
        return self._outcome()

    def kill(self) -> None:
        """Kill every process of the group, and wait for the keeper."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._lifeline)
        for pipe in self._pipes():
            pipe.close()

    def _pipes(self) -> list[IO[bytes]]:
        both = (self._process.stdout, self._process.stderr)
        return [pipe for pipe in both if pipe is not None]

    def _take(
        self,
        pipes: selectors.BaseSelector,
        ready: list[tuple[selectors.SelectorKey, int]],
        on_progress: OnProgress,
    ) -> None:
        for key, _ in ready:
            try:
                read = os.read(key.fd, 65_536)
            except BlockingIOError:
                continue
            if not read:
                pipes.unregister(key.fileobj)
            elif key.fileobj is self._process.stderr:
                self._log = (self._log + read)[-KEPT_LOG_BYTES:]
            else:
                self._hear(read, on_progress)

    def _hear(self, read: bytes, on_progress: OnProgress) -> None:
        self._read += len(read)
        *lines, self._rest = (self._rest + read).split(b"\n")
        longest = max(map(len, [*lines, self._rest]))
        if longest > MOST_LINE_BYTES or self._read > MOST_OUTPUT_BYTES:
            raise EngineFailed("output", f"{self._read} bytes of output")
        for line in lines:
            try:
                said = json.loads(line, parse_constant=_no_number)
            except (ValueError, RecursionError):
                said = None
            if not isinstance(said, dict):
                raise EngineFailed("output", f"no JSON object: {line[:200]!r}")
            self._heard_at = time.monotonic()
            if "outcome" in said:
                self._last = said
                continue
            percent, stage = said.get("percent"), said.get("stage")
            if isinstance(percent, int | float) and isinstance(stage, str):
                on_progress(float(min(max(percent, 0), 100)), _text(said, "stage", 30))

    def _check(self, should_stop: Callable[[], bool]) -> None:
        now = time.monotonic()
        if should_stop():
            raise Stopped
        if now - self._begun > self._limits.seconds:
            raise EngineFailed("too_slow", f"over {self._limits.seconds:.0f} s")
        if now - self._heard_at > self._limits.stall_seconds:
            raise EngineFailed(
                "stalled", f"no progress for {self._limits.stall_seconds:.0f} s"
            )

    def _outcome(self) -> Answer:
        code, last = self._process.returncode, self._last
        outcome = last.get("outcome")
        log = self._log.decode(errors="replace")
        if (code, outcome) == (0, "done"):
            return last
        if (code, outcome) == (REFUSED, "refused"):
            raise Refused(
                _text(last, "code", 40),
                _text(last, "sentence", 300),
                _text(last, "change", 300),
            )
        if (code, outcome) == (FAILED, "failed"):
            detail = f"{_text(last, 'sentence', 300)} {_text(last, 'detail', 2000)}"
            raise EngineFailed(_text(last, "code", 40), f"{detail}\n{log}".strip())
        if outcome == "bad_request":
            raise EngineFailed("bad_request", _text(last, "sentence", 2000))
        if code > SIGNALLED or code < 0:
            number = -code if code < 0 else code - SIGNALLED
            raise EngineFailed("killed", f"signal {number}\n{log}".strip())
        raise EngineFailed("protocol", f"exit {code}, {outcome}\n{log}".strip())


def _text(answer: Answer, name: str, most: int) -> str:
    """Return a text of the engine, which PostgreSQL can store.

    That is one without U+0000 and halves of surrogate pairs.
    """
    text = str(answer.get(name, ""))[: most * 2].replace("\0", "")
    return text.encode("utf-8", "replace").decode()[:most]


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _environment(folder: Path) -> dict[str, str]:
    """Return the engine's whole environment: where its code and its folder are."""
    return {
        "PYTHONPATH": str(settings.BASE_DIR),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(folder),
        "LC_ALL": "C.UTF-8",
        # An arena of malloc reserves 64 MB of address space for each thread.
        "MALLOC_ARENA_MAX": "2",
    }


def _start(
    command: list[str],
    *,
    environment: Mapping[str, str],
    limits: Mapping[str, int],
    isolate: str,
    cwd: Path,
    stdin: IO[Any],
    output: int,
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the keeper; returns its process and the worker's end of the lifeline."""
    theirs, ours = os.pipe()
    how = {
        "lifeline": theirs,
        "nice": NICENESS,
        "isolate": isolate,
        "limits": limits,
        "command": command,
        "environment": environment,
    }
    try:
        process = subprocess.Popen(  # noqa: S603 — the arguments are ours
            [sys.executable, "-I", "-S", str(KEEPER), json.dumps(how)],
            env={},
            cwd=cwd,
            stdin=stdin,
            stdout=output,
            stderr=output,
            pass_fds=[theirs],
            start_new_session=True,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, ours


# --- the folders of runs ---------------------------------------------------------


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for one run, and remove it after the block.

    The block's process holds a lock on the folder. The kernel ends that lock with the
    process, so `sweep` finds the folders of workers that were killed.
    """
    root = settings.MEDIA_WORK_FOLDER
    root.mkdir(parents=True, exist_ok=True)
    while True:
        path = Path(tempfile.mkdtemp(dir=root))
        held = os.open(path, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        if path.exists():
            break
        # A sweep took the folder before it was locked.
        os.close(held)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


def sweep() -> int:
    """Remove the folders of workers that were killed; returns how many."""
    removed = 0
    root = settings.MEDIA_WORK_FOLDER
    for path in root.iterdir() if root.is_dir() else ():
        try:
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
        except BlockingIOError:
            continue  # A living worker uses it.
        finally:
            os.close(held)
    return removed

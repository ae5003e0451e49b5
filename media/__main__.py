"""Do one piece of work: a JSON request on stdin, JSON lines on stdout.

    python -m media restore|preview|probe|detect|capabilities < request.json

Progress lines come first: {"percent": 40.0, "stage": "noise"}. The last line has
"outcome": done (exit 0), bad_request (2), refused (3) or failed (4).
media/README.md has the shapes of requests and reports.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import IO, Any

from media.errors import BadRequest, EngineFailed, MediaRefused

Answer = dict[str, Any]
Tell = Callable[[float, str], None]

MOST_REQUEST_BYTES = 64 * 1024
MOST_LINES_A_SECOND = 4


class Output:
    """The only writer of the protocol's lines."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.percent, self.stage, self.told = 0.0, "", 0.0

    def progress(self, percent: float, stage: str) -> None:
        """Write a progress line. The percentage never falls."""
        self.percent = max(self.percent, min(100.0, percent))
        now = time.monotonic()
        if stage == self.stage and now - self.told < 1 / MOST_LINES_A_SECOND:
            return
        self.stage, self.told = stage, now
        self.line({"percent": round(self.percent, 1), "stage": stage})

    def line(self, content: Answer) -> None:
        # An infinity or NaN is no JSON, so it fails here and not in the reader.
        self.stream.write(json.dumps(content, allow_nan=False) + "\n")
        self.stream.flush()


def claim_standard_output() -> Output:
    """Keep stdout for the protocol: C libraries that print reach stderr instead."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return Output(lines)


class Stopped(BaseException):
    """SIGTERM arrived. Not an Exception: no step may take it for a failure."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def restore(request: Mapping[str, Any], tell: Tell) -> Answer:
    from media.photos.restore import Options, restore_file

    _only(request, {"source", "full", "preview", "options"})
    options = _options(request, {"keep_original_colors", "generated_detail"})
    if not all(isinstance(value, bool) for value in options.values()):
        raise BadRequest("Each option must be true or false.")
    full = _result(request, "full", (".jpg", ".png"))
    preview = _result(request, "preview", (".jpg",))
    if full == preview:
        raise BadRequest("'full' and 'preview' must be two files.")
    return restore_file(_source(request), full, preview, Options(**options), tell)


def preview(request: Mapping[str, Any], tell: Tell) -> Answer:
    from media.photos.restore import preview_file

    _only(request, {"source", "preview"})
    return preview_file(_source(request), _result(request, "preview", (".jpg",)), tell)


def probe(request: Mapping[str, Any], tell: Tell) -> Answer:
    from media.video import probe as video
    from media.workspace import Workspace

    _only(request, {"source", "folder", "options"})
    options = _options(request, {"most_seconds"})
    most = (
        _number(options, "most_seconds", (1, video.MOST_SECONDS)) or video.MOST_SECONDS
    )
    tell(0, "probing")
    with Workspace(_folder(request)) as space:
        found = video.probe(space, _source(request), most)
    tell(100, "done")
    return {"outcome": "done", "video": found.as_json()}


def detect(request: Mapping[str, Any], tell: Tell) -> Answer:
    from media.video import detect as video
    from media.video.moments import STYLES
    from media.video.probe import MOST_SECONDS
    from media.workspace import Workspace

    _only(request, {"source", "folder", "options"})
    options = _options(request, {field.name for field in fields(video.Wish)})
    wish = dict[str, Any](options)
    for name, bounds in (
        ("num_clips", (1, video.MOST_CLIPS)),
        ("clip_seconds", video.CLIP_SECONDS),
        ("budget_seconds", (1, 3600)),
        ("most_seconds", (1, MOST_SECONDS)),
    ):
        if (number := _number(options, name, bounds)) is not None:
            wish[name] = number
    if wish.get("num_clips", 1) % 1:
        raise BadRequest("'num_clips' must be a whole number.")
    wish["num_clips"] = int(wish.get("num_clips", video.Wish.num_clips))
    if wish.get("style", "default") not in list(STYLES):
        raise BadRequest(f"'style' must be one of {', '.join(STYLES)}.")
    events = options.get("events", [])
    if not isinstance(events, list) or len(events) > video.MOST_EVENTS:
        raise BadRequest(f"'events' must be a list of at most {video.MOST_EVENTS}.")
    within = (0, MOST_SECONDS)
    wish["events"] = tuple(_number({"events": e}, "events", within) for e in events)
    with Workspace(_folder(request)) as space:
        return video.detect(space, _source(request), video.Wish(**wish), tell)


def capabilities(request: Mapping[str, Any], tell: Tell) -> Answer:
    from media import binaries, weights

    return {
        "outcome": "done",
        **weights.capabilities(),
        "ffmpeg": binaries.capabilities(),
    }


COMMANDS: dict[str, Callable[[Mapping[str, Any], Tell], Answer]] = {
    "restore": restore,
    "preview": preview,
    "probe": probe,
    "detect": detect,
    "capabilities": capabilities,
}


def _only(content: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(content) - known):
        raise BadRequest(f"The engine does not know {', '.join(map(repr, unknown))}.")


def _path(request: Mapping[str, Any], name: str) -> Path:
    value = request.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadRequest(f"'{name}' must be a path.")
    return Path(value)


def _source(request: Mapping[str, Any]) -> Path:
    path = _path(request, "source")
    if not path.is_file():
        raise BadRequest("'source' is not a file.")
    return path


def _folder(request: Mapping[str, Any]) -> Path:
    path = _path(request, "folder")
    if not path.is_dir():
        raise BadRequest("'folder' is not a folder.")
    return path


def _options(request: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    options = request.get("options", {})
    if not isinstance(options, dict):
        raise BadRequest("'options' must be an object.")
    _only(options, known)
    return options


def _number(
    options: Mapping[str, Any], name: str, bounds: tuple[float, float]
) -> float | None:
    """Return a number of the options, None if it is absent. Raises BadRequest."""
    if name not in options:
        return None
    value = options[name]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not bounds[0] <= value <= bounds[1]:  # NaN is in no bounds.
        raise BadRequest(
            f"'{name}' must be a number from {bounds[0]:g} to {bounds[1]:g}."
        )
    return float(value)


def _result(request: Mapping[str, Any], name: str, suffixes: tuple[str, ...]) -> Path:
    path = _path(request, name)
    if path.suffix not in suffixes:
        raise BadRequest(f"'{name}' must end in {' or '.join(suffixes)}.")
    if not path.parent.is_dir():
        raise BadRequest(f"'{name}' is in a folder that does not exist.")
    return path


def _read(stream: IO[bytes]) -> dict[str, Any]:
    text = stream.read(MOST_REQUEST_BYTES + 1)
    if len(text) > MOST_REQUEST_BYTES:
        raise BadRequest("The request is too long.")
    try:
        request = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The request is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise BadRequest("The request must be an object.")
    return request


def work(command: str, stream: IO[bytes], output: Output) -> int:
    """Do the command; write the last line; return the exit code."""
    try:
        request = {} if command == "capabilities" else _read(stream)
        answer, code = COMMANDS[command](request, output.progress), 0
    except (BadRequest, MediaRefused, EngineFailed) as ending:
        answer, code = ending.as_json(), ending.exit_code
    except Stopped:
        failed = EngineFailed("stopped", "The worker stopped the work.")
        answer, code = failed.as_json(), failed.exit_code
    except MemoryError:
        failed = EngineFailed("memory", "The work needs more memory than it may use.")
        answer, code = failed.as_json(), failed.exit_code
    except Exception as error:  # The worker stores an answer for every run.
        detail = f"{type(error).__name__}: {error}"
        failed = EngineFailed("internal", "The engine met an unknown problem.", detail)
        answer, code = failed.as_json(), failed.exit_code
    output.line(answer)
    return code


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        sys.stderr.write(__doc__ or "")
        return BadRequest.exit_code
    output = claim_standard_output()
    signal.signal(signal.SIGTERM, _stop)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return work(arguments[0], sys.stdin.buffer, output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

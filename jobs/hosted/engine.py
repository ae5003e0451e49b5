"""Whether the media engine can work: what a media worker saw, and what others read.

A media worker looks at its own machine and publishes the result in Redis. Every process
reads it there, because the engine may be on another machine.
"""

import json
import os
from dataclasses import asdict, dataclass

import redis
from django.conf import settings

from focus.celery import MEDIA_STATE, heartbeat_redis

READY, PREPARING, FAILED, SILENT = "ready", "preparing", "failed", "silent"
# The worker publishes every few seconds.
STATE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class EngineState:
    """One word of the four above; the installation's percentage; a sentence for staff.

    `silent`: no media worker has published a state within the last 30 seconds.
    """

    word: str
    percent: int = 0
    sentence: str = ""


NO_WORKER = EngineState(SILENT, sentence="No media worker is running.")


def look() -> EngineState:
    """Return the state of the engine on this machine. Reads at most one small file.

    The launcher writes the progress of an installation into `media-install.json`.
    Without that file the interpreter alone counts.
    """
    progress = _progress()
    if error := str(progress.get("error") or ""):
        return EngineState(FAILED, sentence=error)
    percent = progress.get("percent", 100)
    if isinstance(percent, int | float) and percent < 100:
        text = str(progress.get("text") or "")
        return EngineState(PREPARING, max(0, int(percent)), text)
    if os.access(settings.MEDIA_PYTHON, os.X_OK):
        return EngineState(READY, 100)
    return EngineState(
        FAILED,
        sentence=f"The media engine is not installed: {settings.MEDIA_PYTHON} is no"
        " program. Run ./dev media, or set MEDIA_PYTHON.",
    )


def publish(state: EngineState) -> None:
    """Publish what this worker saw. Raises `redis.RedisError`.

    A worker without a working engine does not replace the word of one that is ready.
    """
    store = heartbeat_redis()
    if state.word != READY:
        said = _parsed(store.get(MEDIA_STATE))
        if said.word == READY and store.ttl(MEDIA_STATE) > STATE_SECONDS / 2:
            return
    store.set(MEDIA_STATE, json.dumps(asdict(state)), ex=STATE_SECONDS)


def state() -> EngineState:
    """Return what a media worker published last. `silent` also where Redis is gone."""
    try:
        return _parsed(heartbeat_redis().get(MEDIA_STATE))
    except redis.RedisError:
        return NO_WORKER


def _parsed(text: object) -> EngineState:
    if not isinstance(text, str | bytes):
        return NO_WORKER
    try:
        said = json.loads(text)
        return EngineState(
            str(said["word"]), int(said["percent"]), str(said["sentence"])
        )
    except (ValueError, TypeError, KeyError):
        return NO_WORKER


def _progress() -> dict[str, object]:
    try:
        progress = json.loads((settings.VAR / "media-install.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return progress if isinstance(progress, dict) else {}

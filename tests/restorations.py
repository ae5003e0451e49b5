"""Photos for tests of restorations, and a program in place of the media engine.

The server's environment has no image library, as in production. So the files here are
built by hand: their headers are right, and only PNGs have pixels.
"""

import re
import struct
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.models import User
from accounts.signin import sessions
from jobs.hosted import working
from jobs.hosted.restorations import restoring
from jobs.models import Restoration

assert restoring  # Its import registers the kind of run.

UPLOAD = "/api/restorations/upload/"
HISTORY = "/api/restorations/history/"
PLACE = b"Secret Street 7"
ADDRESS = re.compile(r"http://localhost:8000/files/[^/]+/[^/]+")

# Speaks the engine's protocol. A file that contains "REFUSE" is refused.
STAND_IN = """
import json, sys, zlib

def end(exit_code, **line):
    print(json.dumps(line), flush=True)
    sys.exit(exit_code)

if sys.argv[-1] == "capabilities":
    end(0, outcome="done")
asked = json.load(sys.stdin)
assert sorted(asked) == ["full", "options", "preview", "source"], asked
source = open(asked["source"], "rb").read()
print(json.dumps({"percent": 25.0, "stage": "noise"}), flush=True)
if b"REFUSE" in source:
    end(3, outcome="refused", code="broken_photo",
        sentence="The photo is damaged or cut short.",
        change="Export the photo again and upload the new file.")
open(asked["full"], "wb").write(b"the full image of " + source)
open(asked["preview"], "wb").write(b"the preview of " + source)
report = {"unchanged": False, "steps": [{"step": "denoise", "engine": "waifu2x"}],
          "options": asked["options"]}
end(0, outcome="done", full={"width": 500, "height": 600, "lossless": True},
    source={"format": "PNG"}, report=report)
"""


def install_stand_in(folder: Path) -> dict[str, Any]:
    """Write the program into `folder`; returns the settings that make it the engine."""
    program = folder / "engine"
    program.write_text(f"#!{sys.executable} -P\n{STAND_IN}")
    program.chmod(0o755)
    return {"MEDIA_PYTHON": program, "MEDIA_WORK_FOLDER": folder / "work"}


def chunk(name: bytes, body: bytes = b"") -> bytes:
    check = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + check


def png(width: int = 500, height: int = 600, *more: bytes, dot: int = 0) -> bytes:
    """Return a grey PNG with `more` chunks. `dot` makes its pixels differ."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(1)
    row = b"\0" + bytes([dot % 256]) + b"\x80" * (width - 1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *more,
            chunk(b"IDAT", rows),
            chunk(b"IEND"),
        ]
    )


def segment(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def jpeg(width: int = 500, height: int = 600, *more: bytes) -> bytes:
    """Return a JPEG with `more` segments. Its pixels are nonsense."""
    size = struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"
    return b"".join(
        [
            b"\xff\xd8",
            *more,
            segment(0xC0, size),
            segment(0xDA, b"\1\1\0\0\x3f\0"),
            b"pixels \xff\0 pixels \xff\xd0 pixels",
            b"\xff\xd9",
        ]
    )


def webp(width: int = 500, height: int = 600) -> bytes:
    """Return a lossless WEBP. Its pixels are nonsense."""
    bits = (width - 1) | (height - 1) << 14
    body = b"\x2f" + struct.pack("<I", bits) + b"pixels "
    return riff(b"VP8L" + struct.pack("<I", len(body)) + body)


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(orientation: int, place: bytes = PLACE) -> bytes:
    """Return EXIF with an orientation and the maker's note `place`."""
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    entries += struct.pack(">HHII", 0x927C, 7, len(place), 8 + 2 + 24 + 4)
    return b"MM\0*" + struct.pack(">IH", 8, 2) + entries + b"\0\0\0\0" + place


def bearer(user: User) -> APIClient:
    """Return a client with an access token of reviv's guide."""
    made = sessions.begin(
        user=user, client="reviv", access_seconds=900, methods=["pwd"]
    )
    return APIClient(headers={"Authorization": f"Bearer {made.access_token}"})


def upload(
    client: APIClient,
    image: bytes | None = None,
    *,
    name: str = "grandmother.png",
    key: str | None = None,
    **fields: Any,
) -> Any:
    file = SimpleUploadedFile(name, png() if image is None else image, "image/png")
    headers = {} if key is None else {"Idempotency-Key": key}
    form = {"image": file, **fields}
    return client.post(UPLOAD, form, format="multipart", headers=headers)


def work() -> bool:
    """Let a worker restore the next photo."""
    return working.work_one(threading.Event())


def restored(client: APIClient, image: bytes | None = None) -> int:
    """Upload a photo, have it restored, and return its id."""
    answer = upload(client, image)
    assert answer.status_code == 201, answer.content
    while work():
        pass
    job_id: int = answer.json()["job_id"]
    assert Restoration.objects.get(pk=job_id).run.state == "done"
    return job_id


def at(job_id: object, action: str = "") -> str:
    return (
        f"/api/restorations/{job_id}/{action}/"
        if action
        else f"/api/restorations/{job_id}/"
    )


def refused(answer: Any, expected: int, code: str, /, **details: Any) -> None:
    body = answer.json()
    assert answer.status_code == expected, body
    message = body["error"]["message"]
    assert message
    assert body == {"error": {"code": code, "message": message, "details": details}}


def fetched(address: str | None) -> bytes:
    """Open an address as a browser does: without a credential."""
    assert address is not None
    assert ADDRESS.fullmatch(address)
    answer = APIClient().get(address.removeprefix("http://localhost:8000"))
    assert answer.status_code == 200
    return bytes(answer.getvalue())


def gone(address: str) -> None:
    answer = APIClient().get(address.removeprefix("http://localhost:8000"))
    assert answer.status_code == 404

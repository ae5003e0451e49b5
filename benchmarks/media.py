"""`./dev bench media`: photos, and wallet calls beside slow uploads.

* the seconds from the start of an upload to the preview, for photos of 1, 4 and 12
  megapixels, and the engine's peak memory. The web server and a media worker are real.
* the time of a reserve while 40 people upload a photo at 1 KB a second and the engine
  restores another: p50 and p99 beside those of the idle server in the same run. The
  server is that of `./dev run`, without a proxy that would buffer the uploads.

The engine and its tests' packages must be installed: `./dev media`.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import load, serving

ENGINE = serving.ROOT / ".venv-media/bin/python"
KINDS = ("clean", "noisy")
MEGAPIXELS = (1, 4, 12)
UPLOADS = 40
BYTES_A_SECOND = 1024
PAIRS_A_SECOND = 10
WAIT_SECONDS = 1200
BOUNDARY = "----bench"


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench media", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["photos", "uploads"])
    options = parser.parse_args(argv)
    if not ENGINE.exists():
        raise SystemExit("The media engine is not installed: ./dev media")
    folder = Path(os.environ["FOCUS_VAR"])
    os.environ["MEDIA_ROOT"] = str(folder / "media")
    # All processes must agree on the issuer of tokens, which has the port by default.
    os.environ["PUBLIC_BASE_URL"] = "http://localhost:8000"
    subprocess.run(  # noqa: S603 — our own engine
        [ENGINE, "-m", "media.tests.large_photos", folder], cwd=serving.ROOT, check=True
    )

    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    with (
        serving.web("focus.server", threads=4, workers=1) as port,
        serving.media_worker() as worker,
    ):
        server = Server(port)
        _until(lambda: server.get("/health")["media"] == "ready", "the engine")
        if options.only != "uploads":
            photos(server, folder, worker)
        if options.only != "photos":
            slow_uploads(server, folder, worker, options)


def _until(true: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + WAIT_SECONDS
    while not true():
        if time.monotonic() > limit:
            raise SystemExit(f"Waited {WAIT_SECONDS} s for {what}.")
        time.sleep(0.05)


class Server:
    """Calls of the web server, each on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def call(
        self, method: str, path: str, token: str = "", body: bytes | None = None
    ) -> tuple[int, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Host": "localhost"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = f"multipart/form-data; boundary={BOUNDARY}"
        try:
            link.request(method, path, body, headers)
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()

    def get(self, path: str, token: str = "") -> Any:
        return json.loads(self.call("GET", path, token)[1])

    def upload(self, token: str, photo: bytes) -> int:
        status, answer = self.call(
            "POST", "/api/restorations/upload/", token, _multipart(photo)
        )
        if status != 201:
            raise SystemExit(f"upload: {status} {answer!r}")
        number: int = json.loads(answer)["job_id"]
        return number

    def status(self, token: str, restoration: int) -> Any:
        return self.get(f"/api/restorations/{restoration}/status/", token)


def _multipart(photo: bytes) -> bytes:
    head = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=image;"
        ' filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    return head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()


def _person(credits_micro: int = 0) -> str:
    """Create an account and return an access token of it."""
    from accounts.models import User
    from accounts.signin import sessions
    from wallet import ledger

    user = User.objects.create(email=f"{uuid.uuid4().hex}@example.com")
    if credits_micro:
        ledger.grant(
            account_id=user.pk,
            amount_micro=credits_micro,
            source="promo",
            actor="bench",
            key=f"bench:{user.pk}",
        )
    begun = sessions.begin(
        user=user, client="bench", access_seconds=7200, methods=["pwd"]
    )
    token: str = begun.access_token
    return token


# --- photos ---------------------------------------------------------------------


def photos(server: Server, folder: Path, worker: int) -> None:
    print(
        f"\nfrom upload to preview, one photo at a time, {os.cpu_count()} cores\n"
        "\nphoto                  upload s  preview s  restoring s  engine's peak MB",
        flush=True,
    )
    for megapixels in MEGAPIXELS:
        for kind in KINDS:
            photo = (folder / f"{megapixels}-{kind}.jpg").read_bytes()
            token = _person()
            with _peak_of_engines(worker) as peak:
                begun = time.monotonic()
                number = server.upload(token, photo)
                uploaded = time.monotonic() - begun
                status = _finished(server, token, number)
                where = urlsplit(status["preview_url"])
                code, preview = server.call("GET", f"{where.path}?{where.query}")
                shown = time.monotonic() - begun
            if code != 200 or not preview.startswith(b"\xff\xd8"):
                raise SystemExit(f"preview: {code} {preview[:200]!r}")
            size = f"{megapixels} MP, {kind}, {len(photo) / 1e6:.1f} MB"
            print(
                f"{size:22} {uploaded:8.2f} {shown:10.1f}"
                f" {status['report']['seconds']:12.1f} {peak[0] / 1024:17.0f}",
                flush=True,
            )


def _finished(server: Server, token: str, number: int) -> Any:
    status: Any = {}

    def ended() -> bool:
        nonlocal status
        status = server.status(token, number)
        return status["status"] in ("completed", "failed")

    _until(ended, "a restoration")
    if status["status"] == "failed":
        raise SystemExit(f"The restoration failed: {status}")
    return status


@contextmanager
def _peak_of_engines(worker: int) -> Iterator[list[int]]:
    """Watch the engine's processes below a worker; gives their peak in KiB."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            for pid in _engines(worker):
                peak[0] = max(peak[0], _peak_kib(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def _engines(worker: int) -> list[int]:
    """Return the process ids of the engines that a worker runs."""
    parents: dict[int, int] = {}
    engines = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text()
            command = Path("/proc", entry, "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
        if b"\0-m\0media\0" in command:
            engines.append(int(entry))
    return [pid for pid in engines if _below(pid, worker, parents)]


def _below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == ancestor:
            return True
    return False


def _peak_kib(pid: int) -> int:
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line[:6] == "VmHWM:"), 0)


# --- slow uploads ---------------------------------------------------------------


def slow_uploads(
    server: Server, folder: Path, worker: int, options: argparse.Namespace
) -> None:
    from accounts.models import App
    from focus.money import MICRO

    App.objects.create(slug="video", name="Video")
    payers = [_person(10**9 * MICRO) for _ in range(20)]
    photo = (folder / "12-noisy.jpg").read_bytes()
    # By name: whether people upload, and whether the engine works.
    loads = {
        "nothing else": (False, False),
        f"{UPLOADS} uploads at 1 KB/s": (True, False),
        "a restoration": (False, True),
        "both": (True, True),
    }
    taken: dict[str, list[float]] = {name: [] for name in loads}
    open_at_end: dict[str, list[int]] = {name: [] for name in loads}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as clients:
        clients.submit(
            load.paced_reserves,
            server.port,
            payers,
            seconds=5,  # A new server and new connections are slow.
            a_second=PAIRS_A_SECOND,
        ).result()
        # In turns, so that other load on the machine affects all of them alike.
        for _ in range(options.rounds):
            for name, (uploading, restoring) in loads.items():
                with (
                    _uploading(server, photo) if uploading else nullcontext() as slow,
                    _restoring(server, photo, worker) if restoring else nullcontext(),
                ):
                    times = clients.submit(
                        load.paced_reserves,
                        server.port,
                        payers,
                        seconds=options.seconds,
                        a_second=PAIRS_A_SECOND,
                    )
                    taken[name] += times.result()
                    if slow is not None:
                        open_at_end[name].append(slow())
    idle = sorted(taken["nothing else"])
    print(
        f"\n{'reserve, beside':26} p50 ms  of idle   p99 ms  of idle    calls"
        "   uploads open at the end"
    )
    for name, times in taken.items():
        times.sort()
        p50, p99 = _at(times, 0.5), _at(times, 0.99)
        print(
            f"{name:26} {p50:6.1f} {p50 / _at(idle, 0.5):8.2f} {p99:8.1f}"
            f" {p99 / _at(idle, 0.99):8.2f} {len(times):8}"
            f"   {' '.join(map(str, open_at_end[name]))}"
        )


def _at(times: list[float], share: float) -> float:
    return times[int(len(times) * share)] * 1000


@contextmanager
def _uploading(server: Server, photo: bytes) -> Iterator[Callable[[], int]]:
    """Upload at BYTES_A_SECOND on UPLOADS connections; gives a count of the open."""
    body = _multipart(photo)
    links = []
    for _ in range(UPLOADS):
        link = socket.create_connection(("127.0.0.1", server.port))
        link.sendall(
            b"POST /api/restorations/upload/ HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer %s\r\nContent-Length: %d\r\n"
            b"Content-Type: multipart/form-data; boundary=%s\r\n\r\n"
            % (_person().encode(), len(body), BOUNDARY.encode())
        )
        links.append(link)
    ended = threading.Event()

    def send() -> None:
        sent = 0
        # Spread over the second, as forty people are.
        while True:
            for link in links:
                # The server may have answered already; `_open` counts such uploads.
                with suppress(OSError):
                    link.sendall(body[sent : sent + BYTES_A_SECOND])
                if ended.wait(1 / UPLOADS):
                    return
            sent += BYTES_A_SECOND

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(2)
    try:
        yield lambda: sum(map(_open, links))
    finally:
        ended.set()
        sender.join()
        for link in links:
            link.close()


def _open(link: socket.socket) -> bool:
    """Whether the server has neither answered nor hung up."""
    link.setblocking(False)
    try:
        link.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        link.setblocking(True)
    return False


@contextmanager
def _restoring(server: Server, photo: bytes, worker: int) -> Iterator[None]:
    """Restore large photos, so that the engine works all the time."""
    people = [_person() for _ in range(3)]
    numbers = [(token, server.upload(token, photo)) for token in people]
    _until(lambda: bool(_engines(worker)), "the engine's start")
    try:
        yield
    finally:
        for token, number in reversed(numbers):
            server.call("DELETE", f"/api/restorations/{number}/", token)
        _until(lambda: not _engines(worker), "the engine's end")

"""Uploads and downloads through the real web server, and through nginx."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from accounts.models import User
from devtools.launcher import run
from focus.server.threads import MOST_WAITING_PER_ADDRESS
from jobs.files import storage
from jobs.models import StoredFile
from tests import processes
from tests.perimeter import nginx, raw
from tests.perimeter.conftest import is_up
from tests.perimeter.files import MP4, expected, get_path, on_disk, open_in, put_path

pytestmark = pytest.mark.django_db(transaction=True)

MB = 1024 * 1024


@dataclass
class Server:
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def server(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    port = processes.free_port()
    _, *command = run.services(port)["web"]
    log = tmp_path_factory.mktemp("web") / "log"
    trusting = {"TRUSTED_PROXIES": "127.0.0.0/8", "PORT": str(port)}
    with processes.running(*command, log=log, **trusting) as process:
        processes.until(lambda: is_up(port), seconds=60)
        yield Server(port, process.pid)


@pytest.fixture(scope="module")
def front(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[nginx.Proxy]:
    with nginx.proxy(tmp_path_factory.mktemp("nginx"), server.port) as proxy:
        yield proxy


def video(size: int) -> Iterator[bytes]:
    """A video of `size` bytes in pieces: `requests` sends these chunked."""
    yield MP4
    left = size - len(MP4)
    while left:
        piece = b"\x00" * min(MB, left)
        left -= len(piece)
        yield piece


def peak_kilobytes(pid: int) -> int:
    """Return the most memory that a process has used."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def test_a_chunked_upload_is_stored_and_never_in_memory(
    server: Server, alice: User
) -> None:
    small = put_path(expected(alice, most_bytes=MB))
    assert requests.put(server.url + small, video(MB), timeout=60).status_code == 200
    before = peak_kilobytes(server.pid)
    file = expected(alice, most_bytes=200 * MB)
    answer = requests.put(server.url + put_path(file), video(200 * MB), timeout=300)
    assert (answer.status_code, answer.json()["size"]) == (200, 200 * MB)
    assert peak_kilobytes(server.pid) - before < 50 * 1024
    file.refresh_from_db()
    assert Path(storage.backend().path(file.key)).stat().st_size == 200 * MB


def test_a_chunked_upload_that_is_too_large_is_413(server: Server, alice: User) -> None:
    file = expected(alice, most_bytes=MB)
    answer = requests.put(server.url + put_path(file), video(3 * MB), timeout=60)
    assert (answer.status_code, answer.json()["statusCode"]) == (413, 413)
    assert not Path(storage.backend().path(file.key)).exists()


def test_a_broken_off_upload_leaves_nothing_and_may_be_repeated(
    server: Server, alice: User
) -> None:
    file = expected(alice, most_bytes=MB)
    there = set(on_disk())
    with raw.connect(server.port) as link:
        head = raw.head(f"PUT {put_path(file)} HTTP/1.1", f"Content-Length: {MB}")
        link.sendall(head + MP4 + b"\x00" * 100_000)
        processes.until(lambda: open_in(server.pid))
    processes.until(lambda: not open_in(server.pid))
    assert set(on_disk()) == there
    file.refresh_from_db()
    assert (file.arrived_at, file.size) == (None, None)
    again = requests.put(server.url + put_path(file), b"".join(video(MB)), timeout=60)
    assert again.status_code == 200


def test_an_upload_to_a_bad_address_is_refused_unread(server: Server) -> None:
    with raw.connect(server.port) as link:
        link.sendall(
            raw.head("PUT /files/upload/x HTTP/1.1", "Content-Length: 900000000")
        )
        answer = raw.read_response(link)
    assert (answer.status, answer.json()["statusCode"]) == (403, 403)


def sparse(user: User, size: int) -> StoredFile:
    """Store a file that takes no room on the disk, however large it is."""
    file = expected(user, most_bytes=MB)
    path = Path(storage.backend().path(file.key))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, size)
    StoredFile.objects.filter(pk=file.pk).update(
        size=size, most_bytes=size, sha256=b"\0" * 32, arrived_at=file.created_at
    )
    file.refresh_from_db()
    return file


def test_a_player_that_hangs_up_stops_the_reading(server: Server, alice: User) -> None:
    # At a gigabyte a second the whole file would take the server many minutes.
    file = sparse(alice, 4000 * 1024 * MB)
    with raw.connect(server.port) as link:
        link.sendall(raw.head(f"GET {get_path(file)} HTTP/1.1"))
        link.recv(10 * MB)
        assert open_in(server.pid)
    processes.until(lambda: not open_in(server.pid), seconds=60)


def test_readers_that_stop_keep_their_downloads_and_further_ones_are_503(
    server: Server, alice: User
) -> None:
    file = sparse(alice, 50 * MB)
    asked = raw.head(f"GET {get_path(file)} HTTP/1.1", "Connection: close")
    with ExitStack() as all_links:
        links = []
        for _ in range(MOST_WAITING_PER_ADDRESS):
            links.append(all_links.enter_context(raw.connect(server.port)))
            links[-1].sendall(asked)
        processes.until(lambda: len(open_in(server.pid)) == len(links))
        refused = requests.get(server.url + get_path(file), timeout=60)
        assert (refused.status_code, refused.json()["error"]) == (
            503,
            "service_unavailable",
        )
        assert refused.headers["Retry-After"] == "1"
        first = raw.read_response(links[0])
        assert (first.status, len(first.body)) == (200, 50 * MB)
    processes.until(lambda: not open_in(server.pid), seconds=60)
    again = requests.get(server.url + get_path(file), timeout=60)
    assert len(again.content) == 50 * MB


def test_a_part_far_into_a_large_file_is_read_alone(
    server: Server, alice: User
) -> None:
    file = sparse(alice, 4000 * 1024 * MB)
    at = 3999 * 1024 * MB
    answer = requests.get(
        server.url + get_path(file),
        headers={"Range": f"bytes={at}-{at + 9}"},
        timeout=60,
    )
    assert (answer.status_code, answer.content) == (206, b"\0" * 10)


def test_head_and_304_send_no_body_and_the_connection_lives_on(
    server: Server, alice: User
) -> None:
    file = sparse(alice, 5 * MB)
    session = requests.Session()
    head = session.head(server.url + get_path(file), timeout=60)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(5 * MB))
    fresh = {"If-None-Match": head.headers["ETag"]}
    not_modified = session.get(server.url + get_path(file), headers=fresh, timeout=60)
    assert (not_modified.status_code, not_modified.content) == (304, b"")
    assert len(session.get(server.url + get_path(file), timeout=60).content) == 5 * MB


class TestBehindNginx:
    def test_a_large_upload_passes_only_to_a_signed_address(
        self, front: nginx.Proxy, alice: User
    ) -> None:
        file = expected(alice, most_bytes=20 * MB)
        content = b"".join(video(20 * MB))
        for path in ("/files/upload/x", "/files/x/y", "/files/upload", "/files/"):
            answer = requests.put(front.url + path, content[: 2 * MB], timeout=60)
            assert answer.status_code == 413, path
            assert "X-RateLimit-Limit" not in answer.headers
        answer = requests.put(front.url + put_path(file), content, timeout=60)
        assert (answer.status_code, answer.json()["size"]) == (200, 20 * MB)

    def test_a_chunked_upload_reaches_web_with_its_length(
        self, front: nginx.Proxy, alice: User
    ) -> None:
        file = expected(alice, most_bytes=5 * MB)
        answer = requests.put(front.url + put_path(file), video(5 * MB), timeout=60)
        assert (answer.status_code, answer.json()["size"]) == (200, 5 * MB)

    def test_a_body_above_every_guides_limit_is_413(
        self, front: nginx.Proxy, alice: User
    ) -> None:
        path = put_path(expected(alice, most_bytes=MB))
        with raw.connect(front.port) as link:
            length = f"Content-Length: {2101 * MB}"
            link.sendall(raw.head(f"PUT {path} HTTP/1.1", length))
            answer = raw.read_response(link)
        assert (answer.status, answer.json()["statusCode"]) == (413, 413)

    def test_a_download_keeps_its_headers_and_ranges(
        self, front: nginx.Proxy, server: Server, alice: User
    ) -> None:
        file = sparse(alice, 100 * MB)
        part = {"Range": "bytes=1000-1009"}
        for more, status, length in (({}, 200, 100 * MB), (part, 206, 10)):
            here = requests.get(front.url + get_path(file), headers=more, timeout=60)
            there = requests.get(server.url + get_path(file), headers=more, timeout=60)
            assert (here.status_code, len(here.content)) == (status, length)
            for name in ("ETag", "Content-Type", "Content-Range", "Accept-Ranges"):
                assert here.headers.get(name) == there.headers.get(name)
        head = requests.head(front.url + get_path(file), timeout=60)
        assert head.headers["Content-Length"] == str(100 * MB)

    def test_no_log_holds_an_address(self, front: nginx.Proxy, alice: User) -> None:
        put, get = put_path(expected(alice, most_bytes=MB)), get_path(sparse(alice, 9))
        requests.put(front.url + put, b"".join(video(1000)), timeout=60)
        requests.get(front.url + get, timeout=60)
        processes.until(lambda: "/files/***/match.mp4" in front.log.read_text())
        log = front.log.read_text()
        for token in (put.split("/")[-1], get.split("/")[-2]):
            assert token not in log

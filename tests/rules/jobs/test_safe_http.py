"""One POST, its deadline and its errors. The servers are real sockets."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from accounts.providers import outbound
from focus.outgoing import final_answers, safe_http

Script = Callable[[socket.socket], None]


@contextmanager
def server(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A real server. `script` gets the socket once the request has arrived."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    wire, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(wire,), daemon=True).start()

        def talk(wire: socket.socket) -> None:
            try:
                with tls.wrap_socket(wire, server_side=True) if tls else wire as link:
                    heard = b""
                    while not heard.endswith(b"{}"):
                        heard += link.recv(65536)
                    script(link)
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def says(text: str) -> Script:
    return lambda wire: wire.sendall(text.encode())


def drips(text: str) -> Script:
    def drip(wire: socket.socket) -> None:
        for letter in text * 1000:
            wire.sendall(letter.encode())
            time.sleep(0.02)

    return drip


EARLY = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
WORKING = "HTTP/1.1 102 Processing\r\n\r\n"
GO_ON = "HTTP/1.1 100 Continue\r\n\r\n"
DONE = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok"


@pytest.mark.parametrize(
    "before",
    [EARLY, WORKING, GO_ON, EARLY * 3, GO_ON + WORKING + EARLY + GO_ON],
    ids=["103", "102", "100", "three", "mixed"],
)
def test_an_interim_answer_is_not_the_answer(before: str) -> None:
    with server(says(before + DONE)) as port:
        answer = to(port)
    assert (answer.status, answer.body, answer.error) == (200, b"ok", "")
    assert answer.headers is not None
    assert answer.headers["x-a"] == "b"
    assert "link" not in answer.headers
    with server(says(before + DONE.replace("200 OK", "503 Busy"))) as port:
        assert to(port).status == 503


@pytest.mark.parametrize(
    ("said", "error"),
    [(EARLY * 100 + DONE, "bad_http"), (EARLY, "reset"), (EARLY[:30], "reset")],
    ids=["endless", "alone", "cut"],
)
def test_interim_answers_without_a_final_one_are_an_error(
    said: str, error: str
) -> None:
    with server(says(said)) as port:
        answer = to(port)
    assert (answer.status, answer.error) == (None, error)


def test_requests_to_other_services_skip_interim_answers() -> None:
    with server_of_gets(EARLY + WORKING + DONE) as port:
        reply = outbound.get(f"http://127.0.0.1:{port}/x")
        assert (reply.status, reply.body) == (200, b"ok")
        through = {"http": f"http://127.0.0.1:{port}"}
        with final_answers.session() as session:
            answer = session.get("http://focus.example/x", proxies=through, timeout=30)
        assert (answer.status_code, answer.text) == (200, "ok")


@contextmanager
def server_of_gets(text: str) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(2):
                wire, _ = listening.accept()
                with wire:
                    wire.recv(65536)
                    wire.sendall(text.encode())

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def to(port: int, scheme: str = "http") -> safe_http.PostResult:
    return safe_http.post(f"{scheme}://localhost:{port}/hook?x=1", b"{}", {"A": "b"})


def test_an_answer_has_its_status_headers_and_body() -> None:
    with server(says("HTTP/1.1 503 No\r\nRetry-After: 7\r\n\r\nsorry")) as port:
        answer = to(port)
    assert (answer.status, answer.error, answer.body) == (503, "", b"sorry")
    assert answer.headers == {"retry-after": "7"}
    assert answer.ip in ("127.0.0.1", "::1")


def test_the_request_line_the_headers_and_the_body() -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def serve() -> None:
            wire, _ = listening.accept()
            with wire:
                while not seen or not seen[0].endswith(b'{"a":1}'):
                    seen[:] = [b"".join(seen) + wire.recv(65536)]
                wire.sendall(b"HTTP/1.1 204 OK\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{port}?q=1"
        answer = safe_http.post(url, b'{"a":1}', {"User-Agent": "Focus", "X-B": "c"})
    head = seen[0].split(b"\r\n\r\n")[0].decode().split("\r\n")
    assert answer.status == 204
    assert head[0] == "POST /?q=1 HTTP/1.1"
    assert {f"Host: 127.0.0.1:{port}", "User-Agent: Focus", "X-B: c"} <= set(head)
    assert "Content-Length: 7" in head


def test_a_redirect_is_not_followed() -> None:
    text = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n"
    with server(says(text)) as port:
        answer = to(port)
    assert (answer.status, answer.error) == (302, "")


def test_proxies_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with server(says("HTTP/1.1 200 OK\r\n\r\n")) as port:
        assert to(port).status == 200


@pytest.mark.parametrize(
    "text", ["", "HTTP/1.1 200 OK\r\nX", "HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 90]
)
def test_one_deadline_bounds_a_silent_and_a_dripping_server(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a whole status line and headers by the deadline, the request fails."""
    monkeypatch.setattr(safe_http, "SECONDS", 0.5)
    stop = threading.Event()

    def silent(_wire: socket.socket) -> None:
        stop.wait(60)

    with server(drips(text) if text else silent) as port:
        answer = to(port)
    stop.set()
    assert (answer.status, answer.error) == (None, "timeout")
    assert answer.duration_ms >= 500


def test_the_deadline_reaches_through_tls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serving, trusting = certificates(tmp_path, "localhost")
    monkeypatch.setattr(safe_http, "_tls", lambda: trusting)
    with server(
        says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), serving
    ) as port:
        answer = to(port, "https")
        assert (answer.status, answer.body) == (200, b"ok")
    monkeypatch.setattr(safe_http, "SECONDS", 0.5)
    with server(drips("HTTP/1.1 200 OK\r\nX"), serving) as port:
        assert to(port, "https").error == "timeout"


def test_a_certificate_must_be_trusted_and_name_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serving, trusting = certificates(tmp_path, "other.example.com")
    with server(says("HTTP/1.1 200 OK\r\n\r\n"), serving) as port:
        assert to(port, "https").error == "tls"
        monkeypatch.setattr(safe_http, "_tls", lambda: trusting)
        assert to(port, "https").error == "tls"


def test_a_long_answer_is_cut_and_a_slow_one_is_abandoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with server(says("HTTP/1.1 200 OK\r\n\r\n" + "x" * 100_000)) as port:
        answer = to(port)
    assert (answer.status, len(answer.body)) == (200, 8192)
    monkeypatch.setattr(safe_http, "ANSWER_SECONDS", 0.2)

    def slow(wire: socket.socket) -> None:
        wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun")
        drips("x")(wire)

    with server(slow) as port:
        answer = to(port)
    assert answer.status == 200
    assert answer.body.startswith(b"begun")
    assert len(answer.body) < 1000


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nonsense\r\n\r\n", "bad_http"),
        ("", "reset"),
        ("HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 200 + "\r\n", "bad_http"),
        ("HTTP/1.1 200 " + "x" * 70_000, "bad_http"),
    ],
)
def test_a_broken_answer_is_an_error(text: str, error: str) -> None:
    with server(says(text)) as port:
        assert to(port).error == error


def certificates(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for `name`, and a client's that trusts its issuer."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = folder / "server.pem"
    file.write_bytes(private + pem)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)
    return serving, ssl.create_default_context(cadata=pem.decode())

"""The headers that nginx passes to the web server, with and without TLS."""

import contextlib
import datetime
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.perimeter import nginx, raw


class Echo:
    """A web server that returns the headers of the request that it received."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def close(self) -> None:
        self.socket.close()

    def received(self) -> dict[str, str]:
        link, _ = self.socket.accept()
        with link:
            said = link.makefile("rb")
            said.readline()
            lines = iter(said.readline, b"\r\n")
            pairs = (line.decode("latin-1").strip().partition(": ") for line in lines)
            found = {name.lower(): value for name, _, value in pairs}
            link.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        return found


FORGED = (
    "X-Forwarded-For: 198.51.100.7",
    "X-Forwarded-For: 198.51.100.8",
    "X_Forwarded_For: 198.51.100.9",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Port: 1",
    "X-Real-IP: 198.51.100.7",
    "Forwarded: for=198.51.100.7",
    "X_Api_Key: x",
    "X-Request-ID: bad id",
    "Via_X: y",
)


def test_nginx_overwrites_forwarding_headers_of_the_client(tmp_path: Path) -> None:
    with (
        contextlib.closing(Echo()) as echo,
        nginx.proxy(tmp_path, echo.port) as proxy,
        raw.connect(proxy.port) as link,
    ):
        link.sendall(raw.head("GET /api/wallet HTTP/1.1", *FORGED))
        found = echo.received()
        assert raw.read_response(link).status == 204
    assert found["x-forwarded-for"] == "127.0.0.1"
    assert found["x-forwarded-proto"] == "http"
    assert found["host"] == "localhost"
    assert len(found["x-request-id"]) == 32
    written = ("x-forwarded-host", "x-forwarded-port", "x-real-ip", "forwarded")
    assert not [name for name in found if "_" in name or name in written]


# --- TLS ---------------------------------------------------------------------------


def certificate(folder: Path) -> dict[str, str]:
    """Write a key and a self-signed certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate").write_bytes(made.public_bytes(pem))
    (folder / "key").write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return {
        "/run/secrets/tls_certificate": str(folder / "certificate"),
        "/run/secrets/tls_key": str(folder / "key"),
    }


def test_nginx_terminates_tls_and_names_the_scheme(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    with (
        contextlib.closing(Echo()) as echo,
        nginx.proxy(tmp_path, echo.port, listen="https", files=files) as proxy,
    ):
        trusting = ssl.create_default_context(cafile=str(tmp_path / "certificate"))
        plain = raw.connect(proxy.port)
        with trusting.wrap_socket(plain, server_hostname="localhost") as link:
            link.sendall(raw.head("GET / HTTP/1.1", "X-Forwarded-Proto: http"))
            assert echo.received()["x-forwarded-proto"] == "https"
            assert raw.read_response(link).status == 204
        # Plain HTTP on the TLS port is redirected to https.
        lost = raw.send(proxy.port, raw.head("GET /signin?x=1 HTTP/1.1"))
        assert lost.status == 308
        assert lost.headers["location"] == "https://localhost/signin?x=1"

"""Requests byte by byte, for heads and bodies that no HTTP library sends."""

import socket
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass
class RawResponse:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def connect(port: int, *, timeout: float = 30) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout)


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, "Host: localhost", *headers, "", ""]).encode("latin-1")


def read_response(link: socket.socket) -> RawResponse:
    """Read the next response, up to its Content-Length."""
    said = link.makefile("rb")
    status = int(said.readline().split()[1])
    headers = {}
    while (line := said.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    length = "0" if status == 204 else headers.get("content-length")
    body = said.read(int(length)) if length is not None else said.read()
    return RawResponse(status, headers, body)


def send(port: int, sent: bytes, *, timeout: float = 30) -> RawResponse:
    with connect(port, timeout=timeout) as link:
        link.sendall(sent)
        return read_response(link)

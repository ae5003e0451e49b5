"""Requests byte by byte, for what no HTTP library would send."""

import socket
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass
class Heard:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def connect(port: int, *, timeout: float = 30) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout)


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, "Host: localhost", *headers, "", ""]).encode("latin-1")


def heard(link: socket.socket) -> Heard:
    """The next answer, read up to the length that it announces."""
    said = link.makefile("rb")
    status = int(said.readline().split()[1])
    headers = {}
    while (line := said.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    length = "0" if status == 204 else headers.get("content-length")
    body = said.read(int(length)) if length is not None else said.read()
    return Heard(status, headers, body)


def ask(port: int, sent: bytes, *, timeout: float = 30) -> Heard:
    with connect(port, timeout=timeout) as link:
        link.sendall(sent)
        return heard(link)

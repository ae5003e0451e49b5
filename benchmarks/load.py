"""Clients that make one pair after another for a while, and their results.

Each client is a process with one connection. The HTTP client is a bare socket, so that
the measurement itself uses little of the cores.
"""

import multiprocessing
import random
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import psycopg


@dataclass(frozen=True)
class Result:
    """The finished pairs, and the durations of one (milliseconds)."""

    pairs: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.pairs / self.seconds


def run(worker: Callable, arguments: list[tuple], *, seconds: float) -> Result:
    """Run all workers at once for `seconds`, after a warm-up."""
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(len(arguments))
    results = context.Queue()
    clients = [
        context.Process(target=_client, args=(worker, one, gate, seconds, results))
        for one in arguments
    ]
    for client in clients:
        client.start()
    answers = [results.get(timeout=seconds + 120) for _ in clients]
    for client in clients:
        client.join()
    if trouble := [answer for answer in answers if isinstance(answer, str)]:
        raise SystemExit(trouble[0])
    taken = sorted(t for answer in answers for t in answer)
    return Result(
        len(taken),
        seconds,
        taken[len(taken) // 2] * 1000,
        taken[int(len(taken) * 0.99)] * 1000,
    )


def _client(worker, arguments, gate, seconds, results):
    taken = []
    try:
        pair = worker(*arguments)
        for _ in range(20):
            pair()
        gate.wait()
        begun = time.perf_counter()
        while (now := time.perf_counter()) - begun < seconds:
            pair()
            taken.append(time.perf_counter() - now)
    except (Exception, SystemExit) as trouble:
        gate.abort()
        results.put(str(trouble) or repr(trouble))
    else:
        results.put(taken)


class Connection:
    """HTTP/1.1 on one kept-alive socket, for answers with a Content-Length."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, path: str, token: str, body: bytes) -> tuple[int, bytes]:
        self.socket.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._more()
        head, _, content = answer.partition(b"\r\n\r\n")
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        length = int(lower[start : lower.find(b"\r\n", start) % (len(lower) + 1)])
        while len(content) < length:
            content += self._more()
        return int(head[9:12]), content

    def _more(self) -> bytes:
        if not (part := self.socket.recv(65536)):
            raise SystemExit("The server hung up.")
        return part


def http_pairs(port: int, prefix: str, tokens: list[str]) -> Callable[[], None]:
    """Return a pair: reserve 5, settle 3, for a random one of these users."""
    connection = Connection(port)

    def pair() -> None:
        token = random.choice(tokens)  # noqa: S311 — spreads load, keeps no secret
        _settle(connection, prefix, token, _reserve(connection, prefix, token))

    return pair


def _reserve(connection: Connection, prefix: str, token: str) -> bytes:
    status, answer = connection.post(
        f"{prefix}/jobs",
        token,
        b'{"app":"video","action":"render","cost_estimate":5,'
        b'"metadata":{"description":"Render preview clip"}}',
    )
    if status != 201:
        raise SystemExit(f"{status}: {answer!r}")
    return answer[answer.index(b'"job_id":"') + 10 :][:36]


def _settle(connection: Connection, prefix: str, token: str, job_id: bytes) -> None:
    status, answer = connection.post(
        f"{prefix}/jobs/complete",
        token,
        b'{"job_id":"%s","actual_cost":3,"metadata":{"durationMs":1200}}' % job_id,
    )
    if status != 200:
        raise SystemExit(f"{status}: {answer!r}")


def paced_reserves(
    port: int, tokens: list[str], *, seconds: float, a_second: int
) -> list[float]:
    """Make pairs at a steady pace; return the seconds that each reserve took."""
    connection = Connection(port)
    taken = []
    begun = due = time.perf_counter()
    while due < begun + seconds:
        time.sleep(max(0.0, due - time.perf_counter()))
        token = random.choice(tokens)  # noqa: S311 — spreads load, keeps no secret
        asked = time.perf_counter()
        job_id = _reserve(connection, "/api", token)
        taken.append(time.perf_counter() - asked)
        _settle(connection, "/api", token, job_id)
        due += 1 / a_second
    return taken


def http_twice(port: int, path: str, token: str) -> Callable[[], None]:
    """Return a pair of equal requests: the stack's cost without the ledger."""
    connection = Connection(port)

    def pair() -> None:
        for _ in range(2):
            status, answer = connection.post(path, token, b"{}")
            if status != 200:
                raise SystemExit(f"{status}: {answer!r}")

    return pair


def sql_pairs(url: str, app_id: str, accounts: list[str]) -> Callable[[], None]:
    """Return a pair of the ledger's functions, prepared, one commit each."""
    database = psycopg.connect(url, autocommit=True, prepare_threshold=0)

    def pair() -> None:
        account = random.choice(accounts)  # noqa: S311 — spreads load
        job_id = uuid.uuid4()
        (outcome,) = database.execute(
            "SELECT outcome FROM ledger.reserve_by('staff'::text, %s, %s, %s,"
            " 5000000::bigint, 3600, 'bench'::text, 'render'::text)",
            [account, app_id, job_id],
        ).fetchone()
        if outcome != "reserved":
            raise SystemExit(outcome)
        database.execute(
            "SELECT outcome FROM ledger.settle(%s, %s, 'video'::text, %s,"
            " 3000000::bigint, 'cap'::text, 'bench'::text, 'render'::text)",
            [account, app_id, job_id],
        )

    return pair

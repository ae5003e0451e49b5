"""`./dev bench webhooks`: the cost of events for a job, and the rate of deliveries.

* pairs of start and complete, called as rules in one process. Three apps take turns:
  without an owner, with an owner without endpoints, and with an endpoint.
* deliveries a second to a server that answers 200. The comparison is bare urllib3 with
  as many requests and threads, with and without kept connections.
* the delay of healthy deliveries while one endpoint, and then twenty, hang.
* the delay of the second to fifth tries.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import urllib3

THREADS = 32


class Answering(asyncio.Protocol):
    """A minimal HTTP server: 200, 503, or no answer, by the path."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.heard = transport, b""

    def data_received(self, data: bytes) -> None:
        self.heard += data
        while b"\r\n\r\n" in self.heard:
            head, _, rest = self.heard.partition(b"\r\n\r\n")
            mark = head.lower().index(b"content-length:") + 15
            length = int(head[mark:].split(b"\r\n", 1)[0])
            if len(rest) < length:
                return
            self.heard = rest[length:]
            word = head.split(b" ", 2)[1][1:2]
            if word == b"h":
                continue
            status = b"503 No" if word == b"5" else b"200 OK"
            answer = b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status
            self.transport.write(answer)


def serve(port: Any) -> None:
    async def forever() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=1024)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench webhooks", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=1500)
    options = parser.parse_args(argv)
    port: Any = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(port,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{port.get(timeout=20)}"

    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    cost_of_events(options.pairs, url)
    throughput(options.deliveries, url)
    hanging(url)
    lateness(url)
    server.terminate()


def person() -> Any:
    from accounts.models import User

    return User.objects.create(email=f"{uuid.uuid4().hex}@example.com")


def endpoint(owner: Any, url: str, *events: str) -> Any:
    from jobs.webhooks import endpoints

    return endpoints.register(user=owner, url=url, events=[*events]).endpoint


def cost_of_events(pairs: int, url: str) -> None:
    from accounts.models import App
    from focus.money import MICRO
    from jobs import lifecycle
    from jobs.lifecycle import Caller
    from wallet import ledger

    kinds = {}
    for name, owned, has_endpoint in [
        ("the app has no owner", False, False),
        ("its owner has no endpoint", True, False),
        ("its owner has one endpoint", True, True),
    ]:
        owner = person() if owned else None
        app = App.objects.create(slug=uuid.uuid4().hex, name=name, owner=owner)
        if has_endpoint:
            endpoint(owner, f"{url}/200", "job.created", "job.completed")
        kinds[name] = (app, person(), [])
    for _, user, _ in kinds.values():
        ledger.grant(
            account_id=user.pk,
            amount_micro=10**9 * MICRO,
            source="promo",
            actor="bench",
            key=f"bench:{user.pk}",
        )
    metadata = {"description": "Render preview clip", "durationMs": 1200}
    # In turns, so that other load on the machine affects all of them alike.
    for turn in range(pairs):
        for app, user, taken in kinds.values():
            begun = time.perf_counter()
            job = lifecycle.start(
                account_id=user.pk,
                app=app,
                action="render",
                estimate_micro=5 * MICRO,
                metadata=metadata,
                actor="bench",
            ).job
            lifecycle.complete(
                job_id=job.pk,
                caller=Caller("bench", app_id=app.pk),
                cost_micro=3 * MICRO,
                metadata={},
            )
            if turn > 20:
                taken.append(time.perf_counter() - begun)
    base = None
    print("\nstart and complete, as rules     p50 ms   of the first")
    for name, (_, _, taken) in kinds.items():
        p50 = statistics.median(taken) * 1000
        base = base or p50
        print(f"{name:30} {p50:8.2f} {p50 / base:10.2f}", flush=True)


def throughput(count: int, url: str) -> None:
    body = b'{"data":{"job_id":"x"},"event":"test","timestamp":"x"}'
    headers = {"Content-Type": "application/json", "X-Signature": "0" * 64}

    def bare(keep: bool) -> float:
        pool = urllib3.PoolManager(num_pools=1, maxsize=THREADS if keep else 0)
        more = {} if keep else {"Connection": "close"}

        def ask(_n: int) -> None:
            answer = pool.request(
                "POST", f"{url}/200", body=body, headers=headers | more
            )
            if answer.status != 200:
                raise SystemExit(answer.status)

        begun = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(ask, range(count)))
        return count / (time.perf_counter() - begun)

    owner = person()
    for n in range(THREADS):
        tell(endpoint(owner_of(n, owner), f"{url}/200/{n}", "test"), count // THREADS)
    rates = {
        "urllib3, a connection each": bare(False),
        "urllib3, connections kept": bare(True),
        "webhook worker": deliver(count // THREADS * THREADS),
    }
    print(f"\n{count} deliveries, {THREADS} threads     per s   of bare, each its own")
    first = rates["urllib3, a connection each"]
    for name, rate in rates.items():
        print(f"{name:30} {rate:8.0f} {rate / first:10.2f}", flush=True)


def owner_of(n: int, first: Any) -> Any:
    # An account has at most twenty endpoints.
    return first if n < 20 else person()


def tell(to: Any, times: int) -> list[Any]:
    from django.db import transaction

    from jobs.webhooks import redelivery

    with transaction.atomic():
        return [
            redelivery.test(user=to.account, endpoint_id=to.pk).pk for _ in range(times)
        ]


def deliver(count: int) -> float:
    """Send all pending deliveries in this process; returns deliveries a second."""
    from jobs.models import Delivery
    from jobs.webhooks.courier import Courier

    waiting = Delivery.objects.filter(state="pending", event__type="test")
    Delivery.objects.filter(state="pending").exclude(event__type="test").update(
        state="canceled", ended_at="2026-01-01T00:00Z"
    )
    courier = Courier(threads=THREADS)
    begun = time.perf_counter()
    courier.start()
    wait_for(lambda: not waiting.exists())
    taken = time.perf_counter() - begun
    courier.stop()
    courier.join(40)
    return count / taken


def wait_for(true: Callable[[], bool], seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not true():
        if time.monotonic() > limit:
            raise SystemExit("It takes too long.")
        time.sleep(0.02)


def hanging(url: str) -> None:
    from jobs.models import Delivery
    from jobs.webhooks.courier import Courier

    print("\n1000 healthy deliveries, 50 a    done after, ms    later, ms")
    print("second each to 4 endpoints          p50      max    p50      max")
    calm: list[float] = []
    for name, bad in [
        ("no endpoint hangs", 0),
        ("1 endpoint hangs, 500 wait", 1),
        ("20 endpoints hang, 500 wait", 20),
    ]:
        mallory = person()
        for n in range(bad):
            tell(endpoint(mallory, f"{url}/hang/{n}", "test"), 500 // bad)
        good = [endpoint(person(), f"{url}/200", "test") for _ in range(4)]
        courier = Courier(threads=THREADS)
        courier.start()
        time.sleep(1)
        ids, begun = [], time.monotonic()
        for n in range(250):
            for to in good:
                ids += tell(to, 1)
            time.sleep(max(0.0, begun + (n + 1) / 50 - time.monotonic()))
            courier.wake()
        rows = Delivery.objects.filter(pk__in=ids, state="succeeded")
        wait_for(lambda rows=rows: rows.count() == 1000)  # type: ignore[misc]
        waits = sorted(
            (row.ended_at - row.created_at).total_seconds() * 1000
            for row in rows
            if row.ended_at
        )
        p50, most = statistics.median(waits), waits[-1]
        if not calm:
            calm = waits
        more = [b - a for a, b in zip(calm, waits, strict=True)]
        print(
            f"{name:30} {p50:8.0f} {most:8.0f} {statistics.median(more):6.0f}"
            f" {max(more):8.0f}",
            flush=True,
        )
        Delivery.objects.filter(state="pending").update(
            state="canceled", ended_at="2026-01-01T00:00Z", lease=None
        )
        courier.stop()
        # Hanging requests end at their deadline, or with this process.
        courier.join(0.1)


def lateness(url: str) -> None:
    from jobs.models import Attempt
    from jobs.webhooks.courier import Courier

    courier = Courier(threads=THREADS)
    courier.start()
    ids = [
        i for _ in range(10) for i in tell(endpoint(person(), f"{url}/503", "test"), 1)
    ]
    done = Attempt.objects.filter(delivery__in=ids, state="done")
    wait_for(lambda: done.count() == 50)
    courier.stop()
    courier.join(5)
    late: dict[int, list[float]] = {}
    for pk in ids:
        tries = list(Attempt.objects.filter(delivery=pk).order_by("n"))
        for before, after, wait in zip(tries, tries[1:], (1, 2, 4, 8), strict=False):
            gap = (after.started_at - before.started_at).total_seconds() * 1000
            late.setdefault(wait, []).append(
                gap - (before.duration_ms or 0) - wait * 1000
            )
    print("\nlater than promised          ms: p50     max")
    for wait, times in late.items():
        print(
            f"{wait} s after the end of the last"
            f" {statistics.median(times):5.0f} {max(times):7.0f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])

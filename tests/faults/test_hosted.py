"""kill -9 of the media worker, its engine, PostgreSQL or Valkey: a run ends once.

Real workers and a stand-in for the engine as a process of its own. After each fault the
run is done once and charged once, and no engine, no folder and no file is left over.
"""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from accounts.models import User
from focus.celery import MEDIA_STATE
from focus.due import NOW
from focus.money import MICRO
from jobs.files import retention
from jobs.models import Job, Run, StoredFile
from tests import hosted, processes
from tests.faults.engines import Own, own_engines
from tests.processes import kill, running, until
from tests.rules.jobs.hosted.test_sandbox import processes_with
from wallet.models import Entry

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]

WORKER = (
    *("celery", "-A", "tests.faults.media_worker", "worker"),
    *("-Q", "media", "-P", "threads", "-c", "1", "-n", "media@%h"),
)


class House:
    """The folders of one test's media worker, and what is in them."""

    def __init__(self, folder: Path, settings: Any) -> None:
        self.folder = folder
        self.files = folder / "media"
        self.env = {
            **hosted.install_stand_in(folder),
            "MEDIA_ROOT": str(self.files),
            "GATES": str(folder),
            "FOCUS_VAR": str(folder / "var"),
        }
        # The server's secrets, but not the state of an installation.
        (folder / "var").mkdir()
        (folder / "var" / "env").symlink_to(settings.VAR / "env")
        settings.MEDIA_ROOT = self.files
        settings.MEDIA_WORK_FOLDER = folder / "work"
        self.mark = uuid.uuid4().hex
        self._workers = 0

    @contextmanager
    def worker(self, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        self._workers += 1
        log = self.folder / f"worker {self._workers}"
        with running(*WORKER, log=log, **(self.env | more)) as worker:
            yield worker

    def close(self, gate: str) -> None:
        (self.folder / f"{gate} closed").touch()

    def open(self, gate: str) -> None:
        (self.folder / f"{gate} closed").unlink()

    def reached(self, gate: str) -> bool:
        return (self.folder / f"{gate} reached").exists()

    def folders(self) -> list[Path]:
        work = self.folder / "work"
        return list(work.iterdir()) if work.exists() else []

    def objects(self) -> list[Path]:
        stored = self.files / "files"
        return [path for path in stored.rglob("*") if path.is_file()]

    def engines(self) -> list[int]:
        return processes_with(self.mark) + processes_with(str(self.folder / "engine"))


@pytest.fixture
def house(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> House:
    from jobs.hosted import runs

    monkeypatch.setitem(runs.KINDS, "test", hosted.KIND)
    store = redis.Redis.from_url(settings.REDIS_URL)
    store.delete("media", "unacked", "unacked_index", "unacked_mutex", MEDIA_STATE)
    store.close()
    return House(tmp_path, settings)


@pytest.fixture
def priced(alice: User, give: Any) -> User:
    """Alice has 20 credits, and a run costs 2."""
    hosted.set_price(alice, give)
    return alice


def the_run() -> Run:
    return Run.objects.select_related("job").get()


def end_lease() -> None:
    """Let the lease of the killed worker end now, which takes a minute otherwise."""
    Run.objects.exclude(due_at=None).update(due_at=NOW)


def is_done() -> bool:
    return the_run().state == "done"


def check_ended_once(house: House, *, tries: int) -> None:
    run = the_run()
    assert (run.state, run.tries, run.message) == ("done", tries, "published result")
    assert (run.due_at, run.lease) == (None, None)
    assert (run.job.status, run.job.charged_micro) == ("completed", 2 * MICRO)
    kinds = list(Entry.objects.filter(job_id=run.job_id).values_list("kind", flat=True))
    assert sorted(set(kinds) - {"extend"}) == ["charge", "reserve"], kinds
    assert kinds.count("charge") == 1
    until(lambda: not house.engines(), seconds=30)
    until(lambda: not house.folders(), seconds=30)
    # What a dead try had stored is due in an hour, and then it is gone.
    StoredFile.objects.exclude(due_at=None).update(due_at=NOW)
    retention.remove_due()
    assert StoredFile.objects.count() == 1
    assert len(house.objects()) == 1


# The step at which the worker dies, and the tries that count after it.
STEPS = {
    "claimed, not committed": 1,
    "claimed": 2,
    "prepared": 2,
    "the engine works": 2,
    "answered": 2,
    "collected": 2,
    "published, not committed": 2,
    "settled, not committed": 2,
    "settled": 1,
}


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_at_each_step(priced: User, house: House, step: str) -> None:
    hosted.start(
        priced, ["child", house.mark], ["write", "result"], ["tell", 50], ["sleep", 1]
    )
    mark = house.folder / "died"
    with house.worker(DIE_AT=step, DIE_MARK=str(mark)) as first:
        until(mark.exists, seconds=60)
        until(lambda: first.poll() is not None, seconds=30)
        until(lambda: not house.engines(), seconds=30)
    end_lease()
    with house.worker():
        until(is_done, seconds=60)
        check_ended_once(house, tries=STEPS[step])


def test_a_worker_killed_before_it_claims(priced: User, house: House) -> None:
    with house.worker() as first:
        kill(first)
    hosted.start(priced, ["write", "result"])
    with house.worker():
        until(is_done, seconds=60)
        check_ended_once(house, tries=1)


def test_a_worker_killed_in_all_tries_ends_the_run(priced: User, house: House) -> None:
    hosted.start(priced, ["child", house.mark], ["tell", 50], ["sleep", 600])
    for _ in range(3):
        mark = house.folder / "died"
        mark.unlink(missing_ok=True)
        with house.worker(DIE_AT="the engine works", DIE_MARK=str(mark)):
            until(mark.exists, seconds=60)
        end_lease()
    with house.worker():
        until(lambda: the_run().state == "failed", seconds=60)
        until(lambda: not house.folders(), seconds=30)
    run = the_run()
    assert (run.tries, run.error_code, run.job.status) == (4, "worker_died", "failed")
    assert run.job.refunded_micro == 2 * MICRO
    assert not house.engines()


def test_a_killed_engine_is_tried_again(priced: User, house: House) -> None:
    gate = house.folder / "gate"
    hosted.start(
        priced,
        *(["write", "result"], ["child", house.mark], ["wait for", str(gate)]),
    )
    with house.worker():
        until(lambda: processes_with(house.mark), seconds=60)
        # The keeper and the engine, and by the namespace the engine's child.
        for pid in processes_with(str(house.folder / "engine")):
            os.kill(pid, signal.SIGKILL)
        until(lambda: the_run().error_code == "killed", seconds=30)
        until(lambda: not processes_with(house.mark), seconds=30)
        gate.touch()
        end_lease()
        until(is_done, seconds=60)
        check_ended_once(house, tries=2)


def test_sigterm_gives_the_run_back_at_once(priced: User, house: House) -> None:
    gate = house.folder / "gate"
    hosted.start(
        priced,
        *(["write", "result"], ["child", house.mark], ["wait for", str(gate)]),
    )
    with house.worker() as first:
        until(lambda: processes_with(house.mark), seconds=60)
        os.kill(first.pid, signal.SIGTERM)
        first.wait(60)
    run = the_run()
    assert (run.state, run.tries, run.lease) == ("queued", 0, None)
    until(lambda: not house.engines(), seconds=30)
    assert house.folders() == []
    gate.touch()
    with house.worker():
        until(is_done, seconds=60)
        check_ended_once(house, tries=1)


def test_a_cancelled_run_loses_its_engine(priced: User, house: House) -> None:
    from jobs.hosted import runs

    run = hosted.start(priced, ["child", house.mark], ["sleep", 600])
    with house.worker():
        until(lambda: processes_with(house.mark), seconds=60)
        runs.cancel(run_id=run.pk)
        until(lambda: not house.engines(), seconds=30)
        until(lambda: not house.folders(), seconds=30)
    assert the_run().state == "cancelled"
    assert Job.objects.get().refunded_micro == 2 * MICRO


def test_two_workers_do_each_of_twenty_runs_once(
    priced: User, bob: User, house: House
) -> None:
    for _ in range(10):
        hosted.start(priced, ["write", "result"])
        hosted.start(bob, ["write", "result"], units=0)
    with house.worker(), house.worker():
        until(lambda: Run.objects.filter(state="done").count() == 20, seconds=120)
    assert set(Run.objects.values_list("tries", flat=True)) == {1}
    assert Entry.objects.filter(kind="charge").count() == 10
    assert StoredFile.objects.count() == 20


def test_valkey_stopped_and_never_there(priced: User, house: House) -> None:
    """Without a broker the worker polls by itself."""
    with own_engines() as (_, valkey):
        gate = house.folder / "gate"
        hosted.start(priced, ["write", "result"], ["wait for", str(gate)])
        with house.worker(REDIS_URL=valkey.url):
            until(lambda: the_run().state == "running", seconds=60)
            valkey.down()
            gate.touch()
            until(is_done, seconds=60)
            check_ended_once(house, tries=1)
        hosted.start(priced, ["write", "result"])
        # One that is started while there is no broker works all the same.
        with house.worker(REDIS_URL=valkey.url):
            until(lambda: Run.objects.filter(state="done").count() == 2, seconds=60)


# --- PostgreSQL --------------------------------------------------------------------

SEED = """
from accounts.models import User
from accounts.partners import first_party
from focus.money import MICRO
from jobs.hosted import runs
from tests import hosted
from wallet import ledger
runs.register(hosted.KIND)
from jobs.models import Price
Price.objects.update_or_create(app=first_party.app("reviv"), action="restore",
  defaults={"unit": "photo", "credits_micro": 2 * MICRO})
alice = User.objects.create_user("alice@example.com", "alice's password")
ledger.grant(account_id=alice.pk, amount_micro=20 * MICRO, source="promo",
  actor="test", key="give")
hosted.start(alice, *STEPS)
"""


@pytest.fixture
def own(house: House) -> Iterator[tuple[Own, dict[str, str]]]:
    with own_engines(fast=False) as (postgres, valkey):
        env = house.env | {"DATABASE_URL": postgres.url, "REDIS_URL": valkey.url}
        _manage(env, "migrate", "-v0")
        yield postgres, env


def _manage(env: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=processes.ROOT,
        env=processes.environment() | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def ask(postgres: Own, sql: Any) -> tuple[Any, ...]:
    with psycopg.connect(postgres.url) as database:
        row = database.execute(sql).fetchone()
        assert row is not None
        return row


RUN = """SELECT r.state, r.tries, j.status, j.charged_micro, (SELECT count(*) FROM
    wallet_entry e WHERE e.job_id = j.id AND e.kind = 'charge'), (SELECT count(*)
    FROM jobs_storedfile WHERE due_at IS NULL)
    FROM jobs_run r JOIN jobs_job j ON j.id = r.job_id"""


@pytest.mark.parametrize("when", ["while the engine works", "before the commit"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "int"])
def test_postgresql_stopped_and_started(
    house: House, own: tuple[Own, dict[str, str]], when: str, number: int
) -> None:
    postgres, env = own
    gate = house.folder / "gate"
    steps = [["write", "result"], ["wait for", str(gate)]]
    if when == "before the commit":
        house.close("publish")
        gate.touch()
    _manage(env, "shell", "-v0", "-c", SEED.replace("STEPS", repr(steps)))
    with house.worker(**env):
        if when == "before the commit":
            until(lambda: house.reached("publish"), seconds=60)
        else:
            until(lambda: list(house.folder.glob("work/*/result")), seconds=60)
        postgres.down(number)
        if when == "before the commit":
            house.open("publish")
        else:
            gate.touch()
        # Long enough for the worker to meet the loss several times.
        log = house.folder / "worker 1"
        until(lambda: "OperationalError" in log.read_text(), seconds=60)
        postgres.up()
        until(lambda: ask(postgres, RUN)[0] == "done", seconds=120)
        assert ask(postgres, RUN) == ("done", 1, "completed", 2 * MICRO, 1, 1)
        until(lambda: not house.folders(), seconds=30)
        assert not house.engines()
    assert len(house.objects()) == 1

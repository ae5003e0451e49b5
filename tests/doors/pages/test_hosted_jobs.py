"""Hosted jobs on the overview: stage, progress, preview, and a failure in words."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import App, User
from focus.celery import MEDIA_STATE, heartbeat_redis
from jobs.files import downloads, storage
from jobs.hosted import previews, runs, showing
from jobs.models import Job, Run, StoredFile
from tests import hosted
from tests.doors.browsing import Browser
from tests.doors.hosted_rows import run, stored

PREVIEWS: dict[UUID, StoredFile] = {}


def read_previews(job_ids: Sequence[UUID]) -> Mapping[UUID, str]:
    return {pk: downloads.address(PREVIEWS[pk]) for pk in job_ids if pk in PREVIEWS}


@pytest.fixture(autouse=True)
def _hosted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kind of work that has previews, at the app `video`."""
    monkeypatch.setitem(runs.KINDS, "restore", replace(hosted.KIND, name="restore"))
    monkeypatch.setitem(previews._readers, ("video", "render"), read_previews)
    yield
    PREVIEWS.clear()
    heartbeat_redis().delete(MEDIA_STATE)


@pytest.fixture
def alices(alice: User) -> Browser:
    browser = Browser()
    assert browser.sign_in().status_code == 302
    return browser


def media(word: str, percent: int = 100) -> None:
    """Publish the engine's state as a media worker does."""
    state = {"word": word, "percent": percent, "sentence": ""}
    heartbeat_redis().set(MEDIA_STATE, json.dumps(state), ex=600)


def described(row: Run, **metadata: str) -> Run:
    Job.objects.filter(pk=row.job_id).update(metadata=metadata)
    return row


def test_a_running_job_shows_its_stage_and_a_progress_bar(
    alices: Browser, alice: User, video: App
) -> None:
    described(
        run(alice, video, "running", stage="noise", percent=43),
        description="Restoration of <b>.jpg",
    )
    html = alices.get("/").content.decode()
    assert "Noise, 43 %" in html
    assert re.search(r'<progress max="100" value="43" aria-label="[\w ]+">43 %', html)
    assert '<span class="badge running">running</span>' in html
    assert "Restoration of &lt;b&gt;.jpg" in html


@pytest.mark.parametrize(
    ("word", "percent", "says"),
    [
        ("ready", 100, "Waiting: 1 before you"),
        ("preparing", 47, "Media: preparing (47 %)"),
        ("failed", 0, "Media: not available at the moment; the work starts by itself"),
    ],
)
def test_a_waiting_job_says_what_it_waits_for(
    word: str,
    percent: int,
    says: str,
    alices: Browser,
    alice: User,
    bob: User,
    video: App,
) -> None:
    run(bob, video)
    run(alice, video)
    media(word, percent)
    html = alices.get("/").content.decode()
    assert says in html
    assert '<span class="badge waiting">waiting</span>' in html
    assert "<progress" not in html


def test_a_failed_job_says_why_and_what_to_change(
    alices: Browser, alice: User, video: App
) -> None:
    run(
        alice,
        video,
        "failed",
        error_code="too_dark",
        error_sentence="The photo is <i>too</i> dark.",
        error_change="Take another one.",
        error_detail="Traceback in measure.py",
    )
    html = alices.get("/").content.decode()
    assert "The photo is &lt;i&gt;too&lt;/i&gt; dark. Take another one." in html
    assert '<span class="badge failed">failed</span>' in html
    # The details are for staff.
    assert "too_dark" not in html
    assert "Traceback" not in html


def test_a_cancelled_job_is_neither_running_nor_failed_for_a_reason(
    alices: Browser, alice: User, video: App
) -> None:
    run(alice, video, "cancelled", stage="noise", percent=10)
    html = alices.get("/").content.decode()
    assert '<span class="badge cancelled">cancelled</span>' in html
    assert "<progress" not in html
    assert 'class="reason"' not in html


@pytest.mark.django_db(transaction=True)
def test_a_finished_job_shows_its_preview_from_this_origin(
    alices: Browser, alice: User, video: App, tmp_path: Path
) -> None:
    done = described(run(alice, video, "done", percent=100), description="A <photo>")
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"\xff\xd8\xff picture")
    PREVIEWS[done.job_id] = storage.publish(
        picture,
        account_id=alice.pk,
        purpose="preview",
        name="a & b.jpg",
        content_type="image/jpeg",
    )
    answer = alices.get("/")
    html = answer.content.decode()
    found = re.search(r'<img class="preview" src="(/files/[^"]+)" alt="([^"]+)"', html)
    assert found
    assert found[2] == "Preview of: A &lt;photo&gt;"
    assert "img-src 'self' data:" in answer["Content-Security-Policy"]
    opened = Browser().get(found[1])
    assert (opened.status_code, opened["Content-Type"]) == (200, "image/jpeg")
    assert b"".join(opened) == b"\xff\xd8\xff picture"


@pytest.mark.parametrize("is_run", [True, False])
def test_a_picture_of_another_server_is_never_loaded(
    is_run: bool,
    alices: Browser,
    alice: User,
    video: App,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would tell that server when the person reads this page."""
    monkeypatch.delitem(previews._readers, ("video", "render"))
    row = run(alice, video, "done")
    described(row, previewUrl="https://tracker.example.com/files/1.gif")
    if not is_run:
        row.delete()
    html = alices.get("/").content.decode()
    assert "tracker.example.com" not in html
    assert 'class="preview"' not in html


def test_the_overview_takes_as_many_queries_for_ten_hosted_jobs_as_for_one(
    alices: Browser, alice: User, bob: User, video: App
) -> None:
    media("ready")

    def fill() -> None:
        for state in ("queued", "running", "done", "failed"):
            row = run(alice, video, state)
            PREVIEWS[row.job_id] = stored(alice, "preview")

    def count() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert alices.get("/").status_code == 200
        return len(asked)

    fill()
    count()
    few = count()
    fill()
    fill()
    assert count() == few


def test_a_job_without_a_run_is_no_hosted_work(
    alice: User, bob: User, video: App
) -> None:
    mine, theirs = run(alice, video), run(bob, video, "done")
    job = theirs.job
    theirs.delete()
    assert set(showing.of_jobs([mine.job, job])) == {mine.job_id}
    assert showing.of_jobs([]) == {}


def test_a_failure_without_words_still_says_that_the_work_failed(
    alice: User, video: App
) -> None:
    row = run(alice, video, "failed", error_code="lost")
    assert showing.of_jobs([row.job])[row.job_id].failure == "The work failed."

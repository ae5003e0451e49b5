"""Staff read runs, restorations and stored files, and finance staff edit prices."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import App, SecurityEvent, User
from focus.celery import MEDIA_STATE, heartbeat_redis
from jobs.models import Price, Restoration, Run, StoredFile
from tests.doors.browsing import Browser
from tests.doors.hosted_rows import does, page, restoration, run, stored
from tests.doors.staffroom import assert_only_views, browser, in_role

pytestmark = pytest.mark.django_db

ROLES = ["viewer", "support", "finance", "superuser"]
MODELS: list[type[Model]] = [Run, Restoration, StoredFile, Price]


@pytest.fixture
def priced(video: App) -> Price:
    return Price.objects.create(
        app=video, action="detect", unit="minute", credits_micro=1_500_000
    )


@pytest.fixture
def failed(alice: User, video: App) -> Run:
    return run(
        alice,
        video,
        "failed",
        error_code="too_small",
        error_sentence="The photo is <b>too</b> small.",
        error_change="Send a larger photo.",
        error_detail="Traceback <i>in</i> measure.py",
        tries=2,
    )


@pytest.mark.parametrize("role", ROLES)
def test_every_role_reads_all_pages_and_no_address(
    role: str, alice: User, video: App, failed: Run, priced: Price
) -> None:
    done = restoration(alice, video)
    staff = browser(in_role(role))
    for model in MODELS:
        rows = list(model._default_manager.all())
        assert rows
        for where in (page(model), *(page(model, row) for row in rows)):
            answer = staff.get(where)
            assert answer.status_code == 200, where
            html = answer.content.decode()
            assert "secret-key-" not in html, where
            assert "/files/" not in html, where
    html = staff.get(page(Run, failed)).content.decode()
    for words in (
        "too_small",
        "The photo is &lt;b&gt;too&lt;/b&gt; small.",
        "Send a larger photo.",
        "Traceback &lt;i&gt;in&lt;/i&gt; measure.py",
        f"/admin/jobs/job/{failed.job_id}/change/",
    ):
        assert words in html, words
    html = staff.get(page(Restoration, done)).content.decode()
    assert f"/admin/jobs/run/{done.run_id}/change/" in html


@pytest.mark.parametrize("model", [Run, Restoration, StoredFile])
def test_no_role_adds_changes_or_deletes_rows_of_work(
    model: type[Model], staff: User, rf: Any
) -> None:
    assert_only_views(model, staff, rf)


def test_search_and_filters_find_by_ids_emails_and_states(
    alice: User, bob: User, video: App, failed: Run
) -> None:
    done = restoration(alice, video, unlock_method=None)
    other = restoration(
        bob, video, "running", unlock_method="paid", unlocked_at=timezone.now()
    )
    mine = {done.original_id, done.preview_id, done.full_id}
    staff = browser(in_role("viewer"))

    def found(model: type[Model], term: Any = "", **more: str) -> set[Any]:
        answer = staff.get(page(model), {"q": str(term), **more})
        assert answer.status_code == 200
        return {row.pk for row in answer.context["cl"].result_list}

    both = {failed.pk, done.run_id}
    assert found(Run, "alice@example.com") == found(Run, alice.pk) == both
    assert found(Run, failed.pk) == found(Run, failed.job_id) == {failed.pk}
    assert found(Run, state__exact="running") == {other.run_id}
    assert found(Run, kind="restore") == both | {other.run_id}
    assert found(Run, kind="montage") == found(Run, "unknown@example.com") == set()
    assert found(Restoration, done.pk) == found(Restoration, done.run_id) == {done.pk}
    assert found(Restoration, done.run.job_id) == {done.pk}
    assert found(Restoration, "bob@") == found(Restoration, bob.pk) == {other.pk}
    assert found(Restoration, unlock_method__exact="paid") == {other.pk}
    assert found(StoredFile, "alice@example.com") == mine
    assert found(StoredFile, alice.pk) == found(StoredFile, done.run_id) == mine
    assert found(StoredFile, done.full_id) == {done.full_id}
    assert found(StoredFile, purpose="restored") == {done.full_id, other.full_id}
    StoredFile.objects.filter(purpose="restored", account=alice).update(
        deleted_at=timezone.now()
    )
    assert found(StoredFile, deleted_at__isempty="0") == {done.full_id}


def test_a_file_shows_its_state_and_the_bytes_of_its_account(
    alice: User, bob: User
) -> None:
    stored(alice, size=3_145_728)
    stored(alice, "restored", size=None, arrived_at=None, most_bytes=1_048_576)
    gone = stored(alice, "preview", deleted_at=timezone.now())
    over = timezone.now() - timedelta(minutes=1)
    stored(alice, "preview", due_at=over)
    stored(bob, size=7)
    html = browser(in_role("viewer")).get(page(StoredFile)).content.decode()
    html = html.replace("\xa0", " ")
    # The deleted file and the expired one no longer count.
    assert html.count("4.0 MB</a>") == 4
    for words in (
        "up to 1.0 MB",
        "7 bytes",
        "expected",
        "stored",
        "deleted",
        "expired",
    ):
        assert words in html, words
    html = browser(in_role("finance")).get(page(StoredFile, gone)).content.decode()
    assert "4.0\xa0MB" in html


@pytest.mark.parametrize("role", ROLES)
def test_staff_delete_a_file_once_and_the_audit_says_so(
    role: str, alice: User, bob: User
) -> None:
    file, other = stored(alice), stored(bob)
    text = does(role, StoredFile, "delete_content", file)
    file.refresh_from_db()
    other.refresh_from_db()
    assert other.deleted_at is None
    event = SecurityEvent.objects.filter(kind="stored_file_deleted")
    if role == "viewer":
        assert file.deleted_at is None
        assert not event.exists()
        return
    assert file.deleted_at is not None
    assert "of alice@example.com is deleted." in text
    assert event.get().user == alice
    assert event.get().actor == f"{role}@staff.example.com"
    assert event.get().facts == {"file_id": str(file.pk), "purpose": "photo"}
    assert "was deleted before" in does(role, StoredFile, "delete_content", file)
    assert event.count() == 1
    account = Browser()
    account.sign_in()
    html = account.get("/security").content.decode()
    assert "Support deleted one of your files" in html
    assert role not in html


@pytest.mark.parametrize("model", MODELS)
def test_a_list_takes_as_many_queries_for_many_rows_as_for_one(
    model: type[Model], alice: User, bob: User, video: App, tool: App
) -> None:
    staff = browser(in_role("support"))

    def fill(user: User, app: App, plan: str) -> None:
        restoration(user, app)
        Price.objects.create(app=app, action="x", unit="y", plan=plan, credits_micro=0)

    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as asked:
            answer = staff.get(page(model))
            assert answer.status_code == 200
        return len(asked)

    fill(alice, video, "")
    staff.get(page(model))
    few = count()
    for number in range(8):
        fill((alice, bob)[number % 2], (video, tool)[number % 2], f"plan-{number}")
    assert (
        len(browser(in_role("viewer")).get(page(model)).context["cl"].result_list) > 8
    )
    assert count() == few


def test_the_menu_names_the_pages(db: None) -> None:
    html = browser(in_role("viewer")).get("/admin/").content.decode()
    for model in MODELS:
        assert page(model) in html


def test_the_queue_figures_are_on_the_overview_and_above_the_runs(
    alice: User, video: App
) -> None:
    staff = browser(in_role("viewer"))

    def shown(place: str) -> str:
        html = staff.get(place).content.decode()
        return " ".join(re.sub(r"<[^>]+>", " ", html).split())

    assert "Waiting 0 oldest: none Running 0" in shown(page(Run))
    assert "Waiting 0 Oldest waiting none Running 0 Failed today 0" in shown("/admin/")
    # What another test's worker has published would live for 30 seconds.
    heartbeat_redis().delete(MEDIA_STATE)
    assert "Media engine Silent No media worker is running." in shown(page(Run))
    old = timezone.now() - timedelta(days=3)
    Run.objects.filter(pk=run(alice, video).pk).update(created_at=old)
    run(alice, video)
    run(alice, video, "running")
    run(alice, video, "done")
    run(alice, video, "failed")
    run(alice, video, "failed", finished_at=old)
    assert re.search(
        r"Waiting 2 oldest: for 3 days, 0:0\d:\d\d Running 1 .* Failed today 1",
        shown(page(Run)),
    )
    assert re.search(
        r"Waiting 2 Oldest waiting for 3 days, 0:0\d:\d\d Running 1 Failed today 1",
        shown("/admin/"),
    )

"""`Idempotency-Key`: a repeated request moves no credits and gets the same bytes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from rest_framework.test import APIClient

from accounts import replays
from accounts.credentials import scopes, tokens
from accounts.models import Replay
from accounts.replays import KeyedRequest, StoredAnswer
from jobs.models import Job
from wallet.models import Entry

RENDER = {"app": "video", "action": "render", "cost_estimate": 5}


def keyed(client, path, body, key="one"):
    return client.post(path, body, headers={"Idempotency-Key": key})


@pytest.fixture
def _credits(alice, video, give):
    give(alice, 20)


@pytest.mark.django_db
@pytest.mark.usefixtures("_credits")
class TestOneCaller:
    def test_a_repeat_returns_the_same_bytes_and_moves_no_credits(self, as_alice):
        first = keyed(as_alice, "/api/jobs", RENDER)
        again = keyed(as_alice, "/api/jobs", dict(reversed(RENDER.items())))
        assert (again.status_code, again.content) == (201, first.content)
        assert again["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first
        assert again["Content-Type"] == first["Content-Type"]
        assert Job.objects.count() == 1
        other = keyed(as_alice, "/api/jobs", RENDER, "two")
        assert other.json()["job_id"] != first.json()["job_id"]

    def test_settling_and_failing_replay_too(self, as_alice):
        for path in ("complete", "fail"):
            job_id = as_alice.post("/api/jobs", RENDER).json()["job_id"]
            payload = {"job_id": job_id}
            first = keyed(as_alice, f"/api/jobs/{path}", payload, path)
            entries = Entry.objects.count()
            again = keyed(as_alice, f"/api/jobs/{path}/", payload, path)
            assert again.content == first.content
            assert again["Idempotent-Replayed"] == "true"
            assert Entry.objects.count() == entries

    @pytest.mark.parametrize(
        ("path", "change"),
        [
            ("/api/jobs", {"cost_estimate": 6}),
            ("/api/jobs", {"metadata": {"more": 1}}),
            ("/api/jobs/complete", {}),
        ],
    )
    def test_the_key_with_another_request_is_422(self, as_alice, path, change):
        keyed(as_alice, "/api/jobs", RENDER)
        answer = keyed(as_alice, path, RENDER | {"job_id": "x"} | change)
        assert answer.status_code == 422
        assert answer.json() == {
            "error": "idempotency_key_reused",
            "message": "This idempotency key has answered another request.",
        }
        assert Job.objects.count() == 1

    @pytest.mark.parametrize(
        ("payload", "status"),
        [
            (RENDER | {"cost_estimate": 50}, 402),
            (RENDER | {"cost_estimate": -1}, 400),
            (RENDER | {"app": "nope"}, 404),
        ],
    )
    def test_a_refusal_is_not_stored(self, as_alice, alice, give, payload, status):
        assert keyed(as_alice, "/api/jobs", payload).status_code == status
        assert not Replay.objects.exists()
        assert keyed(as_alice, "/api/jobs", RENDER).status_code == 201

    def test_an_answer_that_changed_nothing_is_not_stored(self, as_alice):
        job_id = as_alice.post("/api/jobs", RENDER).json()["job_id"]
        as_alice.post("/api/jobs/complete", {"job_id": job_id})
        keyed(as_alice, "/api/jobs/complete", {"job_id": job_id})
        assert not Replay.objects.exists()

    def test_a_key_belongs_to_the_account_and_not_to_the_token(
        self, as_alice, alice, caller
    ):
        first = keyed(as_alice, "/api/jobs", RENDER)
        rotated = caller(alice)
        assert keyed(rotated, "/api/jobs", RENDER).content == first.content

    def test_two_accounts_may_use_the_same_key(self, as_alice, as_bob, bob, give):
        give(bob, 20)
        first = keyed(as_alice, "/api/jobs", RENDER)
        second = keyed(as_bob, "/api/jobs", RENDER)
        assert "Idempotent-Replayed" not in second
        assert first.json()["job_id"] != second.json()["job_id"]

    def test_a_revoked_or_weaker_token_gets_no_replay(self, as_alice, alice):
        keyed(as_alice, "/api/jobs", RENDER)
        weak = tokens.issue(user=alice, name="weak", scopes=["wallet:read"])
        client = APIClient(headers={"Authorization": f"Bearer {weak.secret}"})
        assert keyed(client, "/api/jobs", RENDER).status_code == 403
        tokens.revoke(user=alice, token_id=weak.token.pk)
        assert keyed(client, "/api/jobs", RENDER).status_code == 401

    @pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb"])
    def test_a_bad_key_is_400(self, as_alice, key):
        answer = keyed(as_alice, "/api/jobs", RENDER, key)
        assert answer.status_code == 400
        assert answer.json()["error"] == "invalid_idempotency_key"

    def test_answers_are_deleted_after_30_days_and_not_before(self, as_alice):
        keyed(as_alice, "/api/jobs", RENDER, "old")
        keyed(as_alice, "/api/jobs", RENDER, "young")
        row = Replay.objects.get(key="old")
        row.created_at -= timedelta(days=30, seconds=1)
        row.save()
        assert replays.forget_old() == 1
        assert Replay.objects.get().key == "young"

    def test_reading_ignores_the_header(self, as_alice):
        answer = as_alice.get("/api/jobs", headers={"Idempotency-Key": "x"})
        assert answer.status_code == 200
        assert not Replay.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_credits")
class TestManyCallers:
    def test_twenty_concurrent_requests_with_one_key_make_one_job(self, alice):
        issued = tokens.issue(user=alice, name="test", scopes=scopes.DEFAULT)
        gate = threading.Barrier(20, timeout=30)

        def call(_):
            client = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
            try:
                connection.ensure_connection()
                gate.wait()
                return keyed(client, "/api/jobs", RENDER)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(call, range(20)))
        made = [answer for answer in answers if answer.status_code == 201]
        busy = [answer for answer in answers if answer.status_code == 409]
        assert len(made) + len(busy) == 20
        assert len({answer.content for answer in made}) == 1
        assert [a.headers.get("Idempotent-Replayed") for a in made].count(None) == 1
        assert {answer["Retry-After"] for answer in busy} <= {"1"}
        assert {a.json()["error"] for a in busy} <= {"request_in_flight"}
        assert Job.objects.count() == 1

    def test_a_key_is_free_after_its_first_request_crashed(self, alice):
        asked = KeyedRequest("s", "k", b"f")

        def dies():
            try:
                with transaction.atomic():
                    assert replays.find(asked) is None
                    replays.store(asked, StoredAnswer(201, b"{}"))
                    connection.connection.close()  # as a killed process would
                    raise ConnectionError
            except ConnectionError:
                pass
            finally:
                connections.close_all()

        thread = threading.Thread(target=dies)
        thread.start()
        thread.join()
        with transaction.atomic():
            assert replays.find(asked) is None

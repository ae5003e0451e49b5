"""reviv guide, "Unlock with credits": one charge, one unlock, in one transaction."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import App, User
from jobs import usage
from jobs.models import Price, Restoration, Run, StoredFile, Usage
from tests.restorations import (
    HISTORY,
    at,
    bearer,
    fetched,
    png,
    refused,
    restored,
    upload,
)
from tests.rules.accounts.test_races import at_once
from wallet.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)
Give = Callable[..., Any]


def balance(client: APIClient) -> str:
    shown: str = client.get("/api/auth/me/").json()["credit_balance"]
    return shown


class TestUnlock:
    def test_it_costs_one_credit_and_returns_the_full_image(
        self, as_owner: APIClient, alice: User, give: Give
    ) -> None:
        give(alice, 5)
        job_id = restored(as_owner)
        answer = as_owner.post(at(job_id, "unlock"))
        assert answer.status_code == 200
        body = answer.json()
        address = body.pop("full_image_url")
        assert body == {"credits_remaining": "4.00"}
        assert fetched(address) == b"the full image of " + png()
        [row] = as_owner.get(HISTORY).json()
        assert fetched(row["restored_full_url"]) == b"the full image of " + png()
        assert (row["unlock_method"], row["is_unlocked"]) == ("paid", True)
        assert row["unlocked_at"]

    def test_it_is_a_transaction_of_the_type_unlock(
        self, as_owner: APIClient, alice: User, give: Give
    ) -> None:
        give(alice, 5)
        as_owner.post(at(restored(as_owner), "unlock"))
        rows = as_owner.get("/api/credits/transactions/").json()
        shown = [(row["amount"], row["transaction_type"]) for row in rows]
        assert shown == [(-1, "unlock"), (5, "grant")]

    def test_the_photo_names_its_charge(
        self, as_owner: APIClient, alice: User, give: Give
    ) -> None:
        give(alice, 1)
        job_id = restored(as_owner)
        as_owner.post(at(job_id, "unlock"))
        paid = Usage.objects.get()
        restoration = Restoration.objects.get(pk=job_id)
        assert restoration.unlock_movement_id == paid.movement_id
        assert paid.key == f"unlock:{restoration.run_id}"
        assert balance(as_owner) == "0.00"

    def test_charges_from_before_the_app_was_ours_block_none(
        self, as_owner: APIClient, alice: User, bob: User, give: Give
    ) -> None:
        give(alice, 5)
        give(bob, 5)
        job_id = restored(as_owner)
        # As a partner that owned the app charged it: `first_party.take_over`.
        usage.charge(
            account_id=bob.pk,
            app=App.objects.get(slug="reviv"),
            amount_micro=1_000_000,
            reason="The partner's own unlock",
            key=f"unlock:{job_id}",
            actor="app:reviv",
            hosted=True,
        )
        assert as_owner.post(at(job_id, "unlock")).status_code == 200
        assert balance(as_owner) == "4.00"

    def test_a_repeated_key_answers_the_same(
        self, as_owner: APIClient, alice: User, give: Give
    ) -> None:
        give(alice, 5)
        path = at(restored(as_owner), "unlock")
        key = {"Idempotency-Key": "once"}
        first = as_owner.post(path, headers=key)
        again = as_owner.post(path, headers=key)
        assert (again.status_code, again.content) == (200, first.content)
        assert again["Idempotent-Replayed"] == "true"
        assert balance(as_owner) == "4.00"

    def test_a_price_of_staff_holds(
        self, as_owner: APIClient, alice: User, give: Give
    ) -> None:
        give(alice, 5)
        first, second = restored(as_owner), restored(as_owner)
        app = App.objects.get(slug="reviv")
        price = Price.objects.create(
            app=app, action="unlock", unit="photo", credits_micro=2_500_000
        )
        body = as_owner.post(at(first, "unlock")).json()
        assert body["credits_remaining"] == "2.50"
        price.credits_micro = 0
        price.save()
        body = as_owner.post(at(second, "unlock")).json()
        assert body["credits_remaining"] == "2.50"
        assert Restoration.objects.get(pk=second).unlock_movement_id is None


class TestOrder:
    def test_not_found_then_state_then_unlocked_then_credits(
        self, as_owner: APIClient, as_other: APIClient, alice: User, give: Give
    ) -> None:
        for unknown in (0, 12345, "x"):
            refused(as_owner.post(at(unknown, "unlock")), 404, "NOT_FOUND")
        job_id = upload(as_owner).json()["job_id"]
        path = at(job_id, "unlock")
        refused(as_other.post(path), 404, "NOT_FOUND")
        refused(as_owner.post(path), 400, "INVALID_STATE", status="pending")
        Run.objects.update(state="running")
        refused(as_owner.post(path), 400, "INVALID_STATE", status="processing")
        Run.objects.update(
            state="failed", due_at=None, finished_at="2026-01-01T00:00:00Z"
        )
        refused(as_owner.post(path), 400, "INVALID_STATE", status="failed")
        path = at(restored(as_owner), "unlock")
        refused(
            as_owner.post(path), 403, "INSUFFICIENT_CREDITS", credits_available="0.00"
        )
        give(alice, 1)
        assert as_owner.post(path).status_code == 200
        refused(as_owner.post(path), 409, "ALREADY_UNLOCKED")

    def test_each_refusal_says_what_to_do(self, as_owner: APIClient) -> None:
        def says(path: str) -> str:
            return str(as_owner.post(path).json()["error"]["message"])

        path = at(upload(as_owner).json()["job_id"], "unlock")
        assert "Try again when its status is completed." in says(path)
        Run.objects.update(
            state="failed", due_at=None, finished_at="2026-01-01T00:00:00Z"
        )
        assert "upload the photo again" in says(path)
        assert "Buy credits" in says(at(restored(as_owner), "unlock"))

    def test_a_refused_unlock_leaves_the_photo_locked(
        self, as_owner: APIClient, alice: User
    ) -> None:
        path = at(restored(as_owner), "unlock")
        key = {"Idempotency-Key": "k"}
        refused(
            as_owner.post(path, headers=key),
            403,
            "INSUFFICIENT_CREDITS",
            credits_available="0.00",
        )
        [row] = as_owner.get(HISTORY).json()
        assert (row["is_unlocked"], row["restored_full_url"]) == (False, None)
        assert not Usage.objects.exists()

    def test_a_photo_that_staff_deleted_is_not_paid_for(
        self, as_owner: APIClient, alice: User, give: Give
    ) -> None:
        give(alice, 1)
        path = at(restored(as_owner), "unlock")
        StoredFile.objects.filter(purpose="restored").update(
            deleted_at="2026-01-01T00:00:00Z"
        )
        refused(as_owner.post(path), 404, "NOT_FOUND")
        assert balance(as_owner) == "1.00"


def test_of_20_unlocks_at_once_one_is_charged(
    as_owner: APIClient, alice: User, give: Give
) -> None:
    give(alice, 50)
    path = at(restored(as_owner), "unlock")
    answers = at_once(20, lambda: bearer(alice).post(path))
    connections.close_all()
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [409] * 19
    for answer in answers:
        if answer.status_code == 409:
            refused(answer, 409, "ALREADY_UNLOCKED")
    assert Entry.objects.filter(kind="consume").count() == 1
    assert balance(as_owner) == "49.00"


def test_with_one_credit_one_of_six_photos_is_unlocked(
    as_owner: APIClient, alice: User, give: Give
) -> None:
    give(alice, 1)
    paths = [at(restored(as_owner), "unlock") for _ in range(6)]
    waiting = iter(paths)
    answers = at_once(6, lambda: bearer(alice).post(next(waiting)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [403] * 5
    assert Restoration.objects.exclude(unlocked_at=None).count() == 1
    assert balance(as_owner) == "0.00"


def test_an_unlock_beside_a_deletion_charges_only_for_a_photo_that_it_shows(
    as_owner: APIClient, alice: User, give: Give
) -> None:
    give(alice, 10)
    for _ in range(5):
        job_id = restored(as_owner)
        acts = iter(["unlock", "delete"] * 4)

        def act(job_id: int = job_id, acts: Any = acts) -> Any:
            client = bearer(alice)
            if next(acts) == "unlock":
                return client.post(at(job_id, "unlock"))
            return client.delete(at(job_id))

        before = Usage.objects.count()
        answers = at_once(8, act)
        statuses = sorted(answer.status_code for answer in answers)
        assert set(statuses) <= {200, 404, 409}
        paid = sum("full_image_url" in answer.json() for answer in answers)
        assert Usage.objects.count() - before == paid <= 1
        assert not Restoration.objects.exists()


def everything_shown(
    as_owner: APIClient, as_alice: APIClient, as_staff: Client, job_id: int
) -> str:
    """Return all that the owner and staff read about a photo, as one text."""
    restoration = Restoration.objects.get(pk=job_id)
    job = restoration.run.job_id
    pages: list[Any] = [
        as_owner.get(at(job_id, "status")),
        as_owner.get(HISTORY),
        as_owner.post(at(job_id, "share-unlock")),
        as_owner.post(at(job_id, "unlock")),
        as_alice.get("/api/jobs"),
        as_alice.get(f"/api/jobs/{job}"),
        *(
            as_staff.get(f"/admin/jobs/{model}/{pk}/change/")
            for model, pk in (
                ("restoration", job_id),
                ("run", restoration.run_id),
                ("storedfile", restoration.full_id),
                ("storedfile", restoration.preview_id),
                ("job", job),
            )
        ),
        as_staff.get("/admin/jobs/restoration/"),
        as_staff.get("/admin/jobs/storedfile/"),
    ]
    statuses = [page.status_code for page in pages]
    # Only the unlock is refused: there are no credits.
    assert statuses == [200, 200, 200, 403, *[200] * (len(pages) - 4)]
    bodies: list[bytes] = [page.content for page in pages]
    return b"".join(bodies).decode()


def test_a_locked_full_image_has_no_address_anywhere(
    as_owner: APIClient, as_alice: APIClient, staff: User
) -> None:
    job_id = restored(as_owner)
    as_staff = Client()
    as_staff.force_login(staff)
    shown = everything_shown(as_owner, as_alice, as_staff, job_id)
    opened = set(re.findall(r"/files/[\w.~-]+/[^\"'<\s]+", shown))
    # The original and the preview are shown, and nothing else.
    assert opened
    for path in opened:
        answer = APIClient().get(unescape(path))
        assert answer.status_code == 200, path
        assert answer.getvalue() in (png(), b"the preview of " + png())
    full = Restoration.objects.get(pk=job_id).full
    assert full is not None
    # Neither the address of the preview nor a guess opens it.
    preview = min(path for path in opened if "preview" in path)
    token = preview.split("/")[2]
    for guess in (
        f"/files/{token}/{full.name}",
        f"/files/{full.pk}/{full.name}",
        f"/files/{full.key}",
        f"/files/{full.key}/{full.name}",
    ):
        assert APIClient().get(guess).status_code in (403, 404), guess

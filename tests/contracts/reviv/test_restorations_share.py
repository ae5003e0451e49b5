"""reviv guide, "Social share unlock": once an account, and only after an opening."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.core import signing
from rest_framework.test import APIClient

from accounts.models import User
from jobs.models import Restoration, Run
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

pytestmark = pytest.mark.django_db(transaction=True)
PLATFORMS = ["facebook", "twitter", "linkedin", "pinterest"]
TARGETS = {
    "facebook": "https://facebook.com/sharer.php",
    "twitter": "https://twitter.com/intent/tweet",
    "linkedin": "https://linkedin.com/sharing/share-offsite/",
    "pinterest": "https://pinterest.com/pin/create/button/",
}


def follow(address: str) -> Any:
    """Open an address as a stranger."""
    return APIClient().get(address.removeprefix("http://localhost:8000"))


def addresses(client: APIClient, job_id: int) -> dict[str, Any]:
    answer = client.post(at(job_id, "share-unlock"))
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def token_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["s"][0]


class TestShareUnlock:
    def test_the_guides_body(self, as_owner: APIClient, alice: User) -> None:
        job_id = restored(as_owner)
        body = addresses(as_owner, job_id)
        base = f"http://localhost:8000/api/restorations/{job_id}/share-redirect"
        token = token_of(body["facebook"])
        assert body == {
            **{name: f"{base}/{name}/?s={token}" for name in PLATFORMS},
            "instagram": {
                "type": "manual",
                "caption": "I just restored an old photo with reviv.pics."
                f" http://localhost:8000?ref={alice.pk}",
                "deep_link": "instagram://app",
            },
        }

    def test_not_found_then_state_then_unlocked_then_used(
        self, as_owner: APIClient, as_other: APIClient, alice: User, give: Any
    ) -> None:
        for action in ("share-unlock", "confirm-share"):
            refused(as_owner.post(at(999, action)), 404, "NOT_FOUND")
        job_id = upload(as_owner).json()["job_id"]
        for action in ("share-unlock", "confirm-share"):
            path = at(job_id, action)
            refused(as_other.post(path), 404, "NOT_FOUND")
            refused(as_owner.post(path), 400, "INVALID_STATE", status="pending")
        Run.objects.update(state="queued")
        give(alice, 1)
        paid = restored(as_owner)
        assert as_owner.post(at(paid, "unlock")).status_code == 200
        User.objects.update(social_share_unlock_used=True)
        locked = restored(as_owner)
        for action in ("share-unlock", "confirm-share"):
            refused(as_owner.post(at(paid, action)), 409, "ALREADY_UNLOCKED")
            refused(as_owner.post(at(locked, action)), 403, "SOCIAL_SHARE_USED")

    def test_a_key_never_repeats_addresses_that_have_ended(
        self, as_owner: APIClient
    ) -> None:
        path = at(restored(as_owner), "share-unlock")
        for _ in range(2):
            answer = as_owner.post(path, headers={"Idempotency-Key": "k"})
            assert answer.status_code == 200
            assert "Idempotent-Replayed" not in answer


class TestRedirect:
    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_a_stranger_is_sent_to_the_platform(
        self, as_owner: APIClient, alice: User, platform: str
    ) -> None:
        job_id = restored(as_owner)
        answer = follow(addresses(as_owner, job_id)[platform])
        assert answer.status_code == 302
        assert answer["Referrer-Policy"] == "no-referrer"
        location = urlsplit(answer["Location"])
        assert f"https://{location.netloc}{location.path}" == TARGETS[platform]
        link = parse_qs(location.query)["u" if platform == "facebook" else "url"]
        assert link == [f"http://localhost:8000?ref={alice.pk}"]
        assert Restoration.objects.get(pk=job_id).share_opened_at is not None

    def test_a_wrong_header_does_not_matter(self, as_owner: APIClient) -> None:
        address = addresses(as_owner, restored(as_owner))["twitter"]
        path = address.removeprefix("http://localhost:8000")
        headers = {"Authorization": "Bearer nonsense"}
        assert APIClient().get(path, headers=headers).status_code == 302

    def test_without_a_token(self, as_owner: APIClient) -> None:
        path = at(restored(as_owner), "share-redirect/twitter")
        refused(APIClient().get(path), 400, "MISSING_SHARE_TOKEN")
        refused(APIClient().get(f"{path}?s="), 400, "MISSING_SHARE_TOKEN")

    def test_a_token_that_is_not_ours_or_not_this_photos(
        self, as_owner: APIClient, as_other: APIClient
    ) -> None:
        job_id, other_id = restored(as_owner), restored(as_other)
        mine = token_of(addresses(as_owner, job_id)["twitter"])
        theirs = token_of(addresses(as_other, other_id)["twitter"])
        forged = signing.TimestampSigner(salt="another").sign_object(
            {"a": "x", "r": job_id}
        )
        for path, token in [
            *(
                (job_id, it)
                for it in (theirs, forged, mine[:-1], mine + "x", "x", "a:b:c")
            ),
            (job_id, mine.swapcase()),
            (job_id, "é"),
            (other_id, mine),
            (999, mine),
            ("x", mine),
            (f"{job_id}.0", mine),
        ]:
            answer = APIClient().get(at(path, "share-redirect/twitter"), {"s": token})
            refused(answer, 400, "INVALID_SHARE_TOKEN")
        assert not Restoration.objects.exclude(share_opened_at=None).exists()

    def test_a_signed_token_of_another_shape(self, as_owner: APIClient) -> None:
        job_id = restored(as_owner)
        signer = signing.TimestampSigner(salt="jobs.hosted.restorations.shares")
        shapes: list[Any] = [[], {}, "x", {"a": None, "r": job_id}]
        for said in [*shapes, {"a": "x", "r": job_id}]:
            answer = APIClient().get(
                at(job_id, "share-redirect/twitter"), {"s": signer.sign_object(said)}
            )
            refused(answer, 400, "INVALID_SHARE_TOKEN")

    def test_a_deleted_photo_or_a_closed_account(
        self, as_owner: APIClient, alice: User
    ) -> None:
        first, second = restored(as_owner), restored(as_owner)
        deleted = addresses(as_owner, first)["twitter"]
        closed = addresses(as_owner, second)["twitter"]
        as_owner.delete(at(first))
        refused(follow(deleted), 400, "INVALID_SHARE_TOKEN")
        User.objects.filter(pk=alice.pk).update(is_active=False)
        refused(follow(closed), 400, "INVALID_SHARE_TOKEN")

    def test_a_token_ends_after_ten_minutes(self, as_owner: APIClient) -> None:
        job_id = restored(as_owner)
        now = datetime.now(UTC)
        with time_machine.travel(now, tick=False) as clock:
            address = addresses(as_owner, job_id)["twitter"]
            clock.shift(timedelta(minutes=9, seconds=59))
            assert follow(address).status_code == 302
            Restoration.objects.update(share_opened_at=None)
            clock.shift(timedelta(seconds=2))
            refused(follow(address), 400, "SHARE_FLOW_EXPIRED")
        assert Restoration.objects.get().share_opened_at is None

    def test_an_unknown_platform_comes_last_and_records_nothing(
        self, as_owner: APIClient
    ) -> None:
        body = addresses(as_owner, restored(as_owner))
        for platform in ("instagram", "Twitter", "evil.example.com", "twitter.com"):
            answer = follow(body["twitter"].replace("/twitter/", f"/{platform}/"))
            refused(answer, 400, "INVALID_PLATFORM", platforms=PLATFORMS)
        refused(
            APIClient().get(at(1, "share-redirect/instagram")),
            400,
            "MISSING_SHARE_TOKEN",
        )
        assert Restoration.objects.get().share_opened_at is None

    def test_no_part_of_a_request_decides_where_a_visitor_is_sent(
        self, as_owner: APIClient
    ) -> None:
        address = addresses(as_owner, restored(as_owner))["twitter"]
        path = address.removeprefix("http://localhost:8000")
        more = "&url=https://evil.example.com&next=//evil.example.com&u=evil"
        answer = APIClient().get(
            path + more,
            headers={
                "Referer": "https://evil.example.com",
                "X-Forwarded-Host": "evil.example.com",
            },
        )
        assert answer.status_code == 302
        assert "evil" not in answer["Location"]


class TestConfirm:
    def test_an_opened_share_unlocks_the_photo(
        self, as_owner: APIClient, alice: User
    ) -> None:
        job_id = restored(as_owner)
        follow(addresses(as_owner, job_id)["linkedin"])
        answer = as_owner.post(at(job_id, "confirm-share"))
        assert answer.status_code == 200
        assert list(answer.json()) == ["full_image_url"]
        full = fetched(answer.json()["full_image_url"])
        assert full == b"the full image of " + png()
        [row] = as_owner.get(HISTORY).json()
        assert (row["unlock_method"], row["is_unlocked"]) == ("social_share", True)
        me = as_owner.get("/api/auth/me/").json()
        assert me["social_share_unlock_used"] is True
        assert as_owner.get("/api/credits/transactions/").json() == []
        refused(as_owner.post(at(job_id, "confirm-share")), 409, "ALREADY_UNLOCKED")

    def test_without_an_opening(self, as_owner: APIClient, alice: User) -> None:
        job_id = restored(as_owner)
        path = at(job_id, "confirm-share")
        refused(as_owner.post(path), 400, "SHARE_NOT_INITIATED")
        addresses(as_owner, job_id)
        refused(as_owner.post(path), 400, "SHARE_NOT_INITIATED")
        alice.refresh_from_db()
        assert not alice.social_share_unlock_used

    def test_an_opening_counts_for_ten_minutes(self, as_owner: APIClient) -> None:
        job_id = restored(as_owner)
        follow(addresses(as_owner, job_id)["twitter"])
        Restoration.objects.update(
            share_opened_at=datetime.now(UTC) - timedelta(minutes=10, seconds=1)
        )
        path = at(job_id, "confirm-share")
        refused(as_owner.post(path), 400, "SHARE_NOT_INITIATED")
        follow(addresses(as_owner, job_id)["twitter"])
        assert as_owner.post(path).status_code == 200

    def test_an_opening_counts_for_its_own_photo(self, as_owner: APIClient) -> None:
        opened, other = restored(as_owner), restored(as_owner)
        follow(addresses(as_owner, opened)["twitter"])
        refused(as_owner.post(at(other, "confirm-share")), 400, "SHARE_NOT_INITIATED")

    def test_the_second_photo_is_refused(self, as_owner: APIClient) -> None:
        first, second = restored(as_owner), restored(as_owner)
        for job_id in (first, second):
            follow(addresses(as_owner, job_id)["twitter"])
        assert as_owner.post(at(first, "confirm-share")).status_code == 200
        refused(as_owner.post(at(second, "confirm-share")), 403, "SOCIAL_SHARE_USED")

    def test_of_20_confirmations_of_four_photos_at_once_one_unlocks(
        self, as_owner: APIClient, alice: User
    ) -> None:
        ids = [restored(as_owner) for _ in range(4)]
        for job_id in ids:
            follow(addresses(as_owner, job_id)["twitter"])
        waiting = iter(ids * 5)
        answers = at_once(
            20, lambda: bearer(alice).post(at(next(waiting), "confirm-share"))
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses.count(200) == 1
        assert set(statuses) == {200, 403, 409}
        assert Restoration.objects.exclude(unlocked_at=None).count() == 1

    def test_of_payments_and_shares_of_one_photo_at_once_one_unlocks(
        self, as_owner: APIClient, alice: User, give: Any
    ) -> None:
        give(alice, 5)
        job_id = restored(as_owner)
        follow(addresses(as_owner, job_id)["twitter"])
        acts = iter(["unlock", "confirm-share"] * 8)
        answers = at_once(16, lambda: bearer(alice).post(at(job_id, next(acts))))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] + [409] * 15
        alice.refresh_from_db()
        method = Restoration.objects.get().unlock_method
        assert alice.social_share_unlock_used == (method == "social_share")
        left = as_owner.get("/api/auth/me/").json()["credit_balance"]
        assert left == ("4.00" if method == "paid" else "5.00")

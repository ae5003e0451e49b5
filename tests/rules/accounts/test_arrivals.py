"""First sign-in of a Clerk user: one account, with the email if it is verified."""

import threading
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import ClerkLookup, Identity, Mail, SecurityEvent, User
from accounts.providers import arrivals, clerk_backend
from accounts.providers.google import Claims
from accounts.signin import email_ownership
from tests.clerk import Clerk
from tests.rules.accounts.test_races import at_once, of

USERS = "/v1/users"


@pytest.fixture
def backend(clerk: Clerk, settings: Any) -> Clerk:
    """The Clerk stub, with our secret key configured."""
    settings.CLERK_SECRET_KEY = clerk.secret_key
    settings.CLERK_API_BASE = clerk.base
    clerk_backend._breaker.close()
    return clerk


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("asks", [True, False])
def test_twelve_first_calls_at_once_are_one_account(
    backend: Clerk, settings: Any, asks: bool
):
    if not asks:
        settings.CLERK_SECRET_KEY = ""
    for turn in range(10):
        clerk_id = f"user_race{turn}"
        backend.knows(clerk_id, (f"race{turn}@example.com", "verified"))
        outcomes = at_once(12, partial(arrivals.by_clerk, clerk_id=clerk_id))
        assert len(of(User, outcomes)) == 12, outcomes
        assert len({user.pk for user in outcomes}) == 1
        assert User.objects.filter(clerk_id=clerk_id).count() == 1
        found = User.objects.get(clerk_id=clerk_id)
        assert found.email == (f"race{turn}@example.com" if asks else None)
    assert SecurityEvent.objects.filter(kind="registered").count() == 10
    assert ClerkLookup.objects.count() == (0 if asks else 10)


@pytest.mark.django_db(transaction=True)
def test_of_twelve_users_with_one_email_one_gets_it(backend: Clerk):
    for turn in range(5):
        ids = [f"user_t{turn}n{number}" for number in range(12)]
        for clerk_id in ids:
            backend.knows(clerk_id, (f"Same{turn}@example.com", "verified"))
        waiting = iter(ids)
        outcomes = at_once(12, lambda: arrivals.by_clerk(clerk_id=next(waiting)))  # noqa: B023
        assert len({user.pk for user in of(User, outcomes)}) == 12, outcomes
        assert User.objects.with_email(f"same{turn}@example.com").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("proven", [True, False])
def test_of_eight_first_sign_ins_with_a_taken_email_one_gets_it(
    backend: Clerk, proven: bool
):
    """A proven email links one of them to its account; an unproven one moves once."""
    for turn in range(5):
        email = f"held{turn}@example.com"
        holder = User.objects.create_user(email)
        if proven:
            User.objects.filter(pk=holder.pk).update(email_verified_at=timezone.now())
        ids = [f"user_h{turn}n{number}" for number in range(8)]
        for clerk_id in ids:
            backend.knows(clerk_id, (email, "verified"))
        waiting = iter(ids)
        outcomes = at_once(8, lambda: arrivals.by_clerk(clerk_id=next(waiting)))  # noqa: B023
        assert len({user.pk for user in of(User, outcomes)}) == 8, outcomes
        owner = User.objects.with_email(email).get()
        assert (owner == holder) == proven
        assert (owner in outcomes, owner.clerk_id in ids) == (True, True)
        assert owner.email_verified_at is not None
        seen = SecurityEvent.objects.filter(user=holder)
        assert seen.filter(kind="identity_linked").count() == int(proven)
        assert seen.filter(kind="email_evicted").count() == int(not proven)


@pytest.mark.django_db(transaction=True)
def test_of_clerk_and_google_at_once_one_account_has_the_email(backend: Clerk):
    for turn in range(10):
        email = f"both{turn}@gmail.com"
        backend.knows(f"user_b{turn}", (email, "verified"))
        claims = Claims(subject=f"g{turn}", email=email, proves_email=True)
        ways = [
            partial(arrivals.by_clerk, clerk_id=f"user_b{turn}"),
            partial(arrivals.by_google, claims=claims, begin=lambda user: user),
        ]
        waiting = iter(ways * 4)
        outcomes = at_once(8, lambda: next(waiting)())  # noqa: B023
        # Both providers prove the mailbox, so the second sign-in joins the first
        # account.
        (user,) = {user.pk: user for user in of(User, outcomes)}.values()
        assert len(of(User, outcomes)) == 8, outcomes
        owner = User.objects.with_email(email).get()
        assert (owner.pk, owner.clerk_id) == (user.pk, f"user_b{turn}")
        assert Identity.objects.get(subject=f"g{turn}").user == owner


@pytest.mark.django_db(transaction=True)
def test_an_arrival_that_postgresql_ends_in_a_deadlock_starts_again():
    """Two transactions lock two accounts in opposite orders; both still finish."""
    pair = [User.objects.create_user(f"{name}@example.com") for name in ("a", "b")]
    orders, tries = iter([pair, pair[::-1]]), []
    both_hold_one = threading.Barrier(2)

    def arrive(order: list[User]) -> bool:
        tries.append(order)
        for user in order:
            User.objects.select_for_update().get(pk=user.pk)
            if len(tries) <= 2 and user is order[0]:
                both_hold_one.wait(60)
        return True

    outcomes = at_once(
        2, lambda: email_ownership.retry_lost_races(partial(arrive, next(orders)))
    )
    assert outcomes == [True, True]
    assert len(tries) == 3


@pytest.mark.django_db(transaction=True)
def test_of_four_workers_with_one_lookup_one_mails_the_owner(
    backend: Clerk, settings: Any
):
    owner = User.objects.create_superuser("owner@example.com")
    settings.CLERK_SECRET_KEY = ""
    late = arrivals.by_clerk(clerk_id="user_late")
    settings.CLERK_SECRET_KEY = backend.secret_key
    backend.knows("user_late", ("Owner@example.com", "verified"))
    assert sorted(at_once(4, arrivals.learn_due)) == [0, 0, 0, 1]
    late.refresh_from_db()
    owner.refresh_from_db()
    assert (late.email, owner.email) == (None, "owner@example.com")
    assert (
        SecurityEvent.objects.filter(kind="email_left_alone", user=owner).count() == 1
    )
    assert Mail.objects.get().to == "owner@example.com"


@pytest.mark.django_db
class TestAsking:
    def test_a_verified_email_is_stored(self, backend: Clerk):
        backend.knows("user_1", ("Ann@EXAMPLE.com", "verified"))
        user = arrivals.by_clerk(clerk_id="user_1")
        user.refresh_from_db()
        assert (user.email, user.first_name) == ("Ann@example.com", "Ann")
        assert user.email_verified_at is not None
        assert not user.has_usable_password()
        assert arrivals.by_clerk(clerk_id="user_1") == user
        assert len(backend.asked(USERS)) == 1

    def test_a_verified_primary_address_wins(self, backend: Clerk):
        a, b = ("a@example.com", "verified"), ("b@example.com", "verified")
        unproved = ("c@example.com", "unverified")
        for number, (addresses, primary, wanted) in enumerate(
            [
                ([a, b], 0, a[0]),
                ([a, ("d@example.com", "verified")], 1, "d@example.com"),
                ([unproved, b], 0, b[0]),
                ([unproved], 0, None),
                ([("e@example.com", "expired"), ("f@example.com", "")], 0, None),
                ([("not an address", "verified")], 0, None),
                ([("ann\u0430@example.com", "verified")], 0, None),
                ([], 0, None),
            ]
        ):
            backend.knows(f"user_{number}", *addresses, primary=primary)
            user = arrivals.by_clerk(clerk_id=f"user_{number}")
            assert User.objects.get(pk=user.pk).email == wanted

    @pytest.mark.parametrize(
        "odd",
        [
            {"email_addresses": None},
            {"email_addresses": {"a": 1}},
            {"email_addresses": [None, 5, {}, {"verification": "verified"}]},
            {"email_addresses": [{"verification": {"status": "verified"}}]},
            {"first_name": 5, "last_name": None, "primary_email_address_id": []},
        ],
        ids=str,
    )
    def test_an_invalid_answer_gives_no_email(self, backend: Clerk, odd: Any):
        backend.knows("user_1", **odd)
        assert arrivals.by_clerk(clerk_id="user_1").email is None

    def test_a_name_loses_u0000(self, backend: Clerk):
        backend.knows("user_nul", first_name="A\x00nn")
        assert arrivals.by_clerk(clerk_id="user_nul").first_name == "Ann"

    def test_a_user_unknown_to_clerk_gets_only_an_id(self, backend: Clerk):
        assert arrivals.by_clerk(clerk_id="user_gone").email is None
        assert not ClerkLookup.objects.exists()

    @pytest.mark.parametrize("mode", ["down", "garbage", "huge", "moved"])
    def test_during_an_outage_of_clerk_the_email_comes_later(
        self, backend: Clerk, mode: str
    ):
        backend.knows("user_1", ("ann@example.com", "verified"))
        backend.mode(api=mode)
        user = arrivals.by_clerk(clerk_id="user_1")
        assert user.email is None
        # Clerk is still down: the lookup failed and got a later due time.
        clerk_backend._breaker.close()
        assert arrivals.learn_due() == 0
        lookup = ClerkLookup.objects.get()
        assert lookup.tries == 1
        assert lookup.due_at > timezone.now()
        backend.mode(api="")
        clerk_backend._breaker.close()
        assert arrivals.learn_due() == 0
        _make_due()
        assert arrivals.learn_due() == 1
        user.refresh_from_db()
        assert user.email == "ann@example.com"
        assert not ClerkLookup.objects.exists()

    def test_a_late_profile_overwrites_nothing(self, backend: Clerk):
        backend.mode(api="down")
        user = arrivals.by_clerk(clerk_id="user_1")
        User.objects.filter(pk=user.pk).update(email="own@example.com", first_name="Me")
        backend.knows("user_1", ("ann@example.com", "verified"))
        backend.mode(api="")
        clerk_backend._breaker.close()
        assert arrivals.learn_due() == 1
        user.refresh_from_db()
        assert (user.email, user.first_name) == ("own@example.com", "Me")
        assert user.last_name == "Lee"

    def test_a_worker_that_lost_its_lookup_writes_nothing(self, backend: Clerk):
        backend.mode(api="down")
        user = arrivals.by_clerk(clerk_id="user_1")
        stalled = arrivals.QUEUE.claim()
        assert stalled is not None
        _make_due()
        second = arrivals.QUEUE.claim()
        backend.knows("user_1", ("ann@example.com", "verified"))
        backend.mode(api="")
        clerk_backend._breaker.close()
        assert arrivals._look_up(stalled) is False
        user.refresh_from_db()
        assert user.email is None
        assert second is not None
        assert ClerkLookup.objects.get().lease == second.lease
        assert arrivals._look_up(second) is True
        user.refresh_from_db()
        assert user.email == "ann@example.com"

    def test_the_back_off_grows_to_six_hours(self, backend: Clerk):
        backend.mode(api="down")
        arrivals.by_clerk(clerk_id="user_1")
        waits = []
        for _ in range(12):
            clerk_backend._breaker.close()
            _make_due()
            arrivals.learn_due()
            left = ClerkLookup.objects.get().due_at - timezone.now()
            waits.append(round(left.total_seconds() / 30) * 30)
        assert waits[:3] == [30, 60, 120]
        assert waits[-1] == 6 * 3600

    def test_a_wrong_secret_key_does_not_stop_sign_ins(
        self, backend: Clerk, settings: Any
    ):
        settings.CLERK_SECRET_KEY = "sk_test_wrong"
        backend.knows("user_1", ("ann@example.com", "verified"))
        assert arrivals.by_clerk(clerk_id="user_1").email is None
        assert ClerkLookup.objects.count() == 1

    def test_without_a_secret_key_clerk_gets_no_request(
        self, backend: Clerk, settings: Any
    ):
        settings.CLERK_SECRET_KEY = ""
        arrivals.by_clerk(clerk_id="user_1")
        assert arrivals.learn_due() == 0
        assert not backend.asked(USERS)
        # The lookup runs once the key is set.
        settings.CLERK_SECRET_KEY = backend.secret_key
        backend.knows("user_1", ("ann@example.com", "verified"))
        assert arrivals.learn_due() == 1

    def test_during_an_outage_clerk_gets_one_request_in_five_seconds(
        self, backend: Clerk
    ):
        backend.mode(api="down")
        for number in range(5):
            arrivals.by_clerk(clerk_id=f"user_{number}")
        assert len(backend.asked(USERS)) == 1
        assert ClerkLookup.objects.count() == 5


def _make_due() -> None:
    ClerkLookup.objects.update(due_at=timezone.now() - timedelta(seconds=1))

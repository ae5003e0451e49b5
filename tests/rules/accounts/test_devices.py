"""Device sign-in: the code, the wait, the decision, the token."""

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from accounts import audit
from accounts.audit import Visitor
from accounts.credentials import scopes, tokens
from accounts.models import DeviceGrant, PersonalAccessToken, SecurityEvent, User
from accounts.signin import closing, devices

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOME = Visitor(ip="203.0.113.9", user_agent="focus-cli/1.0")


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def started(db: None, clock: object) -> devices.DeviceCodes:
    return devices.start(client_name="focus-cli", visitor=HOME)


def test_a_code_is_eight_letters_that_make_no_words(
    started: devices.DeviceCodes,
) -> None:
    code = started.grant.user_code
    assert len(code) == 8
    assert set(code) <= set("BCDFGHJKLMNPQRSTVWXZ")
    assert devices.format_user_code("BCDFGHJK") == "BCDF-GHJK"
    assert len(started.device_code) == 43


def test_the_device_code_is_kept_as_a_digest_only(started: devices.DeviceCodes) -> None:
    row = DeviceGrant.objects.values().get()
    assert not any(started.device_code in str(value) for value in row.values())
    assert started.device_code not in repr(started)


def test_a_grant_lives_900_seconds(
    started: devices.DeviceCodes, alice: User, clock: time_machine.Traveller
) -> None:
    clock.shift(899)
    assert devices.poll(device_code=started.device_code).interval_seconds == 5
    assert devices.find(user=alice, user_code=started.grant.user_code)
    clock.shift(1)
    with pytest.raises(devices.CodeExpired):
        devices.poll(device_code=started.device_code)
    with pytest.raises(devices.InvalidUserCode):
        devices.find(user=alice, user_code=started.grant.user_code)


def test_polling_too_fast_costs_five_seconds_each_time(
    started: devices.DeviceCodes, clock: time_machine.Traveller
) -> None:
    # (seconds since the last poll, slow_down, interval afterwards)
    story = [
        (0, False, 5),  # the first poll is never too early
        (4, False, 5),  # one second of grace
        (3.9, True, 10),
        (8.9, True, 15),  # the +5 was kept
        (14, False, 15),
        (1, True, 20),
        (19, False, 20),
    ]
    for seconds, slow_down, interval in story:
        clock.shift(seconds)
        answer = devices.poll(device_code=started.device_code)
        assert (answer.slow_down, answer.interval_seconds) == (slow_down, interval)
        assert answer.issued is None


def test_a_device_that_polls_too_fast_waits_a_minute_at_most(
    started: devices.DeviceCodes,
) -> None:
    for _ in range(30):
        answer = devices.poll(device_code=started.device_code)
    assert answer.interval_seconds == 60


def test_an_approved_code_gives_its_token_on_the_next_poll_and_once(
    started: devices.DeviceCodes, alice: User
) -> None:
    devices.poll(device_code=started.device_code)
    devices.decide(user=alice, user_code=started.grant.user_code, approve=True)
    assert not PersonalAccessToken.objects.exists()
    answer = devices.poll(device_code=started.device_code)
    assert answer.issued is not None
    assert not answer.slow_down
    token = tokens.find(secret=answer.issued.secret)
    assert token.user == alice
    assert token.name == "focus-cli"
    assert token.scopes == scopes.DEFAULT
    assert token.expires_at == START + timedelta(days=90)
    with pytest.raises(devices.InvalidDeviceCode):
        devices.poll(device_code=started.device_code)
    kinds = SecurityEvent.objects.order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["device_approved", "token_issued"]


def test_a_denied_code_stays_denied(started: devices.DeviceCodes, alice: User) -> None:
    devices.decide(user=alice, user_code=started.grant.user_code, approve=False)
    for _ in range(2):
        with pytest.raises(devices.AccessDenied):
            devices.poll(device_code=started.device_code)
    with pytest.raises(devices.InvalidUserCode):
        devices.decide(user=alice, user_code=started.grant.user_code, approve=True)
    assert not PersonalAccessToken.objects.exists()


def test_a_user_can_grant_fewer_scopes_than_requested_and_not_more(
    db: None, alice: User
) -> None:
    started = devices.start(scope="jobs:read wallet:read")
    assert started.grant.scopes == ["wallet:read", "jobs:read"]
    devices.decide(
        user=alice,
        user_code=started.grant.user_code,
        approve=True,
        granted_scopes=["jobs:read", "jobs:write"],
    )
    answer = devices.poll(device_code=started.device_code)
    assert answer.issued is not None
    assert answer.issued.token.scopes == ["jobs:read"]


def test_an_unknown_scope_is_refused_and_none_means_all(db: None) -> None:
    with pytest.raises(scopes.InvalidScope):
        devices.start(scope="wallet:read everything")
    assert devices.start(scope=" ").grant.scopes == scopes.DEFAULT
    assert "oauth:read" in scopes.DEFAULT


def test_an_account_closed_meanwhile_gets_no_token(
    started: devices.DeviceCodes, alice: User
) -> None:
    devices.decide(user=alice, user_code=started.grant.user_code, approve=True)
    closing.close(user=alice, actor="staff")
    with pytest.raises(devices.AccessDenied):
        devices.poll(device_code=started.device_code)
    assert not PersonalAccessToken.objects.exists()


@pytest.mark.parametrize(
    "code", ["", "x", "A" * 43, "é" * 43, "' OR 1=1 --", "A" * 4096, "\x00"]
)
def test_an_unknown_device_code(db: None, code: str) -> None:
    with pytest.raises(devices.InvalidDeviceCode):
        devices.poll(device_code=code)


class TestProofKey:
    """RFC 7636, S256: a device code from a log does not work without its verifier."""

    VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # its Appendix B

    def test_the_right_verifier_gets_the_token(self, alice: User) -> None:
        started = devices.start(code_challenge=self.CHALLENGE)
        devices.decide(user=alice, user_code=started.grant.user_code, approve=True)
        answer = devices.poll(
            device_code=started.device_code, code_verifier=self.VERIFIER
        )
        assert answer.issued is not None

    @pytest.mark.parametrize("verifier", ["", "x", VERIFIER[:-1] + "0", CHALLENGE])
    def test_without_the_verifier_the_code_is_unknown_and_does_not_slow_the_device(
        self, alice: User, verifier: str
    ) -> None:
        started = devices.start(code_challenge=self.CHALLENGE)
        for _ in range(3):
            with pytest.raises(devices.InvalidDeviceCode):
                devices.poll(device_code=started.device_code, code_verifier=verifier)
        answer = devices.poll(
            device_code=started.device_code, code_verifier=self.VERIFIER
        )
        assert (answer.slow_down, answer.interval_seconds) == (False, 5)

    @pytest.mark.parametrize("challenge", ["x", "=" * 43, "A" * 44, "A" * 42])
    def test_a_challenge_that_is_not_sha256_is_refused(
        self, db: None, challenge: str
    ) -> None:
        with pytest.raises(devices.InvalidChallenge):
            devices.start(code_challenge=challenge)

    def test_the_example_is_the_standard_s(self) -> None:
        digest = hashlib.sha256(self.VERIFIER.encode()).digest()
        made = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        assert made == self.CHALLENGE


class TestTypingTheCode:
    @pytest.mark.parametrize("spell", ["{0}", "{1}", "{2}", " {1} ", "{3}"])
    def test_case_spaces_and_hyphens_of_a_code_do_not_matter(
        self, started: devices.DeviceCodes, alice: User, spell: str
    ) -> None:
        code = started.grant.user_code
        dashed = devices.format_user_code(code)
        typed = spell.format(code, dashed, dashed.lower(), " ".join(code))
        assert devices.find(user=alice, user_code=typed) == started.grant

    @pytest.mark.parametrize("typed", ["", "BCDF", "BCDF-GHJA", "BCDF-GHJ1", "é" * 8])
    def test_text_that_cannot_be_a_code_does_not_count_as_a_guess(
        self, alice: User, typed: str
    ) -> None:
        for _ in range(6):
            with pytest.raises(devices.InvalidUserCode):
                devices.find(user=alice, user_code=typed, visitor=HOME)
        assert not SecurityEvent.objects.exists()

    def test_five_wrong_codes_lock_the_account_for_15_minutes(
        self,
        started: devices.DeviceCodes,
        alice: User,
        bob: User,
        clock: time_machine.Traveller,
    ) -> None:
        right = started.grant.user_code
        for _ in range(5):
            with pytest.raises(devices.InvalidUserCode):
                devices.find(user=alice, user_code="BBBB-BBBB", visitor=HOME)
            clock.shift(10)
        with pytest.raises(devices.TooManyWrongCodes) as refused:
            devices.find(user=alice, user_code=right, visitor=HOME)
        assert refused.value.wait_seconds == 850
        # Another account at the same address is not locked.
        assert devices.find(user=bob, user_code=right, visitor=HOME)
        clock.shift(849)
        with pytest.raises(devices.TooManyWrongCodes):
            devices.find(user=alice, user_code=right, visitor=HOME)
        clock.shift(1)
        with pytest.raises(devices.InvalidUserCode):
            devices.find(user=alice, user_code=right, visitor=HOME)

    def test_twenty_wrong_codes_from_one_address_lock_that_address(
        self, started: devices.DeviceCodes, alice: User, bob: User
    ) -> None:
        for _ in range(20):
            audit.record("device_code_wrong", user=alice, visitor=HOME)
        with pytest.raises(devices.TooManyWrongCodes):
            devices.find(user=bob, user_code=started.grant.user_code, visitor=HOME)
        elsewhere = Visitor(ip="203.0.113.10")
        assert devices.find(
            user=bob, user_code=started.grant.user_code, visitor=elsewhere
        )

    def test_a_second_click_on_the_users_own_decision_does_not_count_as_a_guess(
        self, started: devices.DeviceCodes, alice: User
    ) -> None:
        code = started.grant.user_code
        devices.decide(user=alice, user_code=code, approve=True)
        for _ in range(6):
            with pytest.raises(devices.InvalidUserCode):
                devices.decide(user=alice, user_code=code, approve=True)
        assert not SecurityEvent.objects.filter(kind="device_code_wrong").exists()


def test_one_client_polls_for_twenty_codes_at_most(
    db: None, clock: time_machine.Traveller
) -> None:
    begun = [devices.start(visitor=HOME) for _ in range(20)]
    with pytest.raises(devices.TooManyCodes):
        devices.start(visitor=HOME)
    assert devices.start(visitor=Visitor(ip="203.0.113.10"))
    assert devices.start(visitor=HOME, client_name="Another program")
    assert devices.start(visitor=Visitor(ip=HOME.ip, user_agent="another"))
    clock.shift(60)
    for one in begun:
        devices.poll(device_code=one.device_code)
    clock.shift(60)
    with pytest.raises(devices.TooManyCodes):
        devices.start(visitor=HOME)
    # One device cancels its code, and all others stop polling.
    devices.cancel(device_code=begun[0].device_code)
    assert devices.start(visitor=HOME)
    clock.shift(31)
    for _ in range(19):
        assert devices.start(visitor=HOME)


def test_twenty_abandoned_logins_lock_no_address(
    db: None, clock: time_machine.Traveller
) -> None:
    for _ in range(60):
        assert devices.start(visitor=HOME)
        clock.shift(7)


class TestCancelling:
    def test_a_cancelled_code_gives_no_token(self, alice: User) -> None:
        begun = devices.start(visitor=HOME)
        code = {"device_code": begun.device_code}
        for _ in range(2):
            devices.cancel(**code)
        with pytest.raises(devices.CodeExpired):
            devices.poll(**code)
        with pytest.raises(devices.InvalidUserCode):
            devices.decide(user=alice, user_code=begun.grant.user_code, approve=True)

    def test_a_cancelled_code_gives_no_token_even_if_it_was_approved(
        self, alice: User
    ) -> None:
        begun = devices.start(visitor=HOME)
        devices.decide(user=alice, user_code=begun.grant.user_code, approve=True)
        devices.cancel(device_code=begun.device_code)
        with pytest.raises(devices.CodeExpired):
            devices.poll(device_code=begun.device_code)
        assert not alice.personalaccesstoken_set.exists()

    def test_cancelling_keeps_an_issued_token_and_needs_the_verifier(
        self, alice: User
    ) -> None:
        begun = devices.start(visitor=HOME)
        devices.decide(user=alice, user_code=begun.grant.user_code, approve=True)
        assert devices.poll(device_code=begun.device_code).issued
        proved = devices.start(visitor=HOME, code_challenge="c" * 43)
        for code in (begun.device_code, proved.device_code, "x" * 43, "", "\x00"):
            with pytest.raises(devices.InvalidDeviceCode):
                devices.cancel(device_code=code)

"""Races of passkeys: real threads and rows, and exactly one winner."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from accounts.models import Passkey, PasskeyOwner, SecurityEvent, Session, User
from accounts.passkeys import enrolment
from accounts.passkeys import signin as passkey_signin
from accounts.signin import sessions
from tests.rules.accounts.test_races import at_once, of
from tests.softauth import Authenticator, b64

pytestmark = pytest.mark.django_db(transaction=True)


def question(
    begun: enrolment.RegistrationOptions | passkey_signin.AuthenticationOptions,
) -> dict[str, Any]:
    options: Any = begun.options
    asked: dict[str, Any] = {"challenge_b64": b64(options.challenge)}
    if isinstance(begun, enrolment.RegistrationOptions):
        asked["user"] = {"id_b64": b64(options.user.id)}
    return asked


def added(user: User, key: Authenticator) -> Passkey:
    begun = enrolment.begin_adding(session=opened(user).session, rp_name="test")
    return enrolment.complete_adding(
        user=user, nonce=begun.nonce, credential=key.create(question(begun))
    )


def opened(
    user: User, passkey: Passkey | None = None, methods: list[str] | None = None
) -> sessions.SessionTokens:
    return sessions.begin(
        user=user,
        client="test",
        access_seconds=60,
        methods=methods or ["pwd"],
        passkey=passkey,
    )


def enters(key: Authenticator) -> sessions.SessionTokens:
    begun = passkey_signin.begin_signing_in()
    return answers(begun.nonce, key.get(question(begun)))


def answers(nonce: str, credential: dict[str, Any]) -> sessions.SessionTokens:
    return passkey_signin.sign_in(
        nonce=nonce,
        credential=credential,
        begin=lambda passkey, methods: opened(passkey.user, passkey, methods),
    )


def test_one_of_eight_answers_to_one_challenge_signs_in(alice: User) -> None:
    key = Authenticator()
    added(alice, key)
    for _ in range(10):
        before = Session.objects.count()
        begun = passkey_signin.begin_signing_in()
        credential = key.get(question(begun))
        outcomes = at_once(8, partial(answers, begun.nonce, credential))
        assert len(of(sessions.SessionTokens, outcomes)) == 1, outcomes
        assert len(of(passkey_signin.AuthMissing, outcomes)) == 7, outcomes
        assert Session.objects.count() == before + 1


def test_one_of_eight_completions_of_one_registration_succeeds(alice: User) -> None:
    session = opened(alice).session
    for turn in range(1, 11):
        begun = enrolment.begin_adding(session=session, rp_name="test")
        credential = Authenticator().create(question(begun))
        complete = partial(
            enrolment.complete_adding,
            user=alice,
            nonce=begun.nonce,
            credential=credential,
        )
        outcomes = at_once(8, complete)
        assert len(of(Passkey, outcomes)) == 1, outcomes
        assert len(of(enrolment.RegistrationMissing, outcomes)) == 7, outcomes
        assert Passkey.objects.count() == turn


def test_one_of_four_users_gets_a_shared_credential(alice: User, bob: User) -> None:
    for _ in range(10):
        key = Authenticator()
        begun = [
            (user, enrolment.begin_adding(session=opened(user).session, rp_name="test"))
            for user in (alice, bob, alice, bob)
        ]
        tries = iter(
            [
                partial(
                    enrolment.complete_adding,
                    user=user,
                    nonce=one.nonce,
                    credential=key.create(question(one)),
                )
                for user, one in begun
            ]
        )
        outcomes = at_once(4, partial(_next, tries))
        assert len(of(Passkey, outcomes)) == 1, outcomes
        assert len(of(enrolment.RegistrationFailed, outcomes)) == 3, outcomes
        Passkey.objects.all().delete()


def test_one_of_four_accounts_with_one_email_is_opened() -> None:
    for turn in range(10):
        email = f"eve{turn}@example.com"
        begun = [enrolment.begin_opening(email=email, rp_name="test") for _ in range(4)]
        tries = iter(
            [
                partial(
                    enrolment.complete_opening,
                    nonce=one.nonce,
                    credential=Authenticator().create(question(one)),
                )
                for one in begun
            ]
        )
        outcomes = at_once(4, partial(_next, tries))
        assert len(of(Passkey, outcomes)) == 1, outcomes
        assert len(of(enrolment.RegistrationFailed, outcomes)) == 3, outcomes
        assert User.objects.with_email(email).count() == 1
        assert Passkey.objects.count() == PasskeyOwner.objects.count() == turn + 1


def test_one_of_eight_uses_with_the_same_counter_signs_in(alice: User) -> None:
    """Eight copies of a key send the same counter, each for its own challenge."""
    key = Authenticator(be=False, bs=False)
    added(alice, key)
    for turn in range(1, 11):
        key.counter = turn
        begun = [passkey_signin.begin_signing_in() for _ in range(8)]
        tries = iter(
            [partial(answers, one.nonce, key.get(question(one))) for one in begun]
        )
        outcomes = at_once(8, partial(_next, tries))
        assert len(of(sessions.SessionTokens, outcomes)) == 1, outcomes
        assert len(of(passkey_signin.ReplayDetected, outcomes)) == 7, outcomes
        assert Passkey.objects.get().sign_count == turn
    assert SecurityEvent.objects.filter(kind="passkey_replayed").count() == 70


def test_one_of_two_last_passkeys_cannot_be_removed() -> None:
    for turn in range(10):
        begun = enrolment.begin_opening(email=f"eve{turn}@x.org", rp_name="test")
        first = enrolment.complete_opening(
            nonce=begun.nonce, credential=Authenticator().create(question(begun))
        )
        second = added(first.user, Authenticator())
        tries = iter(
            [
                partial(passkey_signin.remove, user=first.user, passkey_id=row.pk)
                for row in (first, second)
            ]
        )
        outcomes = at_once(2, partial(_next, tries))
        assert len(of(Passkey, outcomes)) == 1, outcomes
        assert len(of(passkey_signin.LastWayIn, outcomes)) == 1, outcomes
        assert Passkey.objects.filter(user=first.user).count() == 1


def test_a_sign_in_never_survives_the_concurrent_removal_of_its_passkey(
    alice: User,
) -> None:
    for _ in range(20):
        key = Authenticator()
        row = added(alice, key)
        Session.objects.all().delete()
        acts = iter(
            [
                partial(passkey_signin.remove, user=alice, passkey_id=row.pk),
                partial(enters, key),
            ]
        )
        outcomes = at_once(2, partial(_next, acts))
        assert len(of(Passkey, outcomes)) == 1, outcomes
        strangers = len(of(passkey_signin.UnknownCredential, outcomes))
        assert strangers + len(of(sessions.SessionTokens, outcomes)) == 1, outcomes
        assert not Session.objects.filter(revoked_at=None).exists()


def test_eight_concurrent_first_registrations_create_one_user_handle(
    alice: User,
) -> None:
    session = opened(alice).session
    for _ in range(10):
        begin = partial(enrolment.begin_adding, session=session, rp_name="test")
        outcomes = of(enrolment.RegistrationOptions, at_once(8, begin))
        assert len({begun.options.user.id for begun in outcomes}) == 1
        assert len(outcomes) == 8
        PasskeyOwner.objects.all().delete()


def _next(acts: Iterator[Any]) -> Any:
    return next(acts)()

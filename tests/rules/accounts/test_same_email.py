"""The table of docs/decisions/0012: seven sign-in methods, three email states."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from accounts import mails
from accounts.credentials import tokens, user_keys
from accounts.credentials.principals import TokenEnded
from accounts.models import Identity, Mail, SecurityEvent, Session, User
from accounts.passkeys import enrolment
from accounts.passkeys import signin as passkey_signin
from accounts.providers import arrivals, clerk_backend
from accounts.providers.google import Claims
from accounts.recovery import mailbox
from accounts.signin import email_ownership, passwords, sessions
from tests.ceremonies import open_account, refused
from tests.clerk import Clerk
from tests.softauth import Authenticator

pytestmark = pytest.mark.django_db

EMAIL = "ada@gmail.com"
PASSWORD = "a long password"
LEFT_ALONE = "Another account verified your email address"
EVICTED = "Your email address was removed from an account"
STATES = ["free", "unproven", "proven"]


@pytest.fixture(params=STATES)
def held(request: Any) -> tuple[str, User | None]:
    """The account that has the email, with a session and a token."""
    state: str = request.param
    if state == "free":
        return state, None
    holder = passwords.register(email=EMAIL, password=PASSWORD)
    if state == "proven":
        holder.email_verified_at = timezone.now()
        holder.save()
    begin(holder)
    return state, holder


def begin(user: User) -> Session:
    return sessions.begin(
        user=user, client="x", access_seconds=60, methods=["fed"]
    ).session


def by_google(*, proves: bool, subject: str = "1") -> User:
    claims = Claims(subject=subject, email=EMAIL, proves_email=proves)
    return arrivals.by_google(claims=claims, begin=begin).user


def lives(user: User) -> int:
    return sessions.live(user=user).count()


def mailed() -> list[str]:
    return [mail.subject for mail in Mail.objects.order_by("pk")]


def evicted(holder: User, newcomer: User) -> None:
    """Assert that the holder lost the email and all sessions to a separate account."""
    holder.refresh_from_db()
    newcomer.refresh_from_db()
    assert newcomer != holder
    assert (holder.email, lives(holder), holder.is_active) == (None, 0, True)
    assert newcomer.email == EMAIL
    assert newcomer.email_verified_at is not None
    assert EVICTED in mailed()
    event = SecurityEvent.objects.get(kind="email_evicted")
    assert event.user == holder
    with pytest.raises(passwords.InvalidCredentials):
        passwords.authenticate(email=EMAIL, password=PASSWORD)


def linked(holder: User, newcomer: User) -> None:
    """Assert one account, no ended session, and a mail to its owner."""
    assert newcomer == holder
    assert lives(holder) >= 1
    assert not Session.objects.exclude(revoked_at=None).exists()
    [subject] = mailed()
    assert "can now sign in to your account" in subject
    assert passwords.authenticate(email=EMAIL, password=PASSWORD) == holder


def test_google_for_a_mailbox_that_it_hosts(held: tuple[str, User | None]) -> None:
    state, holder = held
    user = by_google(proves=True)
    if holder is None:
        assert (user.email, mailed()) == (EMAIL, [])
        assert user.email_verified_at is not None
    elif state == "unproven":
        evicted(holder, user)
    else:
        linked(holder, user)
    assert by_google(proves=True) == user
    assert Identity.objects.get().user == user


def test_google_for_a_mailbox_that_it_does_not_host(
    held: tuple[str, User | None],
) -> None:
    state, holder = held
    if state == "proven":
        with pytest.raises(email_ownership.EmailInUse):
            by_google(proves=False)
        assert not Identity.objects.exists()
        assert lives(holder) == 1  # type: ignore[arg-type]
        return
    user = by_google(proves=False)
    assert user.email == (EMAIL if holder is None else None)
    assert user.email_verified_at is None
    assert user != holder
    if holder is not None:
        assert User.objects.with_email(EMAIL).get() == holder
        assert lives(holder) == 1
    assert mailed() == []


@pytest.fixture
def clerk_of(clerk: Clerk, settings: Any) -> Callable[[str], User]:
    """Sign in with Clerk, which returns this status for the address."""
    settings.CLERK_SECRET_KEY = clerk.secret_key
    settings.CLERK_API_BASE = clerk.base
    clerk_backend._breaker.close()

    def arrive(status: str) -> User:
        clerk.knows("user_1", (EMAIL, status))
        user = arrivals.by_clerk(clerk_id="user_1")
        assert arrivals.by_clerk(clerk_id="user_1") == user
        return user

    return arrive


def test_clerk_with_a_verified_address(
    held: tuple[str, User | None], clerk_of: Callable[[str], User]
) -> None:
    state, holder = held
    user = clerk_of("verified")
    if holder is None:
        assert (user.email, mailed()) == (EMAIL, [])
        assert user.email_verified_at is not None
    elif state == "unproven":
        evicted(holder, user)
    else:
        linked(holder, user)
    assert User.objects.get(clerk_id="user_1") == user


def test_clerk_with_an_unverified_address(
    held: tuple[str, User | None], clerk_of: Callable[[str], User]
) -> None:
    _, holder = held
    user = clerk_of("unverified")
    assert user != holder
    assert (user.email, mailed()) == (None, [])
    if holder is not None:
        assert User.objects.with_email(EMAIL).get() == holder
        assert lives(holder) == 1


def test_a_password(held: tuple[str, User | None]) -> None:
    _, holder = held
    if holder is None:
        user = passwords.register(email=EMAIL, password=PASSWORD)
        assert (user.email, user.email_verified_at) == (EMAIL, None)
        assert passwords.authenticate(email=EMAIL, password=PASSWORD) == user
        return
    with pytest.raises(passwords.EmailTaken):
        passwords.register(email="ADA@gmail.com", password="another password")
    assert User.objects.get() == holder


def test_a_mailbox_proof(held: tuple[str, User | None], mailoutbox: list[Any]) -> None:
    state, holder = held
    mailbox.request_reset(email=EMAIL)
    mailbox.mail_due()
    mails.send_due()
    if holder is None:
        assert mailoutbox == []
        assert not User.objects.exists()
        return
    secret = mailoutbox[-1].body.partition("code=")[2].split()[0]
    token = tokens.issue(user=holder, name="x", scopes=["account:read"])
    key = user_keys.issue(user=holder, name="x")
    user = mailbox.set_password(secret=secret, password="a new password")
    assert user == holder
    assert lives(user) == 0
    assert user.email_verified_at is not None
    assert passwords.authenticate(email=EMAIL, password="a new password") == user
    if state == "unproven":
        with pytest.raises(TokenEnded):
            tokens.find(secret=token.secret)
        with pytest.raises(TokenEnded):
            user_keys.find(secret=key.secret)
    else:
        assert tokens.find(secret=token.secret).user == user
        assert user_keys.find(secret=key.secret).user == user


def test_an_email_that_looks_alike_proves_another_mailbox(
    held: tuple[str, User | None], clerk: Clerk, settings: Any
) -> None:
    """NFKC makes them equal to EMAIL, but their mailboxes differ."""
    _, holder = held
    settings.CLERK_SECRET_KEY = clerk.secret_key
    settings.CLERK_API_BASE = clerk.base
    clerk_backend._breaker.close()
    clerk.knows("user_1", (EMAIL.replace("a", "\uff41", 1), "verified"))
    user = arrivals.by_clerk(clerk_id="user_1")
    assert user != holder
    assert (user.email, mailed()) == (None, [])
    if holder is not None:
        assert User.objects.with_email(EMAIL).get() == holder
        assert lives(holder) == 1


def test_an_email_and_a_passkey(held: tuple[str, User | None]) -> None:
    _, holder = held
    answer = open_account(EMAIL, Authenticator())
    if holder is None:
        assert answer.status_code == 200
        user = User.objects.get()
        assert (user.email, user.email_verified_at) == (EMAIL, None)
        return
    assert refused(answer) == "REGISTRATION_FAILED"
    assert passkey_signin.passkeys_of(user=holder) == []
    assert mailed() == ["A sign-up used your email address"]


def test_an_email_and_a_passkey_of_a_user_with_google() -> None:
    by_google(proves=True)
    with pytest.raises(enrolment.OAuthUserExists):
        enrolment.begin_opening(email=EMAIL, rp_name="x")


def test_a_late_profile_of_clerk_does_not_merge_accounts(
    held: tuple[str, User | None], clerk_of: Callable[[str], User], settings: Any
) -> None:
    """Opened during an outage of Clerk, the account may only get a free email."""
    state, holder = held
    key, settings.CLERK_SECRET_KEY = settings.CLERK_SECRET_KEY, ""
    user = clerk_of("verified")
    assert user.email is None
    settings.CLERK_SECRET_KEY = key
    assert arrivals.learn_due() == 1
    user.refresh_from_db()
    if state == "unproven":
        evicted(holder, user)  # type: ignore[arg-type]
        return
    assert user.email == (EMAIL if holder is None else None)
    left_alone(holder)


def left_alone(holder: User | None) -> None:
    """Assert a mail to the owner, and that no session of theirs ended."""
    events = SecurityEvent.objects.filter(kind="email_left_alone")
    if holder is None:
        assert (mailed(), events.count()) == ([], 0)
        return
    assert mailed() == [LEFT_ALONE]
    assert Mail.objects.get(subject=LEFT_ALONE).to == EMAIL
    assert (events.get().user, events.get().actor) == (holder, "system:clerk")
    holder.refresh_from_db()
    assert (holder.email, holder.clerk_id, lives(holder)) == (EMAIL, None, 1)


def test_a_second_clerk_user_with_the_email_is_another_account(
    clerk: Clerk, clerk_of: Callable[[str], User]
) -> None:
    first = clerk_of("verified")
    clerk.knows("user_2", (EMAIL, "verified"))
    second = arrivals.by_clerk(clerk_id="user_2")
    assert second != first
    assert (second.email, second.clerk_id) == (None, "user_2")
    first.refresh_from_db()
    assert (first.email, first.clerk_id) == (EMAIL, "user_1")
    assert mailed() == [LEFT_ALONE]

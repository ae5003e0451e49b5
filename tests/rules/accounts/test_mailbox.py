"""Mailed links: they work once within an hour, and end an unproven account's access."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from accounts import mails
from accounts.credentials import app_keys, proofs, scopes, tokens, user_keys
from accounts.credentials.principals import InvalidToken, TokenEnded
from accounts.models import (
    App,
    AppKey,
    Consent,
    Identity,
    Link,
    Mail,
    MailboxProof,
    Passkey,
    PersonalAccessToken,
    Session,
    User,
)
from accounts.partners import apps as partner_apps
from accounts.partners import consents, tools
from accounts.providers import arrivals
from accounts.providers.google import Claims
from accounts.recovery import mailbox
from accounts.signin import closing, devices, passwords, sessions
from jobs.models import Endpoint
from jobs.webhooks import endpoints
from tests import ceremonies
from tests.counting import statements
from tests.rules.accounts.test_races import at_once, of
from tests.softauth import Authenticator

pytestmark = pytest.mark.django_db

NEW = "a new password"


def secret_for(user: User, outbox: list[Any], *, verify: bool = False) -> str:
    """Request a link and read it in the mail."""
    if verify:
        mailbox.request_verification(user=user)
    else:
        mailbox.request_reset(email=str(user.email))
    mailbox.mail_due()
    mails.send_due()
    found = re.search(r"/mailbox\?code=([\w-]{43})\n", outbox[-1].body)
    assert found
    return found[1]


def sign_in(user: User) -> sessions.SessionTokens:
    return sessions.begin(user=user, client="x", access_seconds=60, methods=["pwd"])


def prove(user: User) -> User:
    user.email_verified_at = timezone.now()
    user.save()
    return user


class TestLinks:
    def test_a_link_works_once(self, alice: User, mailoutbox: list[Any]) -> None:
        secret = secret_for(alice, mailoutbox)
        mailbox.set_password(secret=secret, password=NEW)
        with pytest.raises(mailbox.InvalidLink):
            mailbox.set_password(secret=secret, password="yet another one")
        assert passwords.authenticate(email="alice@example.com", password=NEW)

    def test_opening_the_page_does_not_use_the_link(
        self, alice: User, mailoutbox: list[Any]
    ) -> None:
        secret = secret_for(alice, mailoutbox)
        for _ in range(3):
            assert mailbox.read_link(secret=secret).user == alice

    def test_a_link_expires_after_an_hour(
        self, alice: User, mailoutbox: list[Any]
    ) -> None:
        with time_machine.travel(timezone.now(), tick=False) as clock:
            secret = secret_for(alice, mailoutbox)
            clock.shift(3599)
            assert mailbox.read_link(secret=secret)
            clock.shift(1)
            with pytest.raises(mailbox.InvalidLink):
                mailbox.read_link(secret=secret)

    def test_a_used_link_ends_the_others(
        self, alice: User, mailoutbox: list[Any]
    ) -> None:
        first, second = (secret_for(alice, mailoutbox) for _ in range(2))
        mailbox.set_password(secret=second, password=NEW)
        with pytest.raises(mailbox.InvalidLink):
            mailbox.read_link(secret=first)

    def test_a_weak_password_does_not_use_the_link(
        self, alice: User, mailoutbox: list[Any]
    ) -> None:
        secret = secret_for(alice, mailoutbox)
        for weak in ("short", "alice@example.com", "x" * 300, "12345678"):
            with pytest.raises(passwords.WeakPassword):
                mailbox.set_password(secret=secret, password=weak)
        assert mailbox.read_link(secret=secret)

    def test_a_link_ends_when_the_account_loses_the_email_or_is_closed(
        self, alice: User, bob: User, mailoutbox: list[Any]
    ) -> None:
        lost, closed = secret_for(alice, mailoutbox), secret_for(bob, mailoutbox)
        User.objects.filter(pk=alice.pk).update(email=None)
        closing.close(user=bob, actor="staff")
        for secret in (lost, closed, "", "x" * 43):
            with pytest.raises(mailbox.InvalidLink):
                mailbox.read_link(secret=secret)
        # The link does not open the account that gets the email next.
        User.objects.create_user("alice@example.com", "her password")
        with pytest.raises(mailbox.InvalidLink):
            mailbox.set_password(secret=lost, password=NEW)

    def test_the_secret_is_stored_nowhere(
        self, alice: User, mailoutbox: list[Any]
    ) -> None:
        mailbox.request_reset(email="alice@example.com")
        mailbox.mail_due()
        before = Mail.objects.values().get()
        assert before["sealed"] is not None
        mails.send_due()
        secret = mailoutbox[0].body.partition("code=")[2].split()[0]
        for row in (before, *Mail.objects.values(), *MailboxProof.objects.values()):
            assert secret not in repr(row)
            assert secret.encode() not in b"".join(
                bytes(it) for it in row.values() if isinstance(it, bytes | memoryview)
            )
        assert Mail.objects.get().sealed is None


class TestAsking:
    def test_an_unknown_address_costs_the_same_queries_as_a_known_one(
        self, alice: User
    ) -> None:
        asked = []
        for email in ("alice@example.com", "unknown@example.com"):
            with statements() as seen:
                mailbox.request_reset(email=email)
            # Only the values and the names of savepoints differ.
            plain = [re.sub(r"'[^']*'|\"s\d+_x\d+\"", "?", it) for it in seen]
            asked.append(plain)
        assert asked[0] == asked[1]
        assert MailboxProof.objects.count() == 2
        assert mailbox.mail_due() == 2
        assert [mail.to for mail in Mail.objects.all()] == ["alice@example.com"]

    def test_at_most_three_mails_an_hour_to_one_address(
        self, alice: User, mailoutbox: list[Any]
    ) -> None:
        with time_machine.travel(timezone.now(), tick=False) as clock:
            for email in ("alice@example.com", "ALICE@example.com") * 4:
                mailbox.request_reset(email=email)
            assert mailbox.mail_due() == 3
            clock.shift(3601)
            mailbox.request_reset(email="alice@example.com")
            assert mailbox.mail_due() == 1

    def test_an_invalid_address_is_ignored(self) -> None:
        for email in ("", "nonsense", "a\x00b@example.com", "x" * 400 + "@example.com"):
            mailbox.request_reset(email=email)
        assert mailbox.mail_due() == 0

    def test_old_requests_are_deleted(self, alice: User) -> None:
        mailbox.request_reset(email="alice@example.com")
        assert mailbox.forget_old() == 0
        old = timezone.now() - mailbox.KEPT
        MailboxProof.objects.update(asked_at=old)
        assert mailbox.forget_old() == 1


class TestVerifying:
    def test_verifying_ends_no_session(
        self, alice: User, mailoutbox: list[Any]
    ) -> None:
        sign_in(alice)
        secret = secret_for(alice, mailoutbox, verify=True)
        mailbox.verify(secret=secret, user=alice)
        alice.refresh_from_db()
        assert alice.email_verified_at is not None
        assert sessions.live(user=alice).count() == 1
        with pytest.raises(mailbox.AlreadyVerified):
            mailbox.request_verification(user=alice)

    def test_another_user_or_another_link_does_not_verify(
        self, alice: User, bob: User, mailoutbox: list[Any]
    ) -> None:
        secret = secret_for(alice, mailoutbox, verify=True)
        with pytest.raises(mailbox.InvalidLink):
            mailbox.verify(secret=secret, user=bob)
        reset = secret_for(alice, mailoutbox)
        with pytest.raises(mailbox.InvalidLink):
            mailbox.verify(secret=reset, user=alice)
        assert not User.objects.exclude(email_verified_at=None).exists()
        assert mailbox.read_link(secret=secret)


class TestTakingOver:
    def test_everything_on_an_unproven_account_ends(
        self, alice: User, video: App, google: str, mailoutbox: list[Any]
    ) -> None:
        """Check each kind of credential of the table."""
        opened = sign_in(alice)
        client = ceremonies.signed_in(alice)
        authenticator = Authenticator()
        assert ceremonies.add(client, authenticator).status_code == 200
        pat = tokens.issue(user=alice, name="x", scopes=scopes.DEFAULT)
        key = user_keys.issue(user=alice, name="x")
        App.objects.update(owner=alice)
        app_key = app_keys.issue(app=video, name="x")
        consents.grant(user=alice, app_id=video.pk)
        waiting = devices.start(client_name="cli")
        devices.decide(user=alice, user_code=waiting.grant.user_code, approve=True)
        claims = Claims(subject="1", email="evil@x.org", proves_email=False)
        arrivals.link_google(user=alice, claims=claims)
        User.objects.update(clerk_id="user_evil")
        Link.objects.create(
            user=alice, provider="steam", subject="7", created_at=timezone.now()
        )

        secret = secret_for(alice, mailoutbox)
        mailbox.set_password(secret=secret, password=NEW)

        alice.refresh_from_db()
        assert alice.email_verified_at is not None
        assert alice.clerk_id is None
        with pytest.raises(InvalidToken):
            sessions.refresh(refresh_token=opened.refresh_token, access_seconds=60)
        assert ceremonies.refused(ceremonies.sign_in(authenticator))
        for find, issued in (
            (tokens.find, pat.secret),
            (user_keys.find, key.secret),
            (app_keys.find, app_key.secret),
        ):
            with pytest.raises(TokenEnded):
                find(secret=issued)
        with pytest.raises(devices.AccessDenied):
            devices.poll(device_code=waiting.device_code)
        assert not Consent.objects.filter(revoked_at=None).exists()
        assert not Identity.objects.exists()
        assert not Link.objects.exists()
        assert not Passkey.objects.exists()
        assert sessions.live(user=alice).count() == 0
        with pytest.raises(passwords.InvalidCredentials):
            passwords.authenticate(
                email="alice@example.com", password="alice's password"
            )

    def test_a_proven_account_loses_only_its_sessions(
        self, alice: User, mailoutbox: list[Any]
    ) -> None:
        prove(alice)
        sign_in(alice)
        pat = tokens.issue(user=alice, name="x", scopes=scopes.DEFAULT)
        mailbox.set_password(secret=secret_for(alice, mailoutbox), password=NEW)
        assert sessions.live(user=alice).count() == 0
        assert tokens.find(secret=pat.secret).user == alice

    def test_a_request_under_way_adds_nothing_afterwards(
        self, alice: User, video: App, google: str, mailoutbox: list[Any]
    ) -> None:
        """The request authenticates before the proof and finishes after it."""
        App.objects.update(owner=alice)
        key = app_keys.issue(app=video, name="x").key
        offer = partner_apps.Offer(price_micro=0, url="https://evil.example")
        before = User.objects.get(pk=alice.pk)
        waiting = devices.start(client_name="cli")
        mailbox.set_password(secret=secret_for(alice, mailoutbox), password=NEW)
        claims = Claims(subject="1", email="evil@x.org", proves_email=False)
        for add in (
            partial(sign_in, before),
            partial(tokens.issue, user=before, name="x", scopes=scopes.DEFAULT),
            partial(user_keys.issue, user=before, name="x"),
            partial(arrivals.link_google, user=before, claims=claims),
            partial(
                devices.decide,
                user=before,
                user_code=waiting.grant.user_code,
                approve=True,
            ),
            partial(proofs.lock_account, user=before),
            partial(consents.grant, user=before, app_id=video.pk),
            partial(tools.add_key, owner=before, app_id=video.pk, name="x"),
            partial(
                tools.rotate_key,
                owner=before,
                app_id=video.pk,
                key_id=key.pk,
                overlap_seconds=0,
            ),
            partial(tools.publish, owner=before, slug="x", name="x", offer=offer),
            partial(
                endpoints.register,
                user=before,
                url="http://127.0.0.1:1099/",
                events=["test"],
            ),
        ):
            with pytest.raises(TokenEnded):
                add()
        assert not Identity.objects.exists()
        assert not Consent.objects.exists()
        assert not AppKey.objects.filter(revoked_at=None).exists()
        assert not Endpoint.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_eight_uses_of_one_link_one_wins(alice: User, mailoutbox: list[Any]) -> None:
    for turn in range(10):
        MailboxProof.objects.all().delete()
        secret = secret_for(alice, mailoutbox)
        new = f"new password {turn}"
        use = partial(mailbox.set_password, secret=secret, password=new)
        outcomes = at_once(8, use)
        assert len(of(User, outcomes)) == 1, outcomes
        assert len(of(mailbox.InvalidLink, outcomes)) == 7, outcomes


@pytest.mark.django_db(transaction=True)
def test_credentials_created_during_the_proof_do_not_survive_it(
    alice: User, mailoutbox: list[Any]
) -> None:
    """Seven requests of the squatter race the owner's one, twenty times."""
    for turn in range(20):
        squatter = User.objects.create_user(f"e{turn}@x.org", "a password")
        secret = secret_for(squatter, mailoutbox)
        before = User.objects.get(pk=squatter.pk)
        mint = partial(tokens.issue, user=before, name="x", scopes=scopes.DEFAULT)
        take = partial(mailbox.set_password, secret=secret, password=NEW)
        acts: Iterator[Callable[[], Any]] = iter(
            [mint, partial(sign_in, before), take, mint, mint, mint, mint]
        )
        outcomes = at_once(7, partial(_next_of, acts))
        # A request that came first was ended; a later one was refused.
        assert len(of(User, outcomes)) == 1, outcomes
        allowed = User | sessions.SessionTokens | tokens.IssuedToken | TokenEnded
        assert all(isinstance(it, allowed) for it in outcomes), outcomes
    assert not PersonalAccessToken.objects.filter(revoked_at=None).exists()
    assert not Session.objects.filter(revoked_at=None).exists()


def _next_of(acts: Iterator[Callable[[], Any]]) -> Any:
    return next(acts)()


@pytest.mark.django_db(transaction=True)
def test_of_eight_requests_at_once_three_are_mailed(alice: User) -> None:
    for _ in range(10):
        MailboxProof.objects.all().delete()
        at_once(8, partial(mailbox.request_reset, email="Alice@example.com"))
        assert MailboxProof.objects.count() == 8
        assert MailboxProof.objects.exclude(due_at=None).count() == mailbox.MOST

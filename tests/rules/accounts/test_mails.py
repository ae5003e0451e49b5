"""Notices: written with what they tell of, sent once, tried again, never lost."""

import socket
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
import time_machine
from django.conf import LazySettings
from django.core import mail as outbox
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F

from accounts import mails, tasks
from accounts.audit import Visitor
from accounts.credentials import tokens, user_keys
from accounts.models import Mail, User
from tests.clocks import database_time
from tests.rules.accounts.test_races import at_once

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOME = Visitor(ip="203.0.113.9", user_agent="Your account is closed: http://evil")


def test_a_new_token_is_told_of(alice: User) -> None:
    with time_machine.travel(START, tick=False):
        issued = tokens.issue(
            user=alice, name="Win http://evil", scopes=[], visitor=HOME
        )
        tasks.send_mails()
    (sent,) = outbox.outbox
    assert sent.to == ["alice@example.com"]
    assert sent.from_email == "Focus <no-reply@thefocus.ai>"
    assert sent.subject == "A new access token can use your account"
    assert sent.body == (
        f"The access token focus_pat_…{issued.token.last4} was created. Anyone who "
        "has it can use your account until 2026-05-30.\n\n"
        "When: 2026-03-01 12:00 UTC from 203.0.113.9.\n\n"
        "If this was not you, sign out sessions you don't recognise and change your "
        "password on your security page:\nhttp://localhost:8000/security\n"
    )
    # Neither the secret nor what a stranger may have chosen.
    assert issued.secret not in sent.body
    assert "evil" not in sent.body
    row = Mail.objects.get()
    assert (row.due_at, row.sent_at, row.tries) == (None, START, 1)


def test_sent_once(alice: User) -> None:
    user_keys.issue(user=alice, name="server")
    assert mails.send_due() == 1
    assert mails.send_due() == 0
    assert len(outbox.outbox) == 1


def test_what_is_rolled_back_is_not_told(alice: User) -> None:
    with transaction.atomic():
        tokens.issue(user=alice, name="ci", scopes=[])
        transaction.set_rollback(True)
    assert mails.send_due() == 0
    assert not Mail.objects.exists()


def test_an_account_without_an_address_gets_no_mail(alice: User) -> None:
    User.objects.update(email=None)
    tokens.issue(user=User.objects.get(), name="ci", scopes=[])
    assert not Mail.objects.exists()


def test_a_mail_server_that_is_down_is_tried_again_ever_later(alice: User) -> None:
    mails.write(user=alice, subject="Hello", what="Something happened.")
    minutes = iter([1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360])
    with mock.patch.object(EmailMessage, "send", side_effect=OSError("down")):
        for _ in range(mails.TRIES):
            before = database_time()
            assert mails.send_due() == 0
            row = Mail.objects.get()
            if row.due_at is None:
                break
            wait = timedelta(minutes=next(minutes))
            assert before + wait <= row.due_at <= database_time() + wait
            _pass_time(wait - timedelta(seconds=30))
            assert mails.send_due() == 0
            assert Mail.objects.get().tries == row.tries
            _pass_time(timedelta(seconds=30))
    assert list(minutes) == []
    row = Mail.objects.get()
    assert (row.tries, row.due_at, row.sent_at) == (mails.TRIES, None, None)
    _pass_time(timedelta(days=9))
    assert mails.send_due() == 0


def test_a_worker_killed_while_sending_loses_nothing(alice: User) -> None:
    mails.write(user=alice, subject="Hello", what="Something happened.")
    _kill_the_worker()
    assert mails.send_due() == 0
    _pass_time(mails.QUEUE.lease)
    assert mails.send_due() == 1
    assert len(outbox.outbox) == 1


def test_a_mail_is_given_up_after_its_last_worker_died(alice: User) -> None:
    mails.write(user=alice, subject="Hello", what="Something happened.")
    for _ in range(mails.TRIES):
        _kill_the_worker()
        _pass_time(mails.QUEUE.lease)
    assert mails.send_due() == 0
    row = Mail.objects.get()
    assert (row.due_at, row.sent_at, row.lease) == (None, None, None)
    assert outbox.outbox == []


def test_the_lease_outlives_a_server_that_answers_as_late_as_it_may(
    alice: User, settings: LazySettings
) -> None:
    mails.write(user=alice, subject="Hello", what="Something happened.")
    answers: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.getsockname()
        receiver = threading.Thread(target=_receive_mail, args=(server, answers))
        receiver.start()
        assert mails.send_due() == 1
        receiver.join(60)
    # A server with TLS and a sign-in answers five times more.
    waits = len(answers) + 5
    assert waits * timedelta(seconds=settings.EMAIL_TIMEOUT) < mails.QUEUE.lease


def _receive_mail(server: socket.socket, answers: list[bytes]) -> None:
    """Receive one mail by SMTP, and note each answer."""
    link, _ = server.accept()
    with link, link.makefile("rwb") as lines:

        def answer(code: bytes) -> None:
            answers.append(code)
            lines.write(code + b" ok\r\n")
            lines.flush()

        answer(b"220")
        for line in lines:
            command = line.split()[0].upper()
            answer({b"DATA": b"354", b"QUIT": b"221"}.get(command, b"250"))
            if command == b"DATA":
                while lines.readline() != b".\r\n":
                    pass
                answer(b"250")
            if command == b"QUIT":
                return


def _kill_the_worker() -> None:
    with (
        mock.patch.object(EmailMessage, "send", side_effect=SystemExit),
        pytest.raises(SystemExit),
    ):
        mails.send_due()


def _pass_time(time: timedelta) -> None:
    """The database's clock cannot be moved; what is due by it can."""
    Mail.objects.update(due_at=F("due_at") - time)


def test_one_bad_address_delays_no_other_mail(alice: User, bob: User) -> None:
    send = EmailMessage.send

    def refuse_alice(letter: EmailMessage, **options: Any) -> int:
        if letter.to == ["alice@example.com"]:
            raise OSError("no such mailbox")
        return send(letter, **options)

    mails.write(user=alice, subject="Hello", what="Something happened.")
    mails.write(user=bob, subject="Hello", what="Something happened.")
    with mock.patch.object(EmailMessage, "send", refuse_alice):
        assert mails.send_due() == 1
    assert [letter.to for letter in outbox.outbox] == [["bob@example.com"]]


@pytest.mark.django_db(transaction=True)
def test_four_workers_send_each_letter_once(alice: User) -> None:
    for number in range(20):
        mails.write(user=alice, subject=f"Hello {number}", what="It happened.")
    outcomes = at_once(4, mails.send_due)
    assert sum(outcomes) == 20, outcomes
    subjects = [letter.subject for letter in outbox.outbox]
    assert sorted(subjects) == sorted(f"Hello {number}" for number in range(20))

"""The database stores no session key, because a key opens the account."""

from importlib import import_module

from django.contrib.sessions.models import Session as StoredSession
from django.db import connection
from django.test import Client

from accounts.models import Session, User
from accounts.signin.browser_sessions import digest
from tests.doors.browsing import Browser

COOKIE = "focus_session"
conversion = import_module("accounts.migrations.0016_browser_keys_as_digests")


def signed_in(key: str) -> bool:
    client = Client()
    client.cookies[COOKIE] = key
    return client.get("/api/sessionToken").status_code == 200


def key_of_a_sign_in() -> str:
    browser = Browser()
    assert browser.sign_in().status_code == 302
    return str(browser.cookies[COOKIE].value)


def test_no_table_holds_the_session_key_or_a_value_that_opens_the_account(
    alice: User,
) -> None:
    key = key_of_a_sign_in()
    assert signed_in(key)
    for table in connection.introspection.table_names():
        with connection.cursor() as cursor:
            name = connection.ops.quote_name(table)
            cursor.execute(
                f"SELECT count(*) FROM {name} t WHERE t::text LIKE %s", [f"%{key}%"]
            )
            assert cursor.fetchone() == (0,), table
    stored = Session.objects.get().browser_key or ""
    assert stored == StoredSession.objects.get().session_key == digest(key)
    assert not signed_in(stored)


def test_the_conversion_keeps_sessions_and_is_idempotent(
    alice: User,
) -> None:
    key = key_of_a_sign_in()
    # The previous release stored the key like this.
    StoredSession.objects.update(session_key=key)
    Session.objects.update(browser_key=key)
    assert not signed_in(key)
    for _ in range(2):
        with connection.cursor() as cursor:
            for statement in conversion.Migration.operations[0].sql:
                cursor.execute(statement)
        assert signed_in(key)
    assert Session.objects.get().browser_key == digest(key)


def test_signing_out_ends_the_stored_session(alice: User) -> None:
    browser = Browser()
    browser.sign_in()
    assert StoredSession.objects.count() == 1
    browser.session.flush()
    assert StoredSession.objects.count() == 0

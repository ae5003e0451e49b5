"""The health check of a database connection, which costs no query."""

from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection

from focus.database.base import DatabaseWrapper

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def onlooker() -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    params = connection.get_connection_params()
    params.pop("cursor_factory", None)
    params.pop("context", None)
    with psycopg.connect(**params, autocommit=True) as other:
        yield other


@pytest.fixture
def ours() -> Iterator[DatabaseWrapper]:
    """A second connection, so that the test may terminate it."""
    wrapper = connection.copy()
    assert isinstance(wrapper, DatabaseWrapper)
    wrapper.ensure_connection()
    yield wrapper
    wrapper.close()


def _pid(wrapper: DatabaseWrapper) -> int:
    pid: int = wrapper.connection.info.backend_pid
    return pid


def test_a_live_connection_is_usable_without_a_query(
    ours: DatabaseWrapper, onlooker: psycopg.Connection[tuple[object, ...]]
) -> None:
    look = "SELECT query, state_change FROM pg_stat_activity WHERE pid = %s"
    before = onlooker.execute(look, [_pid(ours)]).fetchone()
    assert ours.is_usable()
    assert onlooker.execute(look, [_pid(ours)]).fetchone() == before


def test_a_terminated_connection_is_replaced_at_the_next_request(
    ours: DatabaseWrapper, onlooker: psycopg.Connection[tuple[object, ...]]
) -> None:
    first = _pid(ours)
    onlooker.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
    assert not ours.is_usable()
    # Django calls this between two requests.
    ours.close_if_unusable_or_obsolete()
    with ours.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert _pid(ours) != first


def test_a_connection_inside_a_transaction_is_not_usable(
    ours: DatabaseWrapper,
) -> None:
    ours.connection.execute("BEGIN")
    assert not ours.is_usable()
    ours.connection.execute("ROLLBACK")
    assert ours.is_usable()


def test_a_missing_connection_is_not_usable() -> None:
    assert not connection.copy().is_usable()

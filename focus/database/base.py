"""The PostgreSQL backend: detects a dead or demoted server without a round trip.

With CONN_HEALTH_CHECKS Django calls `is_usable()` before each request's first query.
Django's own sends SELECT 1, which costs a hot path one more round trip. An idle
connection has nothing to read, so a readable socket means that the server hung up.

After a fail-over an old connection may stay on a server that now only reads.
PostgreSQL reports that with its answers (`in_hot_standby`). Such a connection is
replaced before its next use, and so is one after a write that was refused as read-only.
"""

import select
from types import TracebackType
from typing import Any

from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper, OperationalError
from django.utils.functional import cached_property
from psycopg import errors
from psycopg.pq import ConnStatus, TransactionStatus

# psycopg calls these internal errors. They are transient, as a lost server is.
_PASSING = (
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
)
# Parameters that PostgreSQL reports, from version 14 on, at each change.
_READ_ONLY_SIGNS = (b"in_hot_standby", b"default_transaction_read_only")


class _Errors(DatabaseErrorWrapper):
    """Turns transient errors into an OperationalError, which becomes a 503."""

    wrapper: "DatabaseWrapper"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and isinstance(error, _PASSING):
            self.wrapper.errors_occurred = True
            self.wrapper.refused_writes = True
            raise OperationalError(*error.args).with_traceback(traceback) from error
        super().__exit__(kind, error, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    # Whether this connection's server has refused to write.
    refused_writes = False

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        return _Errors(self)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self.refused_writes = False
        return super().get_new_connection(conn_params)

    def is_usable(self) -> bool:
        """Return whether the next query may use this connection, without a round trip.

        A false alarm (an unread notice) costs one reconnect. A server that vanished
        without closing the socket is not detected here; the query itself fails.
        """
        if self.connection is None or self.refused_writes:
            return False
        pgconn = self.connection.pgconn
        if pgconn.status != ConnStatus.OK:
            return False
        if pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        if any(pgconn.parameter_status(sign) == b"on" for sign in _READ_ONLY_SIGNS):
            return False
        return not _readable(pgconn.socket)


def _readable(socket: int) -> bool:
    # poll, not select: a busy server's descriptors pass select's limit of 1024.
    poller = select.poll()
    poller.register(socket, select.POLLIN | select.POLLPRI)
    return bool(poller.poll(0))

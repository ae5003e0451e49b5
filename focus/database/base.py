"""PostgreSQL, noticing a dead connection without a round trip.

CONN_HEALTH_CHECKS asks `is_usable()` at each request's first query. Django sends
SELECT 1; on a hot path that is one answer more to wait for. An idle connection has
nothing to read, so a readable socket already says that the server hung up.
"""

import select

from django.db.backends.postgresql import base
from psycopg.pq import ConnStatus, TransactionStatus


class DatabaseWrapper(base.DatabaseWrapper):
    def is_usable(self) -> bool:
        """Say whether the next query may use this connection. Costs no round trip.

        A false alarm (a notice that nobody read) costs one reconnect. A server that
        vanished without a word stays unseen here; the query's own error finds it.
        """
        if self.connection is None:
            return False
        pgconn = self.connection.pgconn
        if pgconn.status != ConnStatus.OK:
            return False
        if pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        return not _readable(pgconn.socket)


def _readable(socket: int) -> bool:
    # poll, not select: a busy server's descriptors pass select's limit of 1024.
    poller = select.poll()
    poller.register(socket, select.POLLIN | select.POLLPRI)
    return bool(poller.poll(0))

"""The row queue: rows with a due time, each worked on by one worker at a time.

A table is a queue by three columns: `due_at` (null: nothing to do), `tries` and
`lease`. One round of work on a row goes like this:

1. `claim` locks the first due row and skips rows that other workers have locked. It
   writes a new lease, counts the try and moves `due_at` to the end of the lease.
2. The worker works with no transaction open. `renew` is its heartbeat.
3. `finish` or `retry` gives the row back, with what came of it.

Every write after the claim is fenced: it changes the row only while the row carries
the lease of this claim. A killed worker writes nothing, so its row is due again at the
end of the lease. A stalled worker loses its row to the next claim, and what it writes
later changes nothing.

Due times and leases follow the database's clock. Workers on machines with different
clocks agree on them.
"""

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db import transaction
from django.db.models import Min, Model, QuerySet
from django.db.models.functions import Now

Row = TypeVar("Row", bound=Model)

# The time of the statement. The time of the transaction would shorten a lease in a long
# one, and no index could be searched by the time of the call.
NOW = Now()
# A row that no worker has claimed for so long past its due time is overdue.
OVERDUE = timedelta(minutes=10)
# What a PositiveSmallIntegerField holds.
MOST_COUNTED = 32_767


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a row waits after a failed try."""

    first: timedelta
    longest: timedelta
    # Adds up to this share, so that rows that failed together return apart.
    spread: float = 0.0

    def after(self, tries: int) -> timedelta:
        """Return the wait after the `tries`-th try failed. It doubles with each try."""
        # 2 ** 30 seconds are 34 years, and timedelta does not hold every power of two.
        doublings = min(max(tries - 1, 0), 30)
        wait: timedelta = min(self.first * 2**doublings, self.longest)
        share = random.uniform(0, self.spread)  # noqa: S311 — no secret
        return wait * (1 + share)


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a queue's columns in its table."""

    due_at: str = "due_at"
    tries: str = "tries"
    lease: str = "lease"


COLUMNS = Columns()


class Queue(Generic[Row]):
    """The due rows among `rows`, drained by the Celery task `task`.

    `lease` must be longer than a worker works without `renew`. `order` says which due
    row a claim takes; by default a row with fewer tries goes first, then the row that
    has been due longest. Where `is_on` says no, the rows may wait and are not overdue.
    """

    def __init__(
        self,
        rows: QuerySet[Row],
        *,
        task: str,
        lease: timedelta,
        backoff: Backoff,
        most_tries: int | None = None,
        order: Sequence[str] = (),
        columns: Columns = COLUMNS,
        is_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self.rows = rows
        self.task = task
        self.lease = lease
        self.backoff = backoff
        self.most_tries = most_tries
        self.columns = columns
        self.is_on = is_on
        self._order = order or (columns.tries, columns.due_at, "pk")
        QUEUES.append(self)

    @property
    def name(self) -> str:
        """The queue's table."""
        return self.rows.model._meta.db_table

    @transaction.atomic(savepoint=False)
    def claim(
        self,
        rows: QuerySet[Row] | None = None,
        *,
        order: Sequence[str] = (),
        **fields: Any,
    ) -> Row | None:
        """Take one due row for this worker, or return None. Never waits for a lock.

        `rows` and `order` narrow and sort this claim. `fields` are written with it;
        `NOW` among them is the time of the claim. Commit before the work begins: only
        then do other workers see the lease. Costs a SELECT, and an UPDATE where a row
        is due.
        """
        among = self.rows if rows is None else rows
        waiting = among.filter(**{f"{self.columns.due_at}__lte": NOW}).annotate(
            _now=NOW
        )
        locked = waiting.select_for_update(no_key=True, skip_locked=True, of=("self",))
        row = locked.order_by(*(order or self._order)).first()
        if row is None:
            return None
        now: datetime = row._now  # type: ignore[attr-defined]
        tries: int = min(getattr(row, self.columns.tries) + 1, MOST_COUNTED)
        fields = {name: now if it is NOW else it for name, it in fields.items()}
        fields |= {
            self.columns.due_at: now + self.lease,
            self.columns.tries: tries,
            self.columns.lease: uuid.uuid4(),
        }
        self._all_rows().filter(pk=row.pk).update(**fields)
        for name, value in fields.items():
            setattr(row, name, value)
        return row

    def claimed_row(self, row: Row) -> QuerySet[Row]:
        """Return the claimed row as a queryset that is empty once its lease is lost."""
        lease = getattr(row, self.columns.lease)
        if lease is None:
            raise ValueError(f"not claimed: {row!r}")
        return self._all_rows().filter(**{"pk": row.pk, self.columns.lease: lease})

    def renew(self, row: Row, **fields: Any) -> bool:
        """Begin the lease again, and write `fields`. False: the row is lost, stop."""
        fields[self.columns.due_at] = NOW + self.lease
        return bool(self.claimed_row(row).update(**fields))

    def finish(self, row: Row, **fields: Any) -> bool:
        """Write `fields` and take the row out of the queue. False: the row is lost."""
        return self._release(row, due_at=None, **fields)

    def retry(self, row: Row, **fields: Any) -> bool:
        """Write `fields`; the row is due after its back-off. False: the row is lost."""
        wait = self.backoff.after(getattr(row, self.columns.tries))
        return self._release(row, due_at=NOW + wait, **fields)

    def is_last(self, row: Row) -> bool:
        """Whether a claimed row may not be tried again after this try."""
        return self._tries_left(row) <= 0

    def is_spent(self, row: Row) -> bool:
        """Whether workers died in all tries of a claimed row: end it without a try."""
        return self._tries_left(row) < 0

    def restart(self, rows: QuerySet[Row], **fields: Any) -> int:
        """Write `fields` and make `rows` due now with all their tries.

        A worker that holds one loses it. Returns how many rows there were.
        """
        fields |= {
            self.columns.due_at: NOW,
            self.columns.tries: 0,
            self.columns.lease: None,
        }
        return rows.update(**fields)

    def overdue_since(self) -> datetime | None:
        """Return since when the oldest overdue row is due. One query, by the index."""
        due_at = self.columns.due_at
        late = self.rows.filter(**{f"{due_at}__lt": NOW - OVERDUE})
        oldest: datetime | None = late.aggregate(at=Min(due_at))["at"]
        return oldest

    def _tries_left(self, row: Row) -> int:
        if self.most_tries is None:
            return 1
        tries: int = getattr(row, self.columns.tries)
        return self.most_tries - tries

    def _release(self, row: Row, *, due_at: Any, **fields: Any) -> bool:
        fields |= {self.columns.due_at: due_at, self.columns.lease: None}
        return bool(self.claimed_row(row).update(**fields))

    def _all_rows(self) -> QuerySet[Row]:
        return self.rows.model._base_manager.all()


# Every queue of the modules that are imported: see `focus.background.overdue`.
QUEUES: list[Queue[Any]] = []

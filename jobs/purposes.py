"""The reason of an entry in words.

The words of a job stand on the job's row, outside the hashed entries, so that they can
be erased.
"""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Q

from jobs.models import Job, Usage
from wallet.models import Adjustment, Entry


def reasons(entries: Iterable[Entry]) -> dict[int, str]:
    """Return each entry's own reason, or else its job's, by the entry's primary key.

    Takes one query where an entry of a job has no reason of its own, and otherwise
    none. Reads `entry.text`, so the caller selects it.
    """
    entries = list(entries)
    wanted = {
        entry.job_id for entry in entries if entry.job_id and not entry.shown_reason
    }
    jobs = Job.objects.only("action", "fail_reason").in_bulk(wanted) if wanted else {}
    return {entry.pk: entry.shown_reason or _of_job(entry, jobs) for entry in entries}


def for_owner(entries: Iterable[Entry]) -> dict[int, str]:
    """Return the text that the wallet's owner reads for each entry, by primary key.

    For an entry that staff booked, this is the text that staff wrote for the customer,
    or "". The reasons and notes of staff are internal, also those of older entries.
    """
    entries = list(entries)
    movements = {entry.movement_id for entry in entries if _is_by_staff(entry)}
    adjusted = Adjustment.objects.filter(movement_id__in=movements)
    written: dict[UUID | None, str] = (
        dict(adjusted.values_list("movement_id", "customer_text")) if movements else {}
    )
    texts = reasons(entry for entry in entries if not _is_by_staff(entry))
    return {
        entry.pk: texts.get(entry.pk, written.get(entry.movement_id, ""))
        for entry in entries
    }


def _is_by_staff(entry: Entry) -> bool:
    return entry.actor.startswith(("staff:", "shell:"))


def _of_job(entry: Entry, jobs: dict[UUID, Job]) -> str:
    job = jobs.get(entry.job_id) if entry.job_id else None
    if job is None:
        return ""
    ended = entry.kind in (Entry.Kind.RELEASE, Entry.Kind.CHARGE)
    return (job.fail_reason if ended else "") or job.action


def erase(*, account_id: UUID) -> int:
    """Erase the free texts of an account's jobs and usage; returns the number of rows.

    The action of a job and the charges stay. A repeat of an erased charge still gets
    the first answer.
    """
    without_text = Q(metadata={}, fail_reason="")
    jobs = Job.objects.filter(account=account_id).exclude(without_text)
    uses = Usage.objects.filter(account=account_id).exclude(reason="")
    return jobs.update(metadata={}, fail_reason="") + uses.update(reason="")

"""Why an entry was booked, in words. A job's are on its own row, and can be erased."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Q

from jobs.models import Job, Usage
from wallet.models import Adjustment, Entry


def told(entries: Iterable[Entry]) -> dict[int, str]:
    """The words of each entry by its primary key: its own, or else its job's.

    One query where an entry is of a job and has no words of its own, else none. Reads
    `entry.text`.
    """
    entries = list(entries)
    wanted = {
        entry.job_id for entry in entries if entry.job_id and not entry.shown_reason
    }
    jobs = Job.objects.only("action", "fail_reason").in_bulk(wanted) if wanted else {}
    return {entry.pk: entry.shown_reason or _of_job(entry, jobs) for entry in entries}


def for_owner(entries: Iterable[Entry]) -> dict[int, str]:
    """What the wallet's owner reads beside each entry, by its primary key.

    For what staff booked that is the text they wrote for the customer, or nothing:
    their reasons and notes are internal, those of older entries as well.
    """
    entries = list(entries)
    movements = {entry.movement_id for entry in entries if _is_staffs(entry)}
    adjusted = Adjustment.objects.filter(movement_id__in=movements)
    written: dict[UUID | None, str] = (
        dict(adjusted.values_list("movement_id", "customer_text")) if movements else {}
    )
    words = told(entry for entry in entries if not _is_staffs(entry))
    return {
        entry.pk: words.get(entry.pk, written.get(entry.movement_id, ""))
        for entry in entries
    }


def _is_staffs(entry: Entry) -> bool:
    return entry.actor.startswith(("staff:", "shell:"))


def _of_job(entry: Entry, jobs: dict[UUID, Job]) -> str:
    job = jobs.get(entry.job_id) if entry.job_id else None
    if job is None:
        return ""
    ended = entry.kind in (Entry.Kind.RELEASE, Entry.Kind.CHARGE)
    return (job.fail_reason if ended else "") or job.action


def erase(*, account_id: UUID) -> int:
    """Erase the free texts of an account's jobs and usage; returns how many rows.

    What a job was (`action`) and what was charged stay. A repeated charge of an erased
    one still gets its first answer.
    """
    said = Q(metadata={}, fail_reason="")
    jobs = Job.objects.filter(account=account_id).exclude(said)
    uses = Usage.objects.filter(account=account_id).exclude(reason="")
    return jobs.update(metadata={}, fail_reason="") + uses.update(reason="")

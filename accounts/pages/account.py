"""/: the welcome page, or the overview of the signed-in account."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.credentials import jwt
from accounts.models import User
from accounts.pages.tools import allowing
from accounts.pages.visit import person
from focus.money import from_micro
from jobs import lifecycle, listing, purposes, tool_purchases
from jobs.hosted import showing
from jobs.hosted.showing import ShownRun
from jobs.models import Job, Run
from wallet import ledger, statements
from wallet.models import Entry

RECENT = 10

# The texts of entries under Activity.
MEANINGS = {
    Entry.Kind.GRANT: "Credits received",
    Entry.Kind.REPAY: "Debt repaid",
    Entry.Kind.RESERVE: "Reserved for a job",
    Entry.Kind.CHARGE: "Charged",
    Entry.Kind.RETURN: "Unused credits returned",
    Entry.Kind.OVERAGE: "Charged above the reservation",
    Entry.Kind.OVERDRAFT: "Charged above the balance",
    Entry.Kind.RELEASE: "Reservation returned",
    Entry.Kind.EXPIRE: "Reservation expired and returned",
    Entry.Kind.CONSUME: "Charged",
    Entry.Kind.ADJUST: "Adjusted by support",
    Entry.Kind.LAPSE: "Unused credits expired",
    Entry.Kind.CLAW_BACK: "Removed after a refund or dispute",
    Entry.Kind.REINSTATE: "Restored after a dispute was won",
}


# The states of hosted work, in place of the job's status.
WORDS = {
    Run.State.QUEUED: "waiting",
    Run.State.RUNNING: "running",
    Run.State.DONE: "completed",
    Run.State.FAILED: "failed",
    Run.State.CANCELLED: "cancelled",
}


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Show the welcome page to visitors and the overview to a signed-in person."""
    user = person(request)
    if user is None:
        return render(request, "accounts/welcome.html")
    balance = ledger.balance(account_id=user.pk)
    entries = list(
        Entry.objects.select_related("app", "text")
        .filter(wallet__account=user, amount_micro__gt=0)
        .order_by("-seq")[:RECENT]
    )
    reasons = purposes.for_owner(entries)
    themselves = lifecycle.Caller(actor=str(user), account_id=user.pk)
    jobs = listing.listed(caller=themselves, limit=RECENT)
    hosted = showing.of_jobs([found.job for found in jobs])
    bought = list(tool_purchases.owned(user=user)[:RECENT])
    about = {
        "user": user,
        "available": _credits(balance.credits_micro),
        "only_at": only_at(user),
        "reserved": _credits(balance.reserved_micro),
        "debt": _credits(balance.debt_micro) if balance.debt_micro else "",
        "movements": [_movement(entry, reasons[entry.pk]) for entry in entries],
        "jobs": [_job(found, hosted.get(found.job.pk)) for found in jobs],
        "purchases": bought,
    }
    return allowing(render(request, "accounts/account.html", about), bought)


@require_safe
def jwks(request: HttpRequest) -> HttpResponse:
    """Return the public keys that verify our JWTs, as a JWK set."""
    headers = {"Cache-Control": "public, max-age=3600"}
    return JsonResponse(jwt.public_keys(), headers=headers)


def only_at(user: User) -> list[dict[str, Any]]:
    """Return the spellings of credits that only one app may spend, one row an app."""
    rows = statements.restricted_by_app(account_id=user.pk)
    return [{"app": app, "credits": _credits(micro)} for app, micro in rows]


def _movement(entry: Entry, reason: str) -> dict[str, Any]:
    """Return one row of Activity; the sign is that of the available credits."""
    gains = entry.credit == "available" or entry.debit == "stripe"
    loses = entry.debit in ("available", "debt")
    return {
        "what": MEANINGS[Entry.Kind(entry.kind)],
        "app": entry.app,
        "reason": reason,
        "sign": "+" if gains else "\N{MINUS SIGN}" if loses else "",
        "amount": _credits(entry.amount_micro),
        "left": _credits(entry.available_after - entry.debt_after),
        "at": entry.booked_at,
    }


def _job(found: lifecycle.JobAsOf, hosted: ShownRun | None) -> dict[str, Any]:
    job, status = found.job, found.status
    started = status == Job.Status.STARTED
    return {
        "action": job.action,
        "app": job.app,
        "description": _description(job.metadata),
        "status": status,
        "word": status,
        "amount": _credits(job.reserved_micro if started else job.charged_micro),
        "unit": "reserved" if started else "charged",
        "at": job.created_at,
        **(_hosted(hosted) if hosted else {}),
    }


def _hosted(work: ShownRun) -> dict[str, Any]:
    """Return what the row of a hosted job has in place of others' and beside it."""
    status = work.status
    running = status.state == Run.State.RUNNING
    words = status.message
    if running and status.stage:
        words = f"{status.stage}, {status.percent} %"
    return {
        "word": WORDS[Run.State(status.state)],
        "running": running,
        "percent": status.percent,
        "progress": "" if work.failure else words,
        "failure": work.failure,
        # A path, because this page may be open under another name of this server, and
        # its policy allows pictures of its own origin only.
        "picture": work.preview_url.removeprefix(settings.PUBLIC_BASE_URL),
    }


def _description(metadata: dict[str, Any]) -> str:
    description = metadata.get("description")
    return description[:200] if isinstance(description, str) else ""


def _credits(micro: int) -> str:
    return f"{from_micro(micro):,}"

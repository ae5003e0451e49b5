"""The ledger's names in plain words, for staff."""

from collections.abc import Iterable
from uuid import UUID

from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import User
from focus.admin_site import shown
from focus.admin_site.search import as_uuid
from wallet.models import Entry, Grant

_PLACES = {
    "available": "available",
    "reserved": "reserved",
    "debt": "debt",
    "issuance": "Focus",
    "stripe": "Stripe",
    "breakage": "expired credits",
    "writeoff": "written off",
    "nothing": "–",
    "limit": "limit",
    "terms": "terms",
}
_SOURCES = {
    Grant.Source.STARTER: "starter credits",
    Grant.Source.PURCHASE: "bought credits",
    Grant.Source.PLAN: "credits of a plan",
    Grant.Source.PROMO: "promotional credits",
    Grant.Source.ADJUSTMENT: "adjustment by staff",
    Grant.Source.REFUND: "refund",
    Grant.Source.REINSTATED: "reinstated purchase",
}
# unfold's colours for the label of each kind.
COLOURS = {
    "grant": "success",
    "repay debt": "info",
    "reserve": "warning",
    "charge": "primary",
    "return": "info",
    "overage": "primary",
    "overdraft": "danger",
    "release": "info",
    "expire": "info",
    "consume": "primary",
    "adjust": "danger",
    "grant expired": "danger",
    "claw back": "danger",
    "reinstate": "success",
    "limit set": "info",
    "terms recorded": "info",
    "extend": "warning",
}


def kind(entry: Entry) -> str:
    """Return the entry's kind in lower case."""
    return str(Entry.Kind(entry.kind).label).lower()


def place(account: str) -> str:
    """Return a ledger account in words."""
    if account.startswith("revenue:"):
        return f"revenue of {account.removeprefix('revenue:')}"
    return _PLACES.get(account, account)


def way(entry: Entry) -> SafeString:
    """Return the entry's two ledger accounts in words, joined by an arrow."""
    return format_html(
        '<span class="way">{} <b>→</b> {}</span>',
        place(entry.debit),
        place(entry.credit),
    )


def limit(entry: Entry) -> str:
    """Return the limit that `entry` sets and its value, or "" if it sets none."""
    if entry.kind != Entry.Kind.LIMIT or not entry.terms:
        return ""
    micro = entry.terms.removeprefix("limit ")
    text = "none" if micro == "none" else shown.credits_of(int(micro))
    what = f"monthly limit of {entry.app.slug}" if entry.app else "overdraft limit"
    return f"{what}: {text}"


def grant(given: Grant) -> str:
    """Return the source of a grant, its giver and its app, in a phrase."""
    text = _SOURCES.get(Grant.Source(given.source), given.source)
    if given.given_by is not None:
        text += f" of {given.given_by.slug}"
    if given.app is not None:
        text += f", only for {given.app.slug}"
    return text


class Actors:
    """The actors of some entries by email; reads all of them in one query."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        ids = {found for entry in entries if (found := _person(entry.actor))}
        self._people = User.objects.in_bulk(ids) if ids else {}

    def name(self, entry: Entry, *, owner: UUID) -> str:
        """Return the actor's email, or one word for the entry's app and the owner."""
        actor = entry.actor
        if entry.app and actor == f"app:{entry.app.slug}":
            return "the app"
        if actor == f"user:{owner}":
            return "owner"
        found = _person(actor)
        person = self._people.get(found) if found else None
        role = actor.partition(":")[0]
        return f"{role}: {person}" if person else actor


def brief(actor: str, *, owner: UUID) -> str:
    """Return an actor for a narrow column: `owner`, or a role and a shortened id."""
    person = _person(actor)
    if person is None:
        return actor
    role = actor.partition(":")[0]
    return "owner" if person == owner and role == "user" else f"{role}:{person!s:.8}…"


def _person(actor: str) -> UUID | None:
    role, _, rest = actor.partition(":")
    return as_uuid(rest) if role in ("staff", "user") else None

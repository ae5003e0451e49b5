"""Accounts elsewhere on /security: connected, synced, disconnected.

The provider sends people back to the API's own callback, which ends here again.
"""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts.authentication import visitor
from accounts.links import cookie as link_cookie
from accounts.links import linking, syncs
from accounts.links import registry as link_registry
from accounts.links.registry import Provider
from accounts.models import Link, Sync, User
from accounts.pages.visit import require_second_proof, signed_in
from accounts.partners import origins
from focus.errors import DomainError, NotFound
from focus.limiting import limits
from focus.limiting.limits import AUTH

HERE = "/security#links"
FAILED = "The account could not be linked. Try again."
# What the callback says in `?link_error=`; nothing of the query itself is shown.
MEANINGS = {
    "access_denied": "You cancelled the sign-in there. No account was linked.",
    "already_linked": "Another account of this service is linked already. "
    "Disconnect it first.",
    "link_taken": "That account is linked to another Focus account.",
    "service_unavailable": "The service does not answer. Try again later.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A provider, and the person's account there if it is linked."""

    provider: Provider
    link: Link | None
    sync: Sync | None

    @property
    def name(self) -> str:
        return self.link.username or self.link.subject if self.link else ""


def rows(*, user: User) -> list[Row]:
    """What is linked or can be, in the order of the providers."""
    linked = {link.provider: link for link in linking.linked_accounts(user=user)}
    newest = {
        sync.link_id: sync
        for sync in Sync.objects.filter(link__in=linked.values())
        .order_by("link_id", "-requested_at", "-pk")
        .distinct("link_id")
    }
    shown = []
    for provider in link_registry.PROVIDERS:
        link = linked.get(provider.id)
        if link is not None or provider.available:
            shown.append(Row(provider, link, newest.get(link.pk) if link else None))
    return shown


def targets() -> list[str]:
    """Where forms that connect an account end: browsers hold the page to these."""
    ways = (
        one.service.origin()
        for one in link_registry.PROVIDERS
        if one.available and one.service
    )
    return sorted(filter(None, map(origins.origin_of, ways)))


def told(request: HttpRequest, shown: list[Row]) -> tuple[str, str]:
    """How it ended, for somebody who comes back: the kind of a note and its text."""
    if error := request.GET.get("link_error"):
        return "error", MEANINGS.get(error, FAILED)
    wanted = request.GET.get("linked")
    for row in shown:
        # Anybody can write this into an address, so only what is so is said.
        if row.link is not None and row.provider.id == wanted:
            return "success", f"Your {row.provider.name} account {row.name} is linked."
    return "", ""


@limits.refuses_unread(AUTH)
@require_POST
@signed_in
def connect(request: HttpRequest, user: User, provider: str) -> HttpResponse:
    try:
        limits.tally_of(request).count((AUTH,))
        require_second_proof(request)
        started = linking.start(user=user, provider=provider, in_browser=True)
    except DomainError as refusal:
        messages.error(request, refusal.message)
        return redirect(HERE)
    answer = redirect(started.url)
    link_cookie.put(answer, started)
    return answer


@require_POST
@signed_in
def disconnect(request: HttpRequest, user: User, provider: str) -> HttpResponse:
    try:
        link = linking.unlink(user=user, provider=provider, visitor=visitor(request))
    except linking.NotLinked:
        messages.error(request, "That account is not linked.")
    else:
        said = f"{link.username or link.subject} is no longer linked to your account."
        messages.success(request, said)
    return redirect(HERE)


@require_POST
@signed_in
def sync(request: HttpRequest, user: User) -> HttpResponse:
    try:
        syncs.request(user=user)
    except NotFound as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(
            request, "The sync of your linked accounts starts in a moment."
        )
    return redirect(HERE)

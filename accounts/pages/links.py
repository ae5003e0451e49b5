"""Linked accounts of other services on /security: connect, sync, disconnect.

The provider redirects to the API's callback, which redirects to /security.
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
# The texts for the callback's `?link_error=`. The page never shows the query itself.
MEANINGS = {
    "access_denied": "You cancelled the sign-in there. No account was linked.",
    "already_linked": "You have already linked another account of this service. "
    "Disconnect it first, then try again.",
    "link_taken": "That account is linked to another Focus account.",
    "service_unavailable": "The service is not available. Try again later.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A provider, with the linked account and its latest sync if there are any."""

    provider: Provider
    link: Link | None
    sync: Sync | None

    @property
    def name(self) -> str:
        """The linked account's name at the provider, or ""."""
        return self.link.username or self.link.subject if self.link else ""


def rows(*, user: User) -> list[Row]:
    """Return the providers that are linked or available, in their fixed order."""
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
    """Return the origins that forms of this page redirect to.

    The browser checks `form-action` on redirects too, so the policy must name them.
    """
    ways = (
        one.service.origin()
        for one in link_registry.PROVIDERS
        if one.available and one.service
    )
    return sorted(filter(None, map(origins.origin_of, ways)))


def note(request: HttpRequest, shown: list[Row]) -> tuple[str, str]:
    """Return the kind and the text of the note after a redirect from the callback."""
    if error := request.GET.get("link_error"):
        return "error", MEANINGS.get(error, FAILED)
    wanted = request.GET.get("linked")
    for row in shown:
        # Any link can contain `?linked=`, so confirm only a link that exists.
        if row.link is not None and row.provider.id == wanted:
            return "success", f"Your {row.provider.name} account {row.name} is linked."
    return "", ""


@limits.refuses_unread(AUTH)
@require_POST
@signed_in
def connect(request: HttpRequest, user: User, provider: str) -> HttpResponse:
    """Redirect to a provider to link an account; needs a recent second proof."""
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
    """Unlink the person's account at `provider`."""
    try:
        link = linking.unlink(user=user, provider=provider, visitor=visitor(request))
    except linking.NotLinked:
        messages.error(request, "This account is not linked.")
    else:
        text = f"{link.username or link.subject} is no longer linked to your account."
        messages.success(request, text)
    return redirect(HERE)


@require_POST
@signed_in
def sync(request: HttpRequest, user: User) -> HttpResponse:
    """Queue a sync of all linked accounts."""
    try:
        syncs.request(user=user)
    except NotFound as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(
            request, "The sync of your linked accounts starts in a moment."
        )
    return redirect(HERE)

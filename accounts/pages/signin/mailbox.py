"""Password reset and email verification: request a link by mail, then open it."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts.authentication import browser_session, visitor
from accounts.models import MailboxProof, User
from accounts.pages.signin import entering
from accounts.pages.visit import signed_in
from accounts.pages.waiting import say_when
from accounts.recovery import mailbox
from accounts.recovery.mailbox import MailedLink
from accounts.signin import passwords
from accounts.signin.hashing import HashingBusy
from focus.errors import DomainError
from focus.limiting import limits
from focus.limiting.limits import AUTH, Limited
from jobs.webhooks import endpoints


@limits.refuses_unread(AUTH)
@require_http_methods(["GET", "HEAD", "POST"])
def forgot(request: HttpRequest) -> HttpResponse:
    """Request a reset link. The response is the same for every address."""
    if request.method != "POST":
        return render(request, "accounts/forgot.html")
    try:
        limits.tally_of(request).count((AUTH,))
    except Limited as too_many:
        return _refuse(request, "accounts/forgot.html", too_many)
    mailbox.request_reset(email=request.POST.get("email", ""), visitor=visitor(request))
    return render(request, "accounts/forgot.html", {"asked": True})


@limits.refuses_unread(AUTH)
@require_POST
@signed_in
def request_verification(request: HttpRequest, user: User) -> HttpResponse:
    """Mail a verification link to the account's address."""
    try:
        limits.tally_of(request).count((AUTH,))
        mailbox.request_verification(user=user, visitor=visitor(request))
    except DomainError as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, "We sent you a link. Open it in this browser.")
    return redirect("/security#email")


@limits.refuses_unread(AUTH)
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """Open a mailed link; only a POST uses it up."""
    query = request.POST if request.method == "POST" else request.GET
    code = query.get("code", "")
    try:
        limits.tally_of(request).count((AUTH,))
        link = mailbox.read_link(secret=code)
        if request.method == "POST":
            return _use(request, link, code)
    except mailbox.InvalidLink as refusal:
        return _refuse(request, "accounts/mailbox_dead.html", refusal)
    except Limited as too_many:
        # The code was not looked up, so the page must not call the link invalid.
        about = {"error": too_many.message, "wait": True, "code": code}
        return say_when(render(request, "accounts/mailbox_dead.html", about), too_many)
    return render(request, "accounts/mailbox.html", _about(request, link, code))


def _use(request: HttpRequest, link: MailedLink, code: str) -> HttpResponse:
    where = visitor(request)
    if request.POST.get("intent") == "verify":
        session = browser_session(request)
        if session is None:
            raise mailbox.InvalidLink("Sign in, then open the link again.")
        mailbox.verify(secret=code, user=session.user, visitor=where)
        messages.success(request, "Email verified.")
        return redirect("/security#email")
    try:
        user = mailbox.set_password(
            secret=code,
            password=request.POST.get("password", ""),
            visitor=where,
            end_more=lambda owner: endpoints.delete_all(user=owner, visitor=where),
        )
    except (passwords.WeakPassword, HashingBusy) as refusal:
        about = _about(request, link, code) | {"error": refusal.message}
        response = render(request, "accounts/mailbox.html", about, status=400)
        return say_when(response, refusal)
    entering.open_session(request, user, ["pwd"])
    messages.success(request, "Your password is set, and you are signed in.")
    return redirect("/security")


def _about(request: HttpRequest, link: MailedLink, code: str) -> dict[str, Any]:
    session = browser_session(request)
    return {
        "code": code,
        "link": link,
        "verifying": link.purpose == MailboxProof.Purpose.VERIFY,
        # In another browser a click must not verify: an attacker may have opened the
        # account with this address and hope that its owner confirms it.
        "here": session is not None and session.user_id == link.user.pk,
    }


def _refuse(request: HttpRequest, page: str, refusal: DomainError) -> HttpResponse:
    response = render(request, page, {"error": refusal.message}, status=400)
    return say_when(response, refusal)

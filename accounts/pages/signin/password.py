"""/security/password: change the password, or set the first one."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts.authentication import browser_session, visitor
from accounts.credentials import proofs
from accounts.credentials.principals import TokenEnded
from accounts.models import User
from accounts.pages.signin import entering
from accounts.pages.visit import require_second_proof, signed_in
from accounts.pages.waiting import say_when
from accounts.recovery import password_change
from accounts.signin import passwords
from focus.errors import DomainError
from focus.limiting import limits
from focus.limiting.limits import SIGN_IN

BACK = "/security#password"


@limits.refuses_unread(*SIGN_IN)
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("current", "new")
@signed_in
def page(request: HttpRequest, user: User) -> HttpResponse:
    """Change the password by the current one, or set the first by a recent sign-in."""
    if user.email is None:
        messages.error(request, "A password needs an email address.")
        return redirect(BACK)
    first = not user.has_usable_password()
    try:
        if first:
            require_second_proof(request)
        if request.method == "POST":
            return _change(request, first=first)
    except proofs.SecondProofRequired as refusal:
        return _form(request, user, blocked=refusal.message, status=403)
    except TokenEnded:
        return redirect(f"/signin?next={request.path}")
    except DomainError as refusal:
        return _refuse(request, user, refusal)
    return _form(request, user)


def _change(request: HttpRequest, *, first: bool) -> HttpResponse:
    tally = limits.tally_of(request)
    tally.count(SIGN_IN)
    session = browser_session(request)
    if session is None:
        raise TokenEnded("You were signed out just now.")
    try:
        user = password_change.change(
            session=session,
            current=request.POST.get("current", ""),
            new=request.POST.get("new", ""),
            visitor=visitor(request),
        )
    except password_change.WrongCurrentPassword:
        tally.count_wrong_guess()
        raise
    # The change ended every session: open a new one with the proofs of this one.
    methods, passkey = (session.methods, session.passkey) if first else (["pwd"], None)
    entering.open_session(request, user, methods, passkey)
    text = "Your password is set." if first else "Your password is changed."
    messages.success(request, f"{text} All other sessions were signed out.")
    return redirect(BACK)


_FIELDS: dict[type[DomainError], str] = {
    password_change.WrongCurrentPassword: "current",
    passwords.WeakPassword: "new",
}


def _refuse(request: HttpRequest, user: User, refusal: DomainError) -> HttpResponse:
    wrong = _FIELDS.get(type(refusal), "")
    response = _form(request, user, error=refusal.message, wrong=wrong, status=400)
    return say_when(response, refusal)


def _form(
    request: HttpRequest,
    user: User,
    *,
    error: str = "",
    wrong: str = "",
    blocked: str = "",
    status: int = 200,
) -> HttpResponse:
    about = {
        "user": user,
        "first": not user.has_usable_password(),
        "error": error,
        "wrong": wrong,
        "blocked": blocked,
    }
    response = render(request, "accounts/password.html", about, status=status)
    response["Cache-Control"] = "no-store"
    return response

"""/dev/mail: the mails of a local server, with links that work."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from focus.outgoing import local_mail

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# A tunnel or a proxy adds one of these headers: the reader is on another machine.
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST")


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the newest mails; a 404 unless the browser is on this machine."""
    if not _is_local(request):
        raise Http404
    about = {"letters": local_mail.recent_mails()}
    response = render(request, "accounts/dev_mail.html", about)
    response["Cache-Control"] = "no-store"
    return response


def _is_local(request: HttpRequest) -> bool:
    host = urlsplit(f"//{request.get_host()}").hostname
    forwarded = any(name in request.META for name in _FORWARDED)
    return settings.LOCAL_MAIL_PAGE and host in _LOOPBACK and not forwarded

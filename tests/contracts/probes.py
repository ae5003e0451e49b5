"""Probe views: one per contract, which raises what a test asks for.

This is a URLconf for `pytest.mark.urls`: the real one, plus the probes.
"""

from dataclasses import dataclass
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, TooManyFieldsSent
from django.db import OperationalError
from django.http import Http404, HttpResponse
from django.urls import path
from rest_framework.exceptions import Throttled, ValidationError
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.credentials.access import PEOPLE, PUBLIC, Access
from focus import urls
from focus.contracts import Contract
from focus.contracts.clipforge import ClipForge
from focus.contracts.cosmiv import Cosmiv
from focus.contracts.onesub import OneSub
from focus.contracts.reviv import Reviv
from focus.contracts.thefocus import TheFocus
from focus.errors import DomainError, NotFound


class Insufficient(DomainError):
    code = "insufficient_credits"


class Limited(DomainError):
    code = "spending_limit_reached"


class Contradiction(DomainError):
    code = "job_not_started"


RAISED: dict[str, Exception] = {
    "domain": DomainError("This makes no sense."),
    "not_found": NotFound("There is no such thing."),
    "contradiction": Contradiction("The job is over.", job_id="j1"),
    "poor": Insufficient("Not enough credits.", required=5, available=3),
    "limited": Limited("That is over the limit.", limit=5, spent=4, required=2),
    "http404": Http404(),
    "denied": PermissionDenied(),
    "invalid": ValidationError({"app": ["This field is required."]}),
    "throttled": Throttled(wait=2.1),
    "fields": TooManyFieldsSent(),
    "database": OperationalError("server closed the connection; password=hunter2"),
    "bug": RuntimeError("Traceback of something secret"),
}


class Probe:
    """Answers GET, raises what a POST asks for; `closed` needs a user."""

    accepts = {"read": PUBLIC, "fail": PUBLIC, "closed": Access(PEOPLE, "jobs:read")}

    def read(self, request: Any) -> Response:
        return Response({})

    def fail(self, request: Any) -> Response:
        raise RAISED[request.data["raise"]]

    def closed(self, request: Any) -> Response:
        return Response({})


@dataclass(frozen=True)
class Dialect:
    """A contract, and the paths of its probes."""

    contract: type[Contract]
    path: str

    def __str__(self) -> str:
        return str(self.contract.slug)


FOCUS = Dialect(TheFocus, "/api/probe")
ONESUB = Dialect(OneSub, "/api/v1/probe")
REVIV = Dialect(Reviv, "/api/credits/probe/")
COSMIV = Dialect(Cosmiv, "/api/v2/probe")
CLIPFORGE = Dialect(ClipForge, "/v1/probe")
DIALECTS = [FOCUS, ONESUB, REVIV, COSMIV, CLIPFORGE]
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=str)


def _probes(dialect: Dialect) -> list[Any]:
    view: Any = type("ProbeView", (Probe, dialect.contract, ViewSet), {})
    here = dialect.path[1:]
    closed = here + ("closed/" if here.endswith("/") else "/closed")
    return [
        path(here, view.as_view({"get": "read", "post": "fail"})),
        path(closed, view.as_view({"get": "closed"})),
    ]


def _broken_page(request: Any) -> HttpResponse:
    raise RAISED[request.GET["raise"]]


urlpatterns = [
    *[probe for dialect in DIALECTS for probe in _probes(dialect)],
    path("broken-page", _broken_page),
    *urls.urlpatterns,
]
handler400 = urls.handler400
handler403 = urls.handler403
handler404 = urls.handler404
handler500 = urls.handler500

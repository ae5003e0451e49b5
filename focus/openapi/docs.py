"""Views that serve the OpenAPI documents, Swagger UI, ReDoc and the API root."""

import re
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from focus.contracts import Open
from focus.contracts.reviv import Reviv
from focus.contracts.thefocus import TheFocus
from focus.errors import NotFound
from focus.openapi import schema
from focus.web.routing import ALIAS, either_slash

# CSP: Swagger UI loads its icons from data: URLs. ReDoc uses inline styles and searches
# in a worker from a blob: URL. Neither runs inline scripts. "Try it out" calls the
# server that the document names.
_POLICY = (
    "default-src 'none'; script-src 'self'; img-src 'self' data:; base-uri 'none'; "
    f"connect-src 'self' {settings.PUBLIC_BASE_URL}; form-action 'none'; "
    "frame-ancestors 'none'; "
)
SWAGGER_POLICY = f"{_POLICY}style-src 'self'"
REDOC_POLICY = f"{_POLICY}style-src 'self' 'unsafe-inline'; worker-src blob:"


def _contract_of(request: Any) -> str:
    """Return the contract of `?contract=`, by default Focus's. Raises `NotFound`."""
    slug: str = request.query_params.get("contract", "focus")
    if slug not in schema.DOCUMENTS:
        raise NotFound("There is no such contract.", contracts=[*schema.DOCUMENTS])
    return slug


class Documents(Open, TheFocus, ViewSet):
    """Serves the OpenAPI document of `?contract=`."""

    @extend_schema(exclude=True)
    def read(self, request: Any) -> Response:
        return Response(schema.document(_contract_of(request)))


class RevivDocument(Open, Reviv, ViewSet):
    """Serves the same document as /api/openapi.json?contract=reviv."""

    @extend_schema(exclude=True)
    def read(self, request: Any) -> Response:
        return Response(schema.document("reviv"))


class FocusPage(Open, TheFocus, ViewSet):
    @extend_schema(exclude=True)
    def read(self, request: Any) -> HttpResponse:
        return _swagger(request, _contract_of(request))


class RevivPage(Open, Reviv, ViewSet):
    @extend_schema(exclude=True)
    def read(self, request: Any) -> HttpResponse:
        return _swagger(request, "reviv")


class RevivRedoc(Open, Reviv, ViewSet):
    @extend_schema(exclude=True)
    def read(self, request: Any) -> HttpResponse:
        page = render(request, "redoc.html")
        page.headers["Content-Security-Policy"] = REDOC_POLICY
        return page


class Root(Open, Reviv, ViewSet):
    """reviv guide, "API Root": a map of endpoint names to URLs."""

    @extend_schema(exclude=True)
    def read(self, request: Any) -> Response:
        base = settings.PUBLIC_BASE_URL
        return Response({_name(path): f"{base}/{path}" for path in _paths_without_id()})


def _paths_without_id() -> list[str]:
    """Return reviv's paths that need no id."""
    routes = [str(found.pattern) for found in schema.routes(Reviv)]
    return [route for route in routes if "<" not in route and route != "api/"]


def _name(address: str) -> str:
    """Return an endpoint's name: `auth_token_refresh` for api/auth/token/refresh/."""
    return re.sub(r"\W", "_", address.removeprefix("api/").strip("/"))


def _swagger(request: HttpRequest, slug: str) -> HttpResponse:
    guides = [
        {"slug": name, "title": title}
        for name, (_, title, _) in schema.DOCUMENTS.items()
    ]
    about = {"guides": guides, "slug": slug, "title": schema.DOCUMENTS[slug][1]}
    page = render(request, "swagger.html", about)
    page.headers["Content-Security-Policy"] = SWAGGER_POLICY
    return page


_READ: dict[str, Any] = {"get": "read"}
# /api/docs is Focus's page, /api/docs/ is reviv's: each guide names its own.
thefocus = [
    *either_slash("openapi.json", Documents.as_view(_READ)),
    path("docs", FocusPage.as_view(_READ)),
]
_root = Root.as_view(_READ)
reviv = [
    path("", _root),
    *either_slash("schema/", RevivDocument.as_view(_READ)),
    path("docs/", RevivPage.as_view(_READ)),
    *either_slash("redoc/", RevivRedoc.as_view(_READ)),
]
root = [path("api", _root, {}, name=ALIAS)]

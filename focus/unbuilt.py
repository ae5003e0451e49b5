"""Addresses of the guides' hosted work, before there is any: 401, and then 404.

A client that is not signed in must learn that first, as it will when they are built.
"""

import re
from functools import cache
from typing import Any

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.views import APIView

from accounts.access import Access, Bound
from accounts.principals import Kind

_HOSTED = re.compile(r"/(v1|api/v2)/.|/api/restorations(/|$)")


def is_hosted(path: str) -> bool:
    """Whether a guide puts hosted work under `path`."""
    return _HOSTED.match(path) is not None


def answer(request: HttpRequest, contract: Any) -> HttpResponseBase:
    """The contract's 401 for a stranger, its 404 for everybody else."""
    refused: HttpResponseBase = _view(contract)(request)
    return refused


class _Unbuilt:
    action = "missing"
    accepts = {"missing": Access(frozenset(Kind), bound=Bound.APP)}

    def missing(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        raise Http404

    get = post = put = patch = delete = head = options = missing


@cache
def _view(contract: Any) -> Any:
    made: Any = type("Unbuilt", (_Unbuilt, contract, APIView), {})
    return made.as_view()

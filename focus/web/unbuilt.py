"""Paths of the guides' hosted work that have no view yet: 401, or 404.

A caller without a valid credential gets 401, as from the views to come. Any other
caller gets 404.
"""

import re
from functools import cache
from typing import Any

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.views import APIView

from accounts.credentials.access import Access, Bound
from accounts.credentials.principals import Kind

# The paths that need a credential. The public ones (styles, weekly montages) are 404
# for every caller.
_PATHS = """
/api/v2/jobs  /api/v2/jobs/:id  /api/v2/jobs/:id/status  /api/v2/jobs/:id/download
/api/v2/analytics/user/stats  /api/v2/analytics/track-view/:id
/api/v2/social/connections  /api/v2/social/platforms  /api/v2/social/oauth/:id
/api/v2/social/posts  /api/v2/social/posts/:id
/v1/projects  /v1/projects/:id  /v1/projects/:id/detect
/v1/projects/:id/clips  /v1/projects/:id/clips/:id  /v1/projects/:id/exports
/v1/uploads/sign  /v1/clips/:id  /v1/clips/:id/export  /v1/exports/:id
/v1/brand-kits  /v1/brand-kits/:id
"""
_HOSTED = re.compile(
    "|".join(path.replace(":id", "[^/]+") + "/?" for path in _PATHS.split())
)


def is_hosted(path: str) -> bool:
    """Whether a guide has hosted work at `path` that needs a credential."""
    return _HOSTED.fullmatch(path) is not None


def answer(request: HttpRequest, contract: Any) -> HttpResponseBase:
    """Return the contract's 401 without a valid credential, else its 404."""
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

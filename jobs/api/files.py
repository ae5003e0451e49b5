"""The doors of files: signed addresses, which are credentials of their own.

They serve every guide. A refusal of an upload has ClipForge's form, because its guide
signs uploads; one of a download has Focus's.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.credentials.access import PUBLIC, Access
from focus.bodies import chunked
from focus.bodies.arrivals import PIECE_BYTES
from focus.contracts import Open, Problem
from focus.contracts.clipforge import ClipForge
from focus.contracts.thefocus import TheFocus
from focus.errors import NotFound
from focus.web.routing import either_slash
from jobs.files import content_types, downloads, storage, uploads
from jobs.files.downloads import Part
from jobs.models import StoredFile

# The largest upload of a guide: a source video of ClipForge's.
MOST_UPLOAD_BYTES = 2100 * 1024**2
# Players and pages of any origin may use an address. It needs no cookie, so these
# headers allow none.
_ANY_ORIGIN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Max-Age": "86400",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
# No script, no form and no origin. The rest is what a browser's own window for an image
# or a video needs: without media-src it would not play its own video.
_POLICY = (
    "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; "
    "style-src 'unsafe-inline'"
)


class AnyOrigin:
    """Lets pages of any origin call the view, and read its refusals too."""

    allowed: ClassVar[dict[str, str]]

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return Response(status=204, headers=_ANY_ORIGIN | self.allowed)

    def finalize_response(
        self, request: Any, response: Any, *args: Any, **kwargs: Any
    ) -> Any:
        for name, value in _ANY_ORIGIN.items():
            response.headers.setdefault(name, value)
        return super().finalize_response(  # type: ignore[misc]
            request, response, *args, **kwargs
        )


class Downloads(AnyOrigin, Open, TheFocus, ViewSet):
    """`GET` and `HEAD /files/{token}/{name}`."""

    allowed: ClassVar[dict[str, str]] = {
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Allow-Headers": "Range, If-Range, If-None-Match",
    }

    @extend_schema(
        operation_id="focus_files_download",
        summary="Download a file by its signed address",
        parameters=[
            OpenApiParameter("download", OpenApiTypes.STR, description="1: as a file"),
            OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER),
        ],
        responses={
            200: OpenApiResponse(OpenApiTypes.BINARY, description="The file"),
            206: OpenApiResponse(OpenApiTypes.BINARY, description="A part of it"),
            304: OpenApiResponse(description="The copy with this ETag is current"),
            403: OpenApiResponse(description="The address was changed or has expired"),
            416: OpenApiResponse(description="The range begins after the file's end"),
        },
    )
    def read(self, request: Any, token: str, name: str) -> HttpResponseBase:
        file = downloads.opened(token, name)
        headers = _file_headers(file, name, as_file="download" in request.GET)
        if downloads.is_named(
            headers["ETag"], request.headers.get("If-None-Match", "")
        ):
            headers.pop("Content-Type")
            return HttpResponse(status=304, headers=headers)
        part = downloads.wanted_part(
            file,
            range_header=request.headers.get("Range", ""),
            if_range=request.headers.get("If-Range", ""),
        )
        return _answer(file, part, headers, only_head=request.method == "HEAD")

    @classmethod
    def refusal_headers(cls, problem: Problem) -> dict[str, str]:
        headers = super().refusal_headers(problem)
        if problem.status == 416:
            headers["Content-Range"] = f"bytes */{problem.facts['size']}"
        return headers


def _file_headers(file: StoredFile, name: str, *, as_file: bool) -> dict[str, str]:
    inline = file.content_type in downloads.INLINE and not as_file
    disposition = content_disposition_header(as_attachment=not inline, filename=name)
    return {
        "Content-Type": file.content_type,
        "Content-Disposition": disposition or "attachment",
        "ETag": downloads.etag(file),
        "Accept-Ranges": "bytes",
        # A browser asks again before it uses its copy, so a deleted file is gone.
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": _POLICY,
        "Access-Control-Expose-Headers": (
            "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag"
        ),
    }


def _answer(
    file: StoredFile, part: Part | None, headers: dict[str, str], *, only_head: bool
) -> HttpResponseBase:
    size = file.size or 0
    whole = part or Part(0, size, size)
    headers["Content-Length"] = str(whole.end - whole.start)
    if part is not None:
        headers["Content-Range"] = part.content_range
    try:
        content = () if only_head else storage.open_range(file, whole.start, whole.end)
    except FileNotFoundError:
        raise NotFound("This file does not exist any more.") from None
    status = 200 if part is None else 206
    return StreamingHttpResponse(content, status=status, headers=headers)


class _Stored(serializers.Serializer[Any]):
    key = serializers.CharField()
    size = serializers.IntegerField()
    mimeType = serializers.CharField()  # noqa: N815 — ClipForge's guide writes so
    sha256 = serializers.CharField()
    downloadUrl = serializers.CharField()  # noqa: N815


class Uploads(AnyOrigin, Open, ClipForge, ViewSet):
    """`PUT /files/upload/{token}`: the bytes of a file as the whole body."""

    accepts: Mapping[str, Access] = {"store": PUBLIC}
    max_body_bytes: ClassVar[int | None] = MOST_UPLOAD_BYTES
    streams_body: ClassVar[bool] = True
    allowed: ClassVar[dict[str, str]] = {
        "Access-Control-Allow-Methods": "PUT",
        "Access-Control-Allow-Headers": "Content-Type",
    }

    @extend_schema(
        operation_id="clipforge_files_upload",
        summary="Upload a file to its signed address",
        request={"*/*": OpenApiTypes.BINARY},
        responses={
            200: _Stored,
            403: OpenApiResponse(
                description="The address was changed or used, or has expired"
            ),
            507: OpenApiResponse(description="The disk is almost full"),
        },
    )
    def store(self, request: Any, token: str) -> Response:
        file = uploads.expected(token)
        uploads.require_declared(file, request.headers.get("Content-Type", ""))
        body = request._request
        length = chunked.announced_length(body)
        uploads.require_length(file, length)
        stored = uploads.receive(
            chunked.pieces(body, PIECE_BYTES),
            file=file,
            accepts=content_types.accepted_for(file.content_type),
            length=length,
        )
        answer = {
            "key": str(stored.pk),
            "size": stored.size,
            "mimeType": stored.content_type,
            "sha256": bytes(stored.sha256 or b"").hex(),
            "downloadUrl": downloads.address(stored),
        }
        return Response(answer)


urlpatterns = [
    *either_slash("files/upload/<str:token>", Uploads.as_view({"put": "store"})),
    *either_slash("files/<str:token>/<str:name>", Downloads.as_view({"get": "read"})),
]

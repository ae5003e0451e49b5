"""reviv guide, "Restorations": upload, status, history and delete."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import user_of
from focus.bodies.arrivals import DiskLow, FileTooLarge
from focus.contracts import Problem
from focus.contracts.multipart import StreamedMultiPart, UploadLimits
from focus.contracts.replay import replayable_after
from focus.contracts.reviv import Reviv
from focus.errors import DomainError
from focus.web.routing import either_slash
from jobs.api.reviv import shapes
from jobs.files.storage import StorageFailed
from jobs.hosted.restorations import photos
from jobs.models import StoredFile

log = logging.getLogger(__name__)

ID = OpenApiParameter("job_id", int, OpenApiParameter.PATH)
# A photo above its limit is still read up to that limit, and refused in the guide's own
# words. A body beyond this length is refused unread, with 413.
MOST_BODY_BYTES = 64 * 1024 * 1024


class UploadFailed(DomainError):
    """The photo could not be stored."""

    code = "upload_failed"


class Options(serializers.Serializer[Any]):
    keep_original_colors = serializers.BooleanField(
        default=False, help_text="Leave faded colours alone."
    )
    generated_detail = serializers.BooleanField(
        default=False,
        help_text="Let Real-ESRGAN sharpen a blurred photo. It is slow, and its detail"
        " is invented.",
    )


class Upload(Options):
    image = serializers.FileField(
        help_text="A JPG, PNG or WEBP photo, up to 10 MB and 40 megapixels, at least"
        " 500 pixels on its shortest side. Its metadata is removed before it is stored."
    )


@dataclass(frozen=True, slots=True)
class Received:
    """A stored photo that no restoration keeps yet, and what the person chose."""

    photo: StoredFile
    options: dict[str, bool]


@contextmanager
def received(view: Any, request: Request) -> Iterator[Received]:
    """Check and store the upload; forget it again if the restoration is refused."""
    account_id = user_of(request).pk
    # Before the body is read.
    photos.require_place(account_id=account_id)
    options = Options(data=request.data)
    options.is_valid(raise_exception=True)
    image = request.FILES.get("image")
    if image is None:
        raise photos.bad_photo(photos.NO_FILE)
    photo = photos.receive(image.arrival, account_id=account_id, name=str(image.name))
    try:
        yield Received(photo, options.validated_data)
    except BaseException:
        photos.discard(photo)
        raise


class UploadViewSet(Reviv, ViewSet):
    accepts = {"upload": shapes.PERSON}
    statuses = {**Reviv.statuses, "history_limit": 403, "upload_failed": 500}
    parser_classes = [StreamedMultiPart]
    streams_body = True
    max_body_bytes = MOST_BODY_BYTES
    upload_limits = UploadLimits(
        most_files=1,
        most_bytes=photos.MOST_BYTES,
        most_bytes_together=photos.MOST_BYTES,
    )

    @extend_schema(
        summary="Upload a photo to restore",
        description="At most 6 photos at a time. A worker restores it; poll its status."
        " The checks run in this order: the number of photos, the file, its size, its"
        " format, its pixels.",
        request={"multipart/form-data": Upload},
        responses={
            201: OpenApiResponse(shapes.Accepted, "The photo waits for its turn."),
            400: OpenApiResponse(
                description="`VALIDATION_ERROR`; `details.image` says why."
            ),
            403: OpenApiResponse(description="`HISTORY_LIMIT` with `max_jobs`."),
            500: OpenApiResponse(description="`UPLOAD_FAILED`: nothing was stored."),
        },
        examples=[
            OpenApiExample(
                "Waiting",
                value={"job_id": 123, "status": "pending"},
                response_only=True,
                status_codes=["201"],
            )
        ],
    )
    @replayable_after(received)
    def upload(self, request: Request, upload: Received) -> Response:
        restoration = photos.add(
            account_id=user_of(request).pk,
            photo=upload.photo,
            options=upload.options,
        )
        return Response({"job_id": restoration.pk, "status": "pending"}, status=201)

    @classmethod
    def problem(cls, exc: Exception) -> Problem | None:
        if isinstance(exc, FileTooLarge):
            exc = photos.bad_photo(photos.TOO_LARGE)
        if isinstance(exc, DiskLow | StorageFailed):
            log.error("Upload failed: %s: %s", type(exc).__name__, exc.__cause__ or exc)
            exc = UploadFailed("The photo could not be stored. Please try again later.")
        return super().problem(exc)


class RestorationViewSet(Reviv, ViewSet):
    accepts = {
        "status": shapes.PERSON,
        "history": shapes.PERSON,
        "remove": shapes.PERSON,
    }

    @extend_schema(
        summary="Poll a restoration",
        parameters=[ID],
        responses={
            200: OpenApiResponse(shapes.StatusBody, "The state now."),
            404: OpenApiResponse(description="`NOT_FOUND`."),
        },
        examples=[
            OpenApiExample("Completed", value=shapes.STATUS, response_only=True),
            OpenApiExample("Waiting", value=shapes.WAITING, response_only=True),
        ],
    )
    def status(self, request: Request, job_id: str) -> Response:
        """The preview has a watermark in its pixels."""
        restoration = photos.find(
            account_id=user_of(request).pk, restoration_id=shapes.id_of(job_id)
        )
        return Response(shapes.status_body(restoration))

    @extend_schema(
        summary="List the photos",
        responses={
            200: OpenApiResponse(
                shapes.RestorationBody(many=True), "At most 6, newest first."
            )
        },
        examples=[
            OpenApiExample(
                "A locked photo", value=shapes.RESTORATION, response_only=True
            )
        ],
    )
    def history(self, request: Request) -> Response:
        """Photos are kept for 60 days."""
        found = photos.history(account_id=user_of(request).pk)
        return Response([shapes.restoration_body(it) for it in found])

    @extend_schema(
        summary="Delete a photo",
        parameters=[ID],
        responses={
            200: OpenApiResponse(shapes.Deleted, "Its files are gone."),
            404: OpenApiResponse(description="`NOT_FOUND`."),
        },
        examples=[
            OpenApiExample(
                "Deleted",
                value={"message": "Job deleted successfully", "status": "ok"},
                response_only=True,
            )
        ],
    )
    def remove(self, request: Request, job_id: str) -> Response:
        """Stops the restoration if it runs. All addresses of its files end."""
        photos.remove(
            account_id=user_of(request).pk, restoration_id=shapes.id_of(job_id)
        )
        return Response({"message": "Job deleted successfully", "status": "ok"})


urlpatterns = [
    *either_slash("restorations/upload/", UploadViewSet.as_view({"post": "upload"})),
    *either_slash(
        "restorations/history/", RestorationViewSet.as_view({"get": "history"})
    ),
    *either_slash(
        "restorations/<str:job_id>/", RestorationViewSet.as_view({"delete": "remove"})
    ),
    *either_slash(
        "restorations/<str:job_id>/status/",
        RestorationViewSet.as_view({"get": "status"}),
    ),
]

"""reviv guide, "Restorations": unlock by credits, or once by a share."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import user_of
from accounts.credentials.access import PUBLIC
from focus.contracts.replay import replayable, unchanged
from focus.contracts.reviv import Reviv
from focus.errors import DomainError
from focus.money import to_micro, two_places
from focus.web.routing import either_slash
from jobs.api.reviv import shapes
from jobs.hosted.restorations import photos, shares, unlocks
from wallet import ledger

ID = OpenApiParameter("job_id", int, OpenApiParameter.PATH)


class TooFewCredits(DomainError):
    """As `ledger.InsufficientCredits`, with the guide's fact `credits_available`."""

    code = "insufficient_credits"


class MissingShareToken(DomainError):
    code = "missing_share_token"


class UnlockViewSet(Reviv, ViewSet):
    accepts = {
        "unlock": shapes.PERSON,
        "share": shapes.PERSON,
        "confirm": shapes.PERSON,
    }
    statuses = {**Reviv.statuses, "already_unlocked": 409, "social_share_used": 403}

    @extend_schema(
        summary="Unlock a photo by 1 credit",
        parameters=[ID],
        request=None,
        responses={
            200: OpenApiResponse(shapes.PaidImage, "Charged and unlocked."),
            400: OpenApiResponse(description="`INVALID_STATE` with `status`."),
            403: OpenApiResponse(
                description="`INSUFFICIENT_CREDITS` with `credits_available`."
            ),
            404: OpenApiResponse(description="`NOT_FOUND`."),
            409: OpenApiResponse(description="`ALREADY_UNLOCKED`."),
        },
        examples=[
            OpenApiExample("Unlocked", value=shapes.PAID, response_only=True),
        ],
    )
    @replayable
    def unlock(self, request: Request, job_id: str) -> Response:
        """The charge and the unlock are one transaction. Of two calls at once, one is
        charged and the other one gets `ALREADY_UNLOCKED`.
        """
        try:
            unlocked = unlocks.unlock(
                account_id=user_of(request).pk, restoration_id=shapes.id_of(job_id)
            )
        except ledger.InsufficientCredits as poor:
            available = two_places(to_micro(poor.facts["available"]))
            raise TooFewCredits(
                f"{poor.message} Buy credits, then unlock the photo again.",
                credits_available=available,
            ) from poor
        return Response(
            {
                "full_image_url": photos.addresses_of(unlocked.restoration).full,
                "credits_remaining": two_places(unlocked.balance_micro),
            }
        )

    @extend_schema(
        summary="Start the share that unlocks one photo",
        parameters=[ID],
        request=None,
        responses={
            200: OpenApiResponse(
                shapes.ShareAddresses, "Open one of them within 10 minutes."
            ),
            400: OpenApiResponse(description="`INVALID_STATE` with `status`."),
            403: OpenApiResponse(description="`SOCIAL_SHARE_USED`."),
            404: OpenApiResponse(description="`NOT_FOUND`."),
            409: OpenApiResponse(description="`ALREADY_UNLOCKED`."),
        },
        examples=[
            OpenApiExample("Where to share", value=shapes.SHARE, response_only=True)
        ],
    )
    @replayable
    def share(self, request: Request, job_id: str) -> Response:
        """Open one of the addresses, share, then confirm. Once an account."""
        account_id, restoration_id = user_of(request).pk, shapes.id_of(job_id)
        token = shares.start(account_id=account_id, restoration_id=restoration_id)
        base = f"{settings.PUBLIC_BASE_URL}/api/restorations/{restoration_id}"
        addresses: dict[str, Any] = {
            name: f"{base}/share-redirect/{name}/?s={token}"
            for name in shares.PLATFORMS
        }
        addresses["instagram"] = {
            "type": "manual",
            "caption": f"{shares.CAPTION} {shares.link_of(account_id)}",
            "deep_link": "instagram://app",
        }
        # The addresses end in 10 minutes, so no key repeats them for 30 days.
        return unchanged(Response(addresses))

    @extend_schema(
        summary="Unlock the photo that was shared",
        parameters=[ID],
        request=None,
        responses={
            200: OpenApiResponse(shapes.FullImage, "Unlocked."),
            400: OpenApiResponse(
                description="`INVALID_STATE` with `status`; `SHARE_NOT_INITIATED`: no"
                " share address was opened in the last 10 minutes."
            ),
            403: OpenApiResponse(description="`SOCIAL_SHARE_USED`."),
            404: OpenApiResponse(description="`NOT_FOUND`."),
            409: OpenApiResponse(description="`ALREADY_UNLOCKED`."),
        },
        examples=[
            OpenApiExample(
                "Unlocked",
                value={"full_image_url": shapes.PAID["full_image_url"]},
                response_only=True,
            )
        ],
    )
    @replayable
    def confirm(self, request: Request, job_id: str) -> Response:
        """Sets `social_share_unlock_used`."""
        restoration = shares.confirm(
            account_id=user_of(request).pk, restoration_id=shapes.id_of(job_id)
        )
        return Response({"full_image_url": photos.addresses_of(restoration).full})


class ShareRedirectViewSet(Reviv, ViewSet):
    # A visitor who follows a link sends no credential that matters here.
    authentication_classes: list[Any] = []
    accepts = {"follow": PUBLIC}

    @extend_schema(
        summary="Follow a share address",
        parameters=[
            ID,
            OpenApiParameter(
                "platform", str, OpenApiParameter.PATH, enum=[*shares.PLATFORMS]
            ),
            OpenApiParameter("s", str, required=True, description="The signed token."),
        ],
        responses={
            302: OpenApiResponse(
                description="To the platform. The opening is recorded."
            ),
            400: OpenApiResponse(
                description="`MISSING_SHARE_TOKEN`, `INVALID_SHARE_TOKEN`,"
                " `SHARE_FLOW_EXPIRED` or `INVALID_PLATFORM`."
            ),
        },
    )
    def follow(self, request: Request, job_id: str, platform: str) -> Response:
        """Opened in the browser, without a credential: the token is one."""
        token = request.query_params.get("s", "")
        if not token:
            raise MissingShareToken("The address lacks its token `s`.")
        address = shares.open_address(
            restoration_id=shapes.id_or_none(job_id), platform=platform, token=token
        )
        headers = {"Location": address, "Referrer-Policy": "no-referrer"}
        return Response(status=302, headers=headers)


urlpatterns = [
    *either_slash(
        "restorations/<str:job_id>/unlock/", UnlockViewSet.as_view({"post": "unlock"})
    ),
    *either_slash(
        "restorations/<str:job_id>/share-unlock/",
        UnlockViewSet.as_view({"post": "share"}),
    ),
    *either_slash(
        "restorations/<str:job_id>/share-redirect/<str:platform>/",
        ShareRedirectViewSet.as_view({"get": "follow"}),
    ),
    *either_slash(
        "restorations/<str:job_id>/confirm-share/",
        UnlockViewSet.as_view({"post": "confirm"}),
    ),
]

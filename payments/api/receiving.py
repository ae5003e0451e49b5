"""The receiver of Stripe's webhooks, at the two paths that the guides promise."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.credentials.access import PUBLIC, Access
from payments import inbox


class Receipt(serializers.Serializer[Any]):
    received = serializers.BooleanField()


class Receiver:
    """A view mixin, to be listed before the contract's base class.

    Only Stripe's signature authenticates the caller.
    """

    authentication_classes: Sequence[Any] = ()
    accepts: Mapping[str, Access] = {"receive": PUBLIC}
    unlimited: ClassVar[bool] = True

    def _receive(self, request: Request) -> Response:
        # Stripe signs the raw bytes; a parsed and re-encoded body would not verify.
        raw = request._request
        inbox.receive(body=raw.body, signature=raw.headers.get("Stripe-Signature", ""))
        return Response({"received": True})

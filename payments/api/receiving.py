"""Stripe's webhook, behind the addresses that two guides promise."""

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
    """Put it left of the contract. Whoever calls is known by the signature alone."""

    authentication_classes: Sequence[Any] = ()
    accepts: Mapping[str, Access] = {"receive": PUBLIC}
    unlimited: ClassVar[bool] = True

    def _receive(self, request: Request) -> Response:
        # The very bytes: what a parser makes of them has another signature.
        raw = request._request
        inbox.receive(body=raw.body, signature=raw.headers.get("Stripe-Signature", ""))
        return Response({"received": True})

"""reviv guide, "Credits / Payments": the last transactions, newest first."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import user_of
from accounts.credentials.access import Access
from accounts.credentials.principals import Kind
from accounts.partners import first_party
from focus.contracts.reviv import Reviv
from focus.money import from_micro
from focus.web.routing import either_slash
from wallet import statements
from wallet.models import Entry, Grant

# The guide: "List last 50 credit transactions".
LISTED = 50
TYPES = ("purchase", "unlock", "refund", "grant", "adjustment", "job", "usage")
_OF_GRANTS = {
    Grant.Source.PURCHASE: "purchase",
    Grant.Source.PLAN: "purchase",
    Grant.Source.ADJUSTMENT: "adjustment",
    Grant.Source.REFUND: "refund",
    Grant.Source.REINSTATED: "refund",
}
_OF_KINDS = {
    Entry.Kind.CONSUME: "usage",
    Entry.Kind.ADJUST: "adjustment",
    Entry.Kind.LAPSE: "adjustment",
    # Refunds of a payment, and their reversal.
    Entry.Kind.CLAW_BACK: "refund",
    Entry.Kind.REINSTATE: "refund",
}


class Transaction(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    amount = serializers.FloatField(help_text="Exact; below 0 where credits left.")
    transaction_type = serializers.ChoiceField(TYPES)
    created_at = serializers.DateTimeField()


class TransactionViewSet(Reviv, ViewSet):
    accepts = {"list": Access(frozenset({Kind.JWT}))}

    @extend_schema(
        summary="List the last 50 transactions",
        responses={200: OpenApiResponse(Transaction(many=True), "Newest first.")},
        examples=[
            OpenApiExample(
                "A purchase",
                value={
                    "id": 10,
                    "amount": 5,
                    "transaction_type": "purchase",
                    "created_at": "2026-01-31T12:00:00Z",
                },
                response_only=True,
            )
        ],
    )
    def list(self, request: Request) -> Response:
        """Return the last changes of the balance."""
        changes = statements.balance_changes(
            account_id=user_of(request).pk, limit=LISTED
        )
        return Response([_row(entry, micro) for entry, micro in changes])


def _row(entry: Entry, micro: int) -> dict[str, Any]:
    return {
        "id": entry.pk,
        "amount": from_micro(micro),
        "transaction_type": _type(entry),
        "created_at": entry.booked_at,
    }


def _type(entry: Entry) -> str:
    if entry.kind == Entry.Kind.GRANT and entry.grant is not None:
        return _OF_GRANTS.get(Grant.Source(entry.grant.source), "grant")
    if _is_unlock(entry):
        return "unlock"
    return _OF_KINDS.get(Entry.Kind(entry.kind), "job")


def _is_unlock(entry: Entry) -> bool:
    """Whether reviv charged the unlock of a photo. The money key says so."""
    if entry.app is None or entry.app.slug != "reviv" or entry.key is None:
        return False
    unlock = f"consume:{entry.app.pk}:unlock:"
    return first_party.is_hosted(entry.app) and entry.key.startswith(unlock)


urlpatterns = either_slash(
    "credits/transactions/", TransactionViewSet.as_view({"get": "list"})
)

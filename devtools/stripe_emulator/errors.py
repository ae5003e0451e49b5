"""Stripe's error responses."""

from typing import Any


class Refused(Exception):
    """One of Stripe's error responses.

    `facts` are further members of the error object (decline_code, payment_intent).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": kind, **facts}
        if code:
            self.error["code"] = code
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{code}"
        if param:
            self.error["param"] = param


def missing(kind: str, name: str, *, param: str, status: int = 404) -> Refused:
    """Return the error of an unknown id: 404 in a path, 400 in a parameter."""
    return Refused(
        f"No such {kind}: '{name}'", status=status, code="resource_missing", param=param
    )


def required(params: dict[str, Any], name: str) -> Any:
    """Return a parameter that Stripe requires, though its document does not say so."""
    if name not in params:
        raise Refused(
            f"Missing required param: {name}.", code="parameter_missing", param=name
        )
    return params[name]


def declined(code: str, decline_code: str, message: str, **facts: Any) -> Refused:
    """Return the 402 of a declined card."""
    return Refused(
        message,
        status=402,
        kind="card_error",
        code=code,
        decline_code=decline_code,
        **facts,
    )

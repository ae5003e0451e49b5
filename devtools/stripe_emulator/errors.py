"""How Stripe says no."""

from typing import Any


class Refused(Exception):
    """One of Stripe's error answers.

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
    """404 where the address names it, 400 where a parameter does."""
    return Refused(
        f"No such {kind}: '{name}'", status=status, code="resource_missing", param=param
    )


def required(params: dict[str, Any], name: str) -> Any:
    """The parameter, where the document does not say that it must be there."""
    if name not in params:
        raise Refused(
            f"Missing required param: {name}.", code="parameter_missing", param=name
        )
    return params[name]


def declined(code: str, decline_code: str, message: str, **facts: Any) -> Refused:
    return Refused(
        message,
        status=402,
        kind="card_error",
        code=code,
        decline_code=decline_code,
        **facts,
    )

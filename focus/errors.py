"""The one exception family that rules raise and contracts translate."""


class DomainError(Exception):
    """The business said no. Rules raise it; contracts decide how "no" reads.

    `code` is snake_case and public (each contract maps or upcases it), `facts`
    are the fields a refusal carries beside its message. Raising one inside
    `atomic` rolls the transaction back: a refusal changes nothing.
    """

    code = "invalid_request"
    # Where the same request may succeed by itself a little later.
    retry_after_seconds: int | None = None
    # Whether a credential was sent that never was one: those are counted.
    wrong_guess = False

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class NotFound(DomainError):
    """There is no such thing, or it is not the caller's to see."""

    code = "not_found"

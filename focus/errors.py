"""The exceptions that rules raise and contracts translate into responses."""


class DomainError(Exception):
    """A refusal by a rule. The contract chooses its status and shape.

    `code` is snake_case and public; each contract maps or upcases it. `facts` are the
    refusal's fields beside its message. Raising one inside `atomic` rolls the
    transaction back, so a refusal changes nothing.
    """

    code = "invalid_request"
    # Set if the same request may succeed after that time.
    retry_after_seconds: int | None = None
    # Whether the request sent an invalid credential; the limiter counts those.
    wrong_guess = False

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class NotFound(DomainError):
    """The object does not exist, or the caller may not see it."""

    code = "not_found"

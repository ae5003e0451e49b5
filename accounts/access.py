"""The declared table: which credentials an action takes, and which scope it asks for.

Every view says it once, as `accepts = {"<action>": Access(...)}`. The OpenAPI documents
and the test of every endpoint with every credential read the same table.
"""

from dataclasses import dataclass

from accounts.principals import Kind, Principal
from focus.errors import DomainError

# A person, by whatever they hold.
PEOPLE = frozenset({Kind.SESSION, Kind.JWT, Kind.CLERK, Kind.PAT})
# A person who is there, or was a moment ago: not a script with a long-lived token.
PRESENT = frozenset({Kind.SESSION, Kind.JWT, Kind.CLERK})
# The same for guides that know no other sign-in than ours.
SIGNED_IN_HERE = frozenset({Kind.SESSION, Kind.JWT})
APPS = frozenset({Kind.APP_KEY})
# ClipForge's guide: "X-Api-Key" for servers, a JWT for people.
KEY_OR_JWT = frozenset({Kind.USER_KEY, Kind.JWT})


@dataclass(frozen=True, slots=True)
class Access:
    """Open to these kinds of credential; a personal access token needs `scope` too.

    Without a scope any token will do, however few scopes it has.
    """

    kinds: frozenset[Kind]
    scope: str | None = None


PUBLIC = Access(frozenset())
# Where a view forgot to say: nobody may call it.
CLOSED = Access(frozenset())


class Unauthenticated(DomainError):
    code = "unauthenticated"


class CredentialNotAccepted(DomainError):
    code = "credential_not_accepted"


class InsufficientScope(DomainError):
    code = "insufficient_scope"


def check(*, access: Access, principal: Principal | None) -> None:
    """Let `principal` through, or refuse with the reason. None is a stranger."""
    if access is PUBLIC:
        return
    if principal is None:
        raise Unauthenticated("Sign in or send a credential.")
    if principal.kind not in access.kinds:
        raise CredentialNotAccepted("This kind of credential is not accepted here.")
    lacks = principal.scopes is not None and access.scope not in principal.scopes
    if access.scope is not None and lacks:
        raise InsufficientScope(
            f"The token lacks the scope {access.scope}.", required_scope=access.scope
        )

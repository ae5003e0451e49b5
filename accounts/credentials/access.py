"""The declared table: which credentials an action takes, and which scope it asks for.

Every view says it once, as `accepts = {"<action>": Access(...)}`. The OpenAPI documents
and the test of every endpoint with every credential read the same table.
"""

from dataclasses import dataclass
from enum import StrEnum

from accounts.credentials.principals import Kind, Principal
from accounts.models import App
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


class Bound(StrEnum):
    """Which credentials that are bound to an app an action takes."""

    NONE = "none"
    # Any app's. The action itself keeps to that app (`require_own_app`).
    APP = "app"
    # Those of apps that staff marked as family.
    FAMILY = "family"
    # Those of the first-party app that is named as the contract: its hosted work.
    PRODUCT = "product"


@dataclass(frozen=True, slots=True)
class Access:
    """Open to these kinds of credential; a personal access token needs `scope` too.

    Without a scope any token will do, however few scopes it has. A credential that is
    bound to an app is refused unless `bound` takes it: a new action takes none.
    """

    kinds: frozenset[Kind]
    scope: str | None = None
    bound: Bound = Bound.NONE


PUBLIC = Access(frozenset())
# Where a view forgot to say: nobody may call it.
CLOSED = Access(frozenset())


class Unauthenticated(DomainError):
    code = "unauthenticated"


class CredentialNotAccepted(DomainError):
    code = "credential_not_accepted"


class InsufficientScope(DomainError):
    code = "insufficient_scope"


class TokenBoundToApp(DomainError):
    """The credential was handed to an app, and this is not that app's. Facts: `app`."""

    code = "token_bound_to_app"


def check(*, access: Access, principal: Principal | None, product: str = "") -> None:
    """Let `principal` through, or refuse with the reason. None is a stranger.

    `product` is the slug of the first-party app that an action of hosted work is of.
    """
    if access is PUBLIC:
        return
    if principal is None:
        raise Unauthenticated("Sign in or send a credential.")
    if principal.bound_to is not None:
        _check_bound(access.bound, principal.bound_to, product)
    if principal.kind not in access.kinds:
        raise CredentialNotAccepted("This kind of credential is not accepted here.")
    lacks = principal.scopes is not None and access.scope not in principal.scopes
    if access.scope is not None and lacks:
        raise InsufficientScope(
            f"The token lacks the scope {access.scope}.", required_scope=access.scope
        )


def require_own_app(*, principal: Principal, app: str) -> None:
    """Refuse a bound credential that asks about another app than its own (a slug)."""
    bound = principal.bound_to
    if bound is not None and bound.slug != app:
        raise _bound_elsewhere(bound)


def may_let_in(*, principal: Principal, app: App) -> bool:
    """Whether a use of `app` with this credential records the person's consent.

    First-party credentials, those bound to that very app, and personal access tokens
    that may start jobs. All others only read.
    """
    if principal.read_only or not principal.may_consent:
        return False
    if principal.bound_to is not None:
        return principal.bound_to.pk == app.pk
    if principal.kind is Kind.PAT:
        return "jobs:write" in (principal.scopes or ())
    return principal.kind in PRESENT


def _check_bound(taken: Bound, app: App, product: str) -> None:
    passes = {
        Bound.NONE: False,
        Bound.APP: True,
        Bound.FAMILY: app.family,
        Bound.PRODUCT: bool(product) and app.slug == product,
    }
    if not passes[taken]:
        raise _bound_elsewhere(app)


def _bound_elsewhere(app: App) -> TokenBoundToApp:
    return TokenBoundToApp(
        f"This credential was handed to the app {app.slug} and only serves that app.",
        app=app.slug,
    )

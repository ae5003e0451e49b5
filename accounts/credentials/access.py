"""Access rules: which kinds of credential an action accepts, and which scope it needs.

Every view declares them once, as `accepts = {"<action>": Access(...)}`. The OpenAPI
documents and the test of every endpoint with every credential read the same table.
"""

from dataclasses import dataclass
from enum import StrEnum

from accounts.credentials.principals import Kind, Principal
from accounts.models import App
from focus.errors import DomainError

# A user, with any kind of credential.
PEOPLE = frozenset({Kind.SESSION, Kind.JWT, Kind.CLERK, Kind.PAT})
# A user who is present or was moments ago, not a script with a long-lived token.
PRESENT = frozenset({Kind.SESSION, Kind.JWT, Kind.CLERK})
# The same, for guides that promise only our own sign-in.
SIGNED_IN_HERE = frozenset({Kind.SESSION, Kind.JWT})
APPS = frozenset({Kind.APP_KEY})
# ClipForge's guide: "X-Api-Key" for servers, a JWT for people.
KEY_OR_JWT = frozenset({Kind.USER_KEY, Kind.JWT})


class Bound(StrEnum):
    """Which app-bound credentials an action accepts."""

    NONE = "none"
    # Those of any app. The action itself must call `require_own_app`.
    APP = "app"
    # Those of apps that staff marked as Focus family.
    FAMILY = "family"
    # Those of the first-party app with the contract's name, for its hosted work.
    PRODUCT = "product"


@dataclass(frozen=True, slots=True)
class Access:
    """The credentials that one action accepts.

    `kinds` are accepted. A personal access token also needs `scope`; with None it needs
    no scope at all. A credential that is bound to an app is refused unless `bound`
    accepts it, so a new action refuses all of them.
    """

    kinds: frozenset[Kind]
    scope: str | None = None
    bound: Bound = Bound.NONE


PUBLIC = Access(frozenset())
# For an action without an entry in its view's table: every caller is refused.
CLOSED = Access(frozenset())


class Unauthenticated(DomainError):
    code = "unauthenticated"


class CredentialNotAccepted(DomainError):
    code = "credential_not_accepted"


class InsufficientScope(DomainError):
    code = "insufficient_scope"


class TokenBoundToApp(DomainError):
    """The credential is bound to an app and not valid here. Facts: `app`, its slug."""

    code = "token_bound_to_app"


def check(*, access: Access, principal: Principal | None, product: str = "") -> None:
    """Raise unless `access` accepts `principal`. None means: no credential was sent.

    `product` is the slug of the first-party app, for actions of its hosted work. Raises
    `Unauthenticated`, `TokenBoundToApp`, `CredentialNotAccepted` or
    `InsufficientScope`.
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
    """Raise `TokenBoundToApp` if the credential is bound to another app than `app`."""
    bound = principal.bound_to
    if bound is not None and bound.slug != app:
        raise _bound_elsewhere(bound)


def may_let_in(*, principal: Principal, app: App) -> bool:
    """Return whether using `app` with this credential records the user's consent.

    True for first-party credentials, for credentials bound to that app, and for
    personal access tokens with the scope `jobs:write`.
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
        Bound.PRODUCT: bool(product) and app.slug == product and not app.owner_id,
    }
    if not passes[taken]:
        raise _bound_elsewhere(app)


def _bound_elsewhere(app: App) -> TokenBoundToApp:
    return TokenBoundToApp(
        f"This credential was handed to the app {app.slug} and only serves that app.",
        app=app.slug,
    )

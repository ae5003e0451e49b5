"""Authentication of API requests: one dispatcher for every kind of credential.

It turns the credential of a request into a `Principal`. A list of DRF authenticators
would not work. The first one that cannot parse a bearer token refuses the request, so
DRF does not try the next one.
"""

import re
import uuid
from dataclasses import replace
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import (
    AuthenticationFailed,
    NotAuthenticated,
    PermissionDenied,
)
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts import same_site
from accounts.audit import Visitor
from accounts.credentials import (
    access,
    app_keys,
    jwt,
    opaque,
    proofs,
    tokens,
    user_keys,
)
from accounts.credentials.principals import (
    AppInactive,
    InvalidToken,
    KeyInactive,
    Kind,
    MalformedToken,
    NotAGuess,
    Principal,
    TokenExpired,
)
from accounts.models import App, Session, User
from accounts.partners import origins
from accounts.partners.consents import AppNotGranted
from accounts.providers import arrivals, clerk, clerk_cookie
from accounts.providers.outbound import ServiceDown
from accounts.signin import bound_tokens, sessions
from focus.limiting import addresses, limits

Authenticated = tuple[User | Principal, Principal]

_SAFE = {"GET", "HEAD", "OPTIONS"}
_BROWSER_KEY = re.compile(r"[a-z0-9]{32,40}")


class Credentials(BaseAuthentication):
    """Authenticates one credential: that of a header, or else the browser's cookie.

    A request with a bad header is 401, even if it has a good cookie. `request.user`
    becomes the user, or the `Principal` itself for an app's key. `request.auth` is
    always the `Principal`.

    One query, and none for a malformed secret. The first request of a new Clerk user
    takes a few more. Raises `Limited` before the query if the caller's address has sent
    too many wrong secrets.
    """

    def authenticate(self, request: Any) -> Authenticated | None:
        meta = request._request.META
        try:
            if (key := meta.get("HTTP_X_API_KEY")) is not None:
                return _by_api_key(key, request._request)
            if (header := meta.get("HTTP_AUTHORIZATION")) is not None:
                return _by_bearer(header, request._request)
        except (InvalidToken, TokenExpired) as refusal:
            raise AuthenticationFailed(refusal.message, code=refusal.code) from refusal
        except (AppInactive, AppNotGranted, KeyInactive) as refusal:
            raise PermissionDenied(refusal.message, code=refusal.code) from refusal
        return self.by_cookie(request._request)

    def by_cookie(self, request: HttpRequest) -> Authenticated | None:
        session = browser_session(request)
        if session is None:
            return _by_clerk_cookie(request)
        same_site.refuse_cross_site(request)
        return _by_session(
            session,
            bound_to=_calling_app(request, session.user),
            may_consent=same_site.may_consent(request.META),
        )

    def authenticate_header(self, request: Any) -> str:
        return "Bearer"


class ReturningCredentials(Credentials):
    """Authenticates users who return from another site's redirect.

    Such a request carries the cookie, so the same-site checks would refuse it. The view
    must check a `state` that this browser was given.
    """

    def by_cookie(self, request: HttpRequest) -> Authenticated | None:
        session = browser_session(request)
        return _by_session(session) if session else None


class Accepts(BasePermission):
    """Checks the `accepts` table of a view. An action without an entry is closed."""

    def has_permission(self, request: Any, view: Any) -> bool:
        declared = getattr(view, "accepts", {}).get(view.action, access.CLOSED)
        product = getattr(view, "slug", "")
        caller = principal_or_none(request)
        access.check(access=declared, principal=caller, product=product)
        return True


class CallerUnknown(RuntimeError):
    """A door asked for a caller that its authentication did not establish.

    This is an error of the program: the view did not run authentication, or its
    `accepts` table lets in a caller that has no user.
    """


def principal_or_none(request: Request) -> Principal | None:
    """Return the principal of an API request, None for one without a credential."""
    return cast(Principal | None, request.auth)


def principal_of(request: Request) -> Principal:
    """Return the principal of an API request. Raises `CallerUnknown` without one."""
    principal = principal_or_none(request)
    if principal is None:
        raise CallerUnknown(f"{request.path} has not authenticated its caller.")
    return principal


def user_of(request: Request | HttpRequest) -> User:
    """Return the user behind an API request, or behind Django's session in the admin.

    Raises `CallerUnknown` for an anonymous request and for an app's own key.
    """
    user = principal_of(request).user if isinstance(request, Request) else request.user
    if not isinstance(user, User):
        raise CallerUnknown(f"The caller of {request.path} is not a user.")
    return user


def require_second_proof(request: Request) -> None:
    """Apply `proofs.require_second_proof` to the session behind a request.

    A Clerk token has no session here: Clerk asks for its own second factor, and the
    token lives for a minute.
    """
    session_id = principal_of(request).session_id
    if session_id is not None:
        proofs.require_second_proof(session=sessions.find(session_id=session_id))


def visitor(request: HttpRequest) -> Visitor:
    """Return the address and the user agent of a request, cut to fit our columns."""
    meta = request.META
    agent = meta.get("HTTP_USER_AGENT", "").replace("\x00", "")[:400]
    address = addresses.client(meta)
    return Visitor(ip=str(address) if address else None, user_agent=agent)


def browser_session(request: HttpRequest) -> Session | None:
    """Return the live session of the browser's cookie. One query, none without a
    cookie.
    """
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    if not _BROWSER_KEY.fullmatch(key):
        return None
    return sessions.find_in_browser(browser_key=key)


def bearer_token(header: str) -> str:
    """Return the token of an `Authorization: Bearer` header.

    The scheme is case-insensitive and may be followed by several spaces (RFC 9110,
    11.4). Raises `MalformedToken` for another scheme.
    """
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise MalformedToken("The Authorization header must be a Bearer token.")
    return token.strip()


def _by_bearer(header: str, request: HttpRequest) -> Authenticated:
    secret = bearer_token(header)
    if secret.startswith(opaque.PAT):
        _require_guesses_left(secret, opaque.PAT, request)
        token = tokens.find(secret=secret, visitor=visitor(request))
        scopes = frozenset(token.scopes)
        return token.user, Principal(
            Kind.PAT, user=token.user, scopes=scopes, token_id=token.pk
        )
    if secret.startswith(opaque.APP_KEY):
        _require_guesses_left(secret, opaque.APP_KEY, request)
        key = app_keys.find(secret=secret)
        principal = Principal(Kind.APP_KEY, app=key.app, token_id=key.pk)
        return principal, principal
    if secret.count(".") == 2 and clerk.is_clerk_token(secret):
        return _by_clerk_visit(clerk.read(secret), request)
    if secret.count(".") == 2:
        claims = jwt.read(jwt.ACCESS, secret)
        session_id, app = uuid.UUID(claims["sid"]), None
        if "azp" in claims:
            session, app = bound_tokens.find(session_id=session_id, app=claims["azp"])
        else:
            session = sessions.find(session_id=session_id)
        return session.user, Principal(
            Kind.JWT, user=session.user, session_id=session.pk, bound_to=app
        )
    raise MalformedToken("The token is invalid.")


def _require_guesses_left(secret: str, prefix: str, request: HttpRequest) -> None:
    """Raise `Limited` if this address has made too many wrong guesses.

    A malformed secret costs no lookup, so it is not limited. JWTs are not limited
    either: only a signature makes one valid, so a genuine JWT works from an address
    that also sends guesses.
    """
    if opaque.is_well_formed(secret, prefix=prefix):
        limits.tally_of(request).require_guesses_left(secret)


def _by_api_key(secret: str, request: HttpRequest) -> Authenticated:
    """Authenticate a user key. A bearer token beside it must be of the same user; then
    the bearer token decides.
    """
    _require_guesses_left(secret, opaque.USER_KEY, request)
    key = user_keys.find(secret=secret, visitor=visitor(request))
    if (header := request.META.get("HTTP_AUTHORIZATION")) is None:
        return key.user, Principal(Kind.USER_KEY, user=key.user, token_id=key.pk)
    believed = _by_bearer(header, request)
    if believed[1].user != key.user:
        raise NotAGuess("The two credentials belong to different accounts.")
    return believed


def _by_session(
    session: Session, *, bound_to: App | None = None, may_consent: bool = False
) -> Authenticated:
    return session.user, Principal(
        Kind.SESSION,
        user=session.user,
        session_id=session.pk,
        bound_to=bound_to,
        may_consent=may_consent,
    )


def _calling_app(request: HttpRequest, user: User) -> App | None:
    """Return the app that owns the page which sent the browser's cookie, None for our
    own pages.

    On an app's page the cookie grants what that app's tokens grant. A page of an
    unknown origin is refused, even where the browser would hide the response.
    """
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None or origins.is_first_party(origin):
        return None
    try:
        app = bound_tokens.app_by_origin(origin=origin, user=user)
    except AppNotGranted as revoked:
        raise NotAuthenticated(revoked.message) from revoked
    if app is None:
        raise same_site.cross_site_refusal()
    return app


def _by_clerk_cookie(request: HttpRequest) -> Authenticated | None:
    """Authenticate Clerk's own session cookie.

    Returns None for an invalid or expired token, as for no cookie: the browser sends
    what it has, and the sign-in page follows.
    """
    token = clerk_cookie.read(request)
    if token is None:
        return None
    try:
        visit = clerk.read(token)
        if visit.party is None and not same_site.is_first_party_request(request.META):
            return None
        same_site.refuse_cross_site(request)
        origin = request.META.get("HTTP_ORIGIN")
        # The cookie is SameSite=None, so a page of any site can make the browser send
        # it.
        if origin not in (None, visit.party) and not origins.may_use_cookies(origin):
            raise same_site.cross_site_refusal()
        # The requesting page decides, because any page of the domain can set the
        # cookie.
        ours = origin is None or origins.is_first_party(origin)
        user, principal = _by_clerk_visit(visit, request, check_app=ours)
    except (InvalidToken, TokenExpired):
        return None
    except AppNotGranted as revoked:
        raise NotAuthenticated(revoked.message) from revoked
    calling = _calling_app(request, cast(User, principal.user))
    if calling is not None and calling != principal.bound_to:
        if principal.bound_to is not None:
            # The app that the token is bound to has a copy of it, and its server can
            # send any Origin. The token must not work as a token of another app.
            return None
        # An app's page must not get the token that our own page may read.
        principal = replace(principal, bound_to=calling, token="")
    may_consent = same_site.may_consent(request.META)
    return user, replace(principal, may_consent=may_consent)


def clerk_principal(request: HttpRequest) -> Principal | None:
    """Return the principal of Clerk's cookie on one of our pages, from any link.

    Use it only for pages that no other site can read and for forms with a checked CSRF
    token. Returns None without a valid token and when Clerk is unavailable; the caller
    then shows the sign-in form.
    """
    try:
        token = clerk_cookie.read(request)
        visit = clerk.read(token) if token else None
        if visit is None or (
            visit.party is None and not same_site.is_first_party_request(request.META)
        ):
            return None
        return _by_clerk_visit(visit, request, check_app=False)[1]
    except (InvalidToken, TokenExpired, PermissionDenied, ServiceDown):
        return None


def _by_clerk_visit(
    visit: clerk.Visit, request: HttpRequest, *, check_app: bool = True
) -> Authenticated:
    """Authenticate a genuine Clerk token. A new Clerk user gets an account here.

    With `check_app` the app that the token is bound to must be live and permitted by
    the user.
    """
    met = clerk.find(visit=visit)
    if met.app is not None and check_app:
        bound_tokens.require_permitted(met.app, live=True, revoked=met.revoked)
    user = met.user or arrivals.by_clerk(
        clerk_id=visit.clerk_id, visitor=visitor(request)
    )
    if visit.impersonator:
        clerk.note_impersonation(visit=visit, user=user, visitor=visitor(request))
        if request.method not in _SAFE:
            raise PermissionDenied(
                "Support can only read in another person's account.", code="read_only"
            )
    return user, Principal(
        Kind.CLERK,
        user=user,
        token=visit.token,
        expires_at=visit.expires_at,
        read_only=bool(visit.impersonator),
        bound_to=met.app,
    )

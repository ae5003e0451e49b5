"""From a request to a `Principal`: one dispatcher for every credential we know.

A list of DRF authenticators would not do: the first that meets a bearer it cannot parse
refuses it before the next one is asked.
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

Believed = tuple[User | Principal, Principal]

_SAFE = {"GET", "HEAD", "OPTIONS"}
_BROWSER_KEY = re.compile(r"[a-z0-9]{32,40}")


class Credentials(BaseAuthentication):
    """Believes at most one credential: a header's, else the browser's cookie.

    A header is never backed up by the cookie: a bad one is 401. `request.user` becomes
    the person, or the `Principal` itself for an app's key; `request.auth` is always the
    `Principal`. Costs one query; none for a secret that cannot be ours, and a few once
    for a newcomer whom Clerk has verified. Raises `Limited` before the
    query where the caller's address has sent too many wrong secrets.
    """

    def authenticate(self, request: Any) -> Believed | None:
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

    def by_cookie(self, request: HttpRequest) -> Believed | None:
        session = browser_session(request)
        if session is None:
            return _by_clerks_cookie(request)
        same_site.refuse_cross_site(request)
        return _in_browser(
            session,
            bound_to=_calling_app(request, session.user),
            may_consent=same_site.may_consent(request.META),
        )

    def authenticate_header(self, request: Any) -> str:
        return "Bearer"


class ReturningCredentials(Credentials):
    """For whom another site sends back to us: a link from there carries the cookie.

    What the view does then must hang on a state that this browser was given.
    """

    def by_cookie(self, request: HttpRequest) -> Believed | None:
        session = browser_session(request)
        return _in_browser(session) if session else None


class Accepts(BasePermission):
    """Holds a view to its declared table. An action missing from it is closed."""

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
    """Where this request came from, short enough for a row."""
    meta = request.META
    agent = meta.get("HTTP_USER_AGENT", "").replace("\x00", "")[:400]
    address = addresses.client(meta)
    return Visitor(ip=str(address) if address else None, user_agent=agent)


def browser_session(request: HttpRequest) -> Session | None:
    """The live session of the browser's cookie: one query, none without a cookie."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    if not _BROWSER_KEY.fullmatch(key):
        return None
    return sessions.find_in_browser(browser_key=key)


def bearer_token(header: str) -> str:
    """The token of an `Authorization` header, in any case of `Bearer` and with any
    number of spaces (RFC 9110, 11.4). Raises `MalformedToken` for another scheme.
    """
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise MalformedToken("The Authorization header must be a Bearer token.")
    return token.strip()


def _by_bearer(header: str, request: HttpRequest) -> Believed:
    secret = bearer_token(header)
    if secret.startswith(opaque.PAT):
        _examine(secret, opaque.PAT, request)
        token = tokens.find(secret=secret, visitor=visitor(request))
        scopes = frozenset(token.scopes)
        return token.user, Principal(
            Kind.PAT, user=token.user, scopes=scopes, token_id=token.pk
        )
    if secret.startswith(opaque.APP_KEY):
        _examine(secret, opaque.APP_KEY, request)
        key = app_keys.find(secret=secret)
        principal = Principal(Kind.APP_KEY, app=key.app, token_id=key.pk)
        return principal, principal
    if secret.count(".") == 2 and clerk.is_clerk_token(secret):
        return _visiting(clerk.read(secret), request)
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


def _examine(secret: str, prefix: str, request: HttpRequest) -> None:
    """Raise `Limited` where this address may not have another secret looked up.

    A misspelled secret needs no look-up. A JWT is judged by its signature alone, so a
    genuine one works from an address where others guess.
    """
    if opaque.is_well_formed(secret, prefix=prefix):
        limits.tally_of(request).require_guesses_left(secret)


def _by_api_key(secret: str, request: HttpRequest) -> Believed:
    """The key's person. A bearer beside it must be the same person's, and is used."""
    _examine(secret, opaque.USER_KEY, request)
    key = user_keys.find(secret=secret, visitor=visitor(request))
    if (header := request.META.get("HTTP_AUTHORIZATION")) is None:
        return key.user, Principal(Kind.USER_KEY, user=key.user, token_id=key.pk)
    believed = _by_bearer(header, request)
    if believed[1].user != key.user:
        raise NotAGuess("The two credentials belong to different accounts.")
    return believed


def _in_browser(
    session: Session, *, bound_to: App | None = None, may_consent: bool = False
) -> Believed:
    return session.user, Principal(
        Kind.SESSION,
        user=session.user,
        session_id=session.pk,
        bound_to=bound_to,
        may_consent=may_consent,
    )


def _calling_app(request: HttpRequest, user: User) -> App | None:
    """The app from the page of which the browser's cookie comes, None for our pages.

    A cookie on an app's page is as strong as that app's tokens. A page of an unknown
    origin may not use the cookie, not even where the browser would hide the answer.
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


def _by_clerks_cookie(request: HttpRequest) -> Believed | None:
    """Whom Clerk's own cookie signs in. A token that is not right is no sign-in: the
    browser sends what it has, and the sign-in page is the answer to that.
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
        # SameSite=None: a page from anywhere may have it sent, even to read.
        if origin not in (None, visit.party) and not origins.may_use_cookies(origin):
            raise same_site.cross_site_refusal()
        # The page that asks decides: any page of the domain may have set the cookie.
        ours = origin is None or origins.is_first_party(origin)
        user, principal = _visiting(visit, request, check_app=ours)
    except (InvalidToken, TokenExpired):
        return None
    except AppNotGranted as revoked:
        raise NotAuthenticated(revoked.message) from revoked
    calling = _calling_app(request, cast(User, principal.user))
    if calling is not None and calling != principal.bound_to:
        if principal.bound_to is not None:
            # The server of the app that it was made for has this token too, and can
            # write any Origin: it must not become a token of another app.
            return None
        # The page must not get the token of our own page.
        principal = replace(principal, bound_to=calling, token="")
    may_consent = same_site.may_consent(request.META)
    return user, replace(principal, may_consent=may_consent)


def clerk_principal(request: HttpRequest) -> Principal | None:
    """Whom Clerk's cookie brings to a page of ours, from wherever a link was.

    For a page that tells nobody else, and for a form that has been checked. It needs no
    more than a form in its place where Clerk or its keys are not to be had.
    """
    try:
        token = clerk_cookie.read(request)
        visit = clerk.read(token) if token else None
        if visit is None or (
            visit.party is None and not same_site.is_first_party_request(request.META)
        ):
            return None
        return _visiting(visit, request, check_app=False)[1]
    except (InvalidToken, TokenExpired, PermissionDenied, ServiceDown):
        return None


def _visiting(
    visit: clerk.Visit, request: HttpRequest, *, check_app: bool = True
) -> Believed:
    """The person behind a genuine token of Clerk's, who may be new here.

    Without `check_app` the app that the token is bound to may be one that the person
    took its permission back from.
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
                "Whoever acts in somebody's place may only look.", code="read_only"
            )
    return user, Principal(
        Kind.CLERK,
        user=user,
        token=visit.token,
        expires_at=visit.expires_at,
        read_only=bool(visit.impersonator),
        bound_to=met.app,
    )

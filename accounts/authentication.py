"""From a request to a `Principal`: one dispatcher for every credential we know.

A list of DRF authenticators would not do: the first that meets a bearer it cannot parse
refuses it before the next one is asked.
"""

import re
import uuid
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission

from accounts import (
    access,
    arrivals,
    clerk,
    clerk_cookie,
    jwt,
    opaque,
    origins,
    sessions,
    tokens,
    user_keys,
)
from accounts.audit import Visitor
from accounts.models import Session, User
from accounts.outbound import ServiceDown
from accounts.principals import (
    AppInactive,
    InvalidToken,
    KeyInactive,
    Kind,
    MalformedToken,
    NotAGuess,
    Principal,
    TokenExpired,
)
from focus import addresses, limits

Believed = tuple[User | Principal, Principal]

_SAFE = {"GET", "HEAD", "OPTIONS"}
_BROWSER_KEY = re.compile(r"[a-z0-9]{32,40}")


class Credentials(BaseAuthentication):
    """Believes at most one credential: a header's, else the browser's cookie.

    A header is never backed up by the cookie: a bad one is 401. `request.user` becomes
    the person, or the `Principal` itself for an app's key; `request.auth` is always the
    `Principal`. Costs one query; none for a secret that cannot be ours, and a few once
    for somebody whom Clerk vouches for and we have not met. Raises `Limited` before the
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
        except (AppInactive, KeyInactive) as refusal:
            raise PermissionDenied(refusal.message, code=refusal.code) from refusal
        return self.by_cookie(request._request)

    def by_cookie(self, request: HttpRequest) -> Believed | None:
        session = browser_session(request)
        if session is None:
            return _by_clerks_cookie(request)
        same_site_only(request)
        return _in_browser(session)

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
        access.check(access=declared, principal=request.auth)
        return True


def person(request: Any) -> User:
    """Whom a request speaks for, where only people's credentials are accepted."""
    return cast(User, cast(Principal, request.auth).user)


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
        key = tokens.find_app_key(secret=secret)
        principal = Principal(Kind.APP_KEY, app=key.app, token_id=key.pk)
        return principal, principal
    if secret.count(".") == 2 and clerk.is_one(secret):
        return _visiting(clerk.read(secret), request)
    if secret.count(".") == 2:
        claims = jwt.read(jwt.ACCESS, secret)
        session = sessions.find(session_id=uuid.UUID(claims["sid"]))
        return session.user, Principal(
            Kind.JWT, user=session.user, session_id=session.pk
        )
    raise MalformedToken("The token is invalid.")


def _examine(secret: str, prefix: str, request: HttpRequest) -> None:
    """Raise `Limited` where this address may not have another secret looked up.

    A misspelled secret needs no look-up. A JWT is judged by its signature alone, so a
    genuine one works from an address where others guess.
    """
    if opaque.is_well_formed(secret, prefix=prefix):
        limits.of(request).examine(secret)


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


def _in_browser(session: Session) -> Believed:
    principal = Principal(Kind.SESSION, user=session.user, session_id=session.pk)
    return session.user, principal


def _by_clerks_cookie(request: HttpRequest) -> Believed | None:
    """Whom Clerk's own cookie signs in. A token that is not right is no sign-in: the
    browser sends what it has, and the sign-in page is the answer to that.
    """
    token = clerk_cookie.read(request)
    if token is None:
        return None
    try:
        visit = clerk.read(token)
        if visit.party is None and not _from_here(request):
            return None
        same_site_only(request)
        origin = request.META.get("HTTP_ORIGIN")
        # SameSite=None: a page from anywhere may have it sent, even to read.
        if origin not in (None, visit.party) and not origins.may_use_cookies(origin):
            raise _cross_site()
        return _visiting(visit, request)
    except (InvalidToken, TokenExpired):
        return None


def clerks_guest(request: HttpRequest) -> Principal | None:
    """Whom Clerk's cookie brings to a page of ours, from wherever a link was.

    For a page that tells nobody else, and for a form that has been checked. It needs no
    more than a form in its place where Clerk or its keys are not to be had.
    """
    try:
        token = clerk_cookie.read(request)
        visit = clerk.read(token) if token else None
        if visit is None or (visit.party is None and not _from_here(request)):
            return None
        return _visiting(visit, request)[1]
    except (InvalidToken, TokenExpired, PermissionDenied, ServiceDown):
        return None


def _visiting(visit: clerk.Visit, request: HttpRequest) -> Believed:
    """The person behind a genuine token of Clerk's, who may be new here."""
    user = clerk.find(visit=visit) or arrivals.by_clerk(
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
    )


def _from_here(request: HttpRequest) -> bool:
    """Whether our own page asks, or no page at all."""
    site = request.META.get("HTTP_SEC_FETCH_SITE", "same-origin")
    origin = request.META.get("HTTP_ORIGIN")
    here = origin is None or origin in origins.ours()
    return here and site in ("same-origin", "none")


def same_site_only(request: HttpRequest) -> None:
    """Refuse what another site may have made a person's browser send.

    SameSite=Lax lets a link from anywhere carry the cookie, and a sibling subdomain may
    post text/plain with it and no preflight. Without Origin and Sec-Fetch-Site it is no
    browser, so nobody else's page is behind it.
    """
    meta = request.META
    site = meta.get("HTTP_SEC_FETCH_SITE")
    if request.method in _SAFE:
        if site == "cross-site":
            raise _cross_site()
        return
    origin = meta.get("HTTP_ORIGIN")
    if origin is None and site is None:
        return
    if site not in (None, "same-origin", "same-site"):
        raise _cross_site()
    if origin is not None and not origins.may_use_cookies(origin):
        raise _cross_site()
    empty = meta.get("CONTENT_LENGTH") in (None, "", "0")
    if not empty and request.content_type != "application/json":
        raise _cross_site()


def _cross_site() -> PermissionDenied:
    return PermissionDenied(
        "Another site may not use your browser session here.",
        code="cross_site_request",
    )

"""Sign-in with Google: OpenID Connect's code flow with PKCE, `state` and `nonce`.

1. `begin` stores the flow and returns the URL at Google.
2. `resume` takes the flow by the returned state. It does so before any request to
   Google, so one of several identical callbacks continues.
3. `finish` exchanges the code and verifies the ID token.

No token of Google's is stored.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from accounts import nonces
from accounts.credentials.principals import InvalidToken, TokenExpired
from accounts.providers import jwks, outbound
from focus.errors import DomainError

PROVIDER = "google"
LIVES_SECONDS = 600
# Google documents both spellings.
ISSUERS = ("https://accounts.google.com", "accounts.google.com")
SCOPES = "openid email profile"
_REQUIRED = ["iss", "aud", "sub", "exp", "iat", "nonce"]
ASKED_SECONDS = 300
_ASKED = "google-asked"
_LONGEST_CODE = 2048
_LONGEST_TOKEN = 16 * 1024


class NotConfigured(DomainError):
    """This server has no Google client id."""

    code = "provider_not_configured"


class InvalidGoogleState(DomainError):
    """The state is unknown, expired or already used."""

    code = "invalid_state"


class ExchangeFailed(DomainError):
    """Google did not return an ID token that passes verification."""

    code = "oauth_exchange_failed"


@dataclass(frozen=True, slots=True)
class StartedSignIn:
    """The URL to redirect to, and the secret for the browser's cookie (`browser`)."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    browser: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Flow:
    """A started sign-in, found by its state, with the `context` of `begin`."""

    context: dict[str, Any]
    _nonce: str = field(repr=False)
    _verifier: str = field(repr=False)
    _browser: str = field(repr=False)
    _redirect_uri: str = field(repr=False)

    def began_in(self, browser: str) -> bool:
        """Return whether `browser` is the secret that `begin` made for the browser."""
        return _is_same(browser, self._browser)


@dataclass(frozen=True, slots=True)
class Claims:
    """A Google account. Only `subject` identifies it; the email can change."""

    subject: str
    email: str
    # Google hosts the mailbox. A mere verification mail in the past is not enough.
    proves_email: bool
    first_name: str = ""
    last_name: str = ""


@dataclass(frozen=True, slots=True)
class SignInToConfirm:
    """A finished sign-in that the user has confirmed, and the door to continue at."""

    door: str
    context: dict[str, Any]
    claims: Claims


def is_configured() -> bool:
    """Return whether this server has a Google client id."""
    return bool(settings.GOOGLE_CLIENT_ID)


def begin(*, door: str, redirect_uri: str, context: dict[str, Any]) -> StartedSignIn:
    """Start a sign-in. Only `resume` with the same `door` returns its `context`.

    Raises `NotConfigured`, and `nonces.Unavailable` without Redis.
    """
    if not is_configured():
        raise NotConfigured("Sign-in with Google is not configured here.")
    nonce, verifier, browser = (secrets.token_urlsafe(32) for _ in range(3))
    state = nonces.keep(
        purpose=_purpose(door),
        facts={
            # Sign-ins that are under way while a release rolls out have this name.
            "wish": context,
            "nonce": nonce,
            "verifier": verifier,
            "browser": _digest(browser),
            "redirect_uri": redirect_uri,
        },
        seconds=LIVES_SECONDS,
    )
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    query = {
        "response_type": "code",
        "client_id": settings.GOOGLE_CLIENT_ID,
        "redirect_uri": redirect_uri,
        "scope": SCOPES,
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge.rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        # On a shared computer, do not sign in the last user's Google account.
        "prompt": "select_account",
    }
    url = f"{settings.GOOGLE_AUTHORIZE_URL}?{urlencode(query)}"
    return StartedSignIn(url, state, browser)


def resume(*, door: str, state: object) -> Flow:
    """Take what `begin` kept under `state`, once. Raises `InvalidGoogleState`."""
    try:
        facts = nonces.take(purpose=_purpose(door), nonce=state)
    except nonces.OtherPurpose as other:
        raise _invalid() from other
    if facts is None:
        raise _invalid()
    return Flow(
        context=facts["wish"],
        _nonce=facts["nonce"],
        _verifier=facts["verifier"],
        _browser=facts["browser"],
        _redirect_uri=facts["redirect_uri"],
    )


def finish(*, flow: Flow, code: str) -> Claims:
    """Exchange the code at Google and return the verified claims.

    Raises `ExchangeFailed`. Never call it inside a transaction.
    """
    if not 0 < len(code) <= _LONGEST_CODE:
        raise ExchangeFailed("The authorization code is not valid.")
    try:
        reply = outbound.post(
            settings.GOOGLE_TOKEN_URL,
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": flow._redirect_uri,
                "client_id": settings.GOOGLE_CLIENT_ID,
                "client_secret": settings.GOOGLE_CLIENT_SECRET,
                "code_verifier": flow._verifier,
            },
        )
        token = reply.json().get("id_token") if reply.status == 200 else None
        if not isinstance(token, str) or len(token) > _LONGEST_TOKEN:
            raise ExchangeFailed("Google did not accept the code.")
        return _claims(_verified_claims(token, flow._nonce))
    except outbound.ServiceDown as down:
        raise ExchangeFailed("Google did not answer. Please try again.") from down


def keep_for_confirmation(*, door: str, context: dict[str, Any], claims: Claims) -> str:
    """Store a sign-in that another browser started, and return a single-use nonce.

    The page asks the user to confirm before `take_confirmed` continues.
    """
    facts = {"door": door, "wish": context, "claims": asdict(claims)}
    return nonces.keep(purpose=_ASKED, facts=facts, seconds=ASKED_SECONDS)


def take_confirmed(*, nonce: object) -> SignInToConfirm:
    """Take the sign-in that the user has confirmed. Raises `InvalidGoogleState`."""
    try:
        facts = nonces.take(purpose=_ASKED, nonce=nonce)
    except nonces.OtherPurpose as other:
        raise _invalid() from other
    if facts is None:
        raise _invalid()
    return SignInToConfirm(facts["door"], facts["wish"], Claims(**facts["claims"]))


def _invalid() -> InvalidGoogleState:
    return InvalidGoogleState(
        "This sign-in has expired or was already used. Start again."
    )


def _verified_claims(token: str, nonce: str) -> dict[str, Any]:
    """Verify the ID token against our client id and `nonce`; return its claims."""
    unverified = ExchangeFailed("Google's answer could not be verified.")
    ours = settings.GOOGLE_CLIENT_ID
    try:
        claims = jwks.read(
            token,
            url=settings.GOOGLE_JWKS_URL,
            issuer=ISSUERS,
            required=_REQUIRED,
            audience=ours,
        )
    except (InvalidToken, TokenExpired) as broken:
        raise unverified from broken
    azp, value = claims.get("azp"), claims["nonce"]
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (azp is not None or several) and azp != ours:
        raise unverified
    if not isinstance(value, str) or not _is_same(value, _digest(nonce)):
        raise unverified
    return claims


def _claims(claims: dict[str, Any]) -> Claims:
    subject, email = claims["sub"], _text(claims, "email", 254)
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise ExchangeFailed("Google's answer could not be verified.")
    # https://developers.google.com/identity/gsi/web/guides/verify-google-id-token
    # "Google is authoritative" for its own mailboxes and for a Workspace's.
    is_googles = email.lower().endswith("@gmail.com") or bool(_text(claims, "hd", 255))
    verified = claims.get("email_verified") in (True, "true")
    return Claims(
        subject=subject,
        email=email,
        proves_email=bool(email) and verified and is_googles,
        first_name=_text(claims, "given_name", 150),
        last_name=_text(claims, "family_name", 150),
    )


def _text(claims: dict[str, Any], name: str, longest: int) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or len(value) > longest or "\x00" in value:
        return ""
    return value


def _purpose(door: str) -> str:
    return f"{PROVIDER}:{door}"


def _is_same(text: str, digest: str) -> bool:
    return hmac.compare_digest(_digest(text), digest)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

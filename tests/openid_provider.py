"""An OpenID provider like Google in its own process: code flow, PKCE, JWKS.

Run `python -m tests.openid_provider PORT`. Its page asks for the user, and for a fault
to produce. Otherwise it follows the standards: a code works once, for one client, one
redirect URI and one PKCE verifier.
"""

import base64
import hashlib
import hmac
import html
import json
import secrets
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CLIENT_ID, CLIENT_SECRET = "focus.apps.example", "a client's secret"
ISSUER = "https://accounts.google.com"
KID = "key-1"
# Longer than its clients' read timeout.
SLOW_SECONDS = 7

PAGE = """<!doctype html><title>Choose an account</title>
<link rel="icon" href="data:,"><h1>Choose an account</h1>
<form method="post" action="/authorize">{hidden}
<p><label>Email <input name="email" value="{email}"></label>
<p><label>Subject <input name="sub" value=""></label>
<p><label>Hosted domain <input name="hd" value=""></label>
<p><label>Verified <input name="email_verified" value="true"></label>
<p><label>Misbehave <input name="mode" value=""></label>
<p><button name="answer" value="allow">Allow</button>
<button name="answer" value="deny">Deny</button></form>"""


@dataclass(frozen=True)
class Grant:
    """The sign-in that a code stands for."""

    query: dict[str, str]
    person: dict[str, str]


class Provider:
    """The provider's keys, and the codes that it has issued."""

    def __init__(self) -> None:
        self.key = _new_key()
        self.other = _new_key()
        self.codes: dict[str, Grant] = {}
        self.lock = threading.Lock()

    def grant(self, query: dict[str, str], person: dict[str, str]) -> str:
        code = secrets.token_urlsafe(24)
        with self.lock:
            self.codes[code] = Grant(query, person)
        return code

    def redeem(self, form: dict[str, str]) -> Grant | None:
        """Return the grant of a code, once, and only for its own client."""
        with self.lock:
            grant = self.codes.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "").encode()
        challenge = _base64url(hashlib.sha256(verifier).digest())
        fits = (
            grant is not None
            and form.get("grant_type") == "authorization_code"
            and form.get("client_id") == CLIENT_ID
            and form.get("client_secret") == CLIENT_SECRET
            and form.get("redirect_uri") == grant.query["redirect_uri"]
            and challenge == grant.query["code_challenge"]
        )
        return grant if fits else None

    def jwks(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [public | {"kid": KID, "alg": "RS256", "use": "sig"}]}

    def id_token(self, grant: Grant) -> str:
        person, mode = grant.person, grant.person.get("mode", "")
        now = int(time.time())
        email = person["email"]
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "azp": CLIENT_ID,
            "aud": CLIENT_ID,
            "sub": person.get("sub") or f"sub-of-{email}",
            "email": email,
            "email_verified": person.get("email_verified", "true") == "true",
            "given_name": "Ada",
            "family_name": "Lovelace",
            "nonce": grant.query["nonce"],
            "iat": now,
            "exp": now + 3600,
        }
        if person.get("hd"):
            claims["hd"] = person["hd"]
        return self._sign(_spoiled(claims, mode, now), mode)

    def _sign(self, claims: dict[str, Any], mode: str) -> str:
        kid = "key-2" if mode == "other_kid" else KID
        if mode == "alg_none":
            return jwt.encode(claims, "", algorithm="none", headers={"kid": kid})
        if mode == "hs256":
            return self._confused(claims)
        key = self.other if mode in ("other_kid", "other_key") else self.key
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid})

    def _confused(self, claims: dict[str, Any]) -> str:
        """Sign by HMAC with the public key as the secret (algorithm confusion)."""
        public = self.key.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head = {"alg": "HS256", "typ": "JWT", "kid": KID}
        parts = [_base64url(json.dumps(part).encode()) for part in (head, claims)]
        signature = hmac.digest(pem, ".".join(parts).encode(), hashlib.sha256)
        return ".".join([*parts, _base64url(signature)])


def _spoiled(claims: dict[str, Any], mode: str, now: int) -> dict[str, Any]:
    spoils: dict[str, dict[str, Any]] = {
        "wrong_nonce": {"nonce": "another"},
        "odd_nonce": {"nonce": ["another"]},
        "wrong_aud": {"aud": "another client"},
        "two_auds": {"aud": [CLIENT_ID, "another client"], "azp": "another client"},
        "wrong_azp": {"azp": "another client"},
        "wrong_iss": {"iss": "https://accounts.google.com.evil.example"},
        "other_iss": {"iss": "accounts.google.com"},
        "expired": {"exp": now - 60, "iat": now - 3660},
        "future": {"iat": now + 600, "exp": now + 4000},
        "odd_sub": {"sub": ""},
    }
    left_out = mode.removeprefix("no_")
    return {k: v for k, v in (claims | spoils.get(mode, {})).items() if k != left_out}


class Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(where.query).items()}
        if where.path == "/certs":
            self._json(200, self.provider.jwks())
        elif where.path == "/authorize":
            self._authorize(query)
        else:
            self._json(404, {"error": "not_found"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        form = {k: v[0] for k, v in parse_qs(body).items()}
        if self.path == "/authorize":
            self._answer(form)
        elif self.path == "/token":
            self._token(form)
        else:
            self._json(404, {"error": "not_found"})

    def _authorize(self, query: dict[str, str]) -> None:
        if problem := _problem(query):
            self._json(400, {"error": "invalid_request", "what": problem})
            return
        hidden = "".join(
            f'<input type="hidden" name="q_{html.escape(name)}"'
            f' value="{html.escape(value)}">'
            for name, value in query.items()
        )
        page = PAGE.format(hidden=hidden, email="ada@gmail.com")
        self._send(200, page.encode(), "text/html; charset=utf-8")

    def _answer(self, form: dict[str, str]) -> None:
        query = {k[2:]: v for k, v in form.items() if k.startswith("q_")}
        if problem := _problem(query):
            self._json(400, {"error": "invalid_request", "what": problem})
            return
        answer = {"state": query["state"]}
        if form.get("answer") == "allow":
            answer["code"] = self.provider.grant(query, form)
        else:
            answer |= {"error": "access_denied", "error_description": "<b>no</b>"}
        self.send_response(302)
        self.send_header("Location", f"{query['redirect_uri']}?{urlencode(answer)}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _token(self, form: dict[str, str]) -> None:
        grant = self.provider.redeem(form)
        if grant is None:
            self._json(400, {"error": "invalid_grant"})
            return
        mode = grant.person.get("mode", "")
        if mode == "slow":
            time.sleep(SLOW_SECONDS)
        if mode == "token_500":
            self._json(500, {"error": "server_error"})
        elif mode == "not_json":
            self._send(200, b"<html>", "text/html")
        elif mode == "no_token":
            self._json(200, {"access_token": "x"})
        else:
            token = self.provider.id_token(grant)
            self._json(
                200,
                {
                    "access_token": secrets.token_urlsafe(24),
                    "expires_in": 3599,
                    "id_token": token,
                    "scope": grant.query["scope"],
                    "token_type": "Bearer",
                },
            )

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


def _problem(query: dict[str, str]) -> str:
    """Return the error of an authorization request, "" without one."""
    wanted = {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "code_challenge_method": "S256",
    }
    for name, value in wanted.items():
        if query.get(name) != value:
            return name
    for name in ("state", "nonce", "code_challenge"):
        # 256 bits in base64url.
        if len(query.get(name, "")) != 43:
            return name
    if "openid" not in query.get("scope", "").split():
        return "scope"
    return "" if query.get("redirect_uri", "").startswith("http") else "redirect_uri"


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


if __name__ == "__main__":
    Handler.provider = Provider()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()

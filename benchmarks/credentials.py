"""The cost of authenticating each kind of credential, as a share of a whole request.

One process, one thread, the real handler, database and Valkey. It repeats
`GET /api/jobs?limit=1`. The kinds take turns, so that the machine's other load affects
all of them alike.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

PATH = "/api/jobs?limit=1"
ROUNDS = 400
WARM_UP = 50


@dataclass
class Cost:
    """Seconds of each round: in the dispatcher, and altogether."""

    rounds: list[float]
    wholes: list[float]

    @property
    def believing(self) -> float:
        return median(self.rounds)

    @property
    def share(self) -> float:
        return self.believing / median(self.wholes)


def show() -> None:
    """Print the table."""
    costs = _measure(_shown())
    cheapest = min(cost.believing for cost in costs.values())
    print(f"\n{PATH}, one caller, {ROUNDS} requests of each kind in turns; medians\n")
    print(f"{'credential':36} of the request   of the cheapest   ms")
    for kind, cost in costs.items():
        print(
            f"{kind:36} {cost.share:14.2f}"
            f" {cost.believing / cheapest:17.2f}"
            f" {cost.believing * 1000:4.2f}"
        )
    print()


def _measure(shown: dict[str, dict[str, str]]) -> dict[str, Cost]:
    from django.core.wsgi import get_wsgi_application
    from django.test import RequestFactory

    handler = get_wsgi_application()
    factory = RequestFactory()
    costs = {kind: Cost([], []) for kind in shown}
    with _clocked() as believing:
        for turn in range(WARM_UP + ROUNDS):
            for kind, headers in shown.items():
                believing.clear()
                begun = time.perf_counter()
                answer: Any = handler(
                    factory.get(PATH, **headers).environ, lambda *_: None
                )
                b"".join(answer)
                answer.close()
                taken = time.perf_counter() - begun
                if answer.status_code != 200:
                    raise SystemExit(f"{kind}: {answer.status_code} {answer.content!r}")
                if turn >= WARM_UP:
                    costs[kind].rounds.append(sum(believing))
                    costs[kind].wholes.append(taken)
    return costs


@contextmanager
def _clocked() -> Iterator[list[float]]:
    """Collect the duration of each run of the dispatcher."""
    from accounts.authentication import Credentials

    taken: list[float] = []
    authenticate = Credentials.authenticate

    def clocked(self: Credentials, request: Any) -> Any:
        begun = time.perf_counter()
        try:
            return authenticate(self, request)
        finally:
            taken.append(time.perf_counter() - begun)

    Credentials.authenticate = clocked
    try:
        yield taken
    finally:
        Credentials.authenticate = authenticate


def _shown() -> dict[str, dict[str, str]]:
    """Return the headers of each kind of credential of one user and one app."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from django.conf import settings

    from accounts.credentials import app_keys, scopes, tokens
    from accounts.models import App, User
    from accounts.signin import sessions
    from accounts.signin.browser_sessions import SessionStore

    key = rsa.generate_private_key(65537, 2048)
    settings.CLERK_ISSUER = "https://clerk.example.com"
    settings.CLERK_JWT_KEY = (
        key.public_key()
        .public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        .decode()
    )
    user = User.objects.create(email="shown@example.com", clerk_id="user_bench")
    app = App.objects.create(slug="shown", name="Shown")
    signed_in = sessions.begin(
        user=user, client="bench", access_seconds=3600, methods=["pwd"]
    )
    store = SessionStore()
    store.create()
    browser = str(store.session_key)
    sessions.begin_in_browser(user=user, browser_key=browser, methods=["pwd"])
    bearers = {
        "access token (ES256)": signed_in.access_token,
        "personal access token": tokens.issue(
            user=user, name="bench", scopes=scopes.DEFAULT
        ).secret,
        "app key": app_keys.issue(app=app, name="bench").secret,
        "Clerk's token (RS256, by PEM)": _clerks(key),
    }
    cookie = f"{settings.SESSION_COOKIE_NAME}={browser}"
    return {
        kind: {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
        for kind, secret in bearers.items()
    } | {"browser session": {"HTTP_COOKIE": cookie}}


def _clerks(key: Any) -> str:
    import jwt

    now = int(time.time())
    claims = {
        "iss": "https://clerk.example.com",
        "sub": "user_bench",
        "sid": "sess_bench",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
    }
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "ins_1"})

"""Passkey ceremonies over HTTP, as a client of reviv's guide performs them."""

from typing import Any

from rest_framework.test import APIClient

from accounts.models import User
from accounts.signin import sessions
from tests.softauth import Authenticator

ADD = "/api/auth/passkey/register"
SIGN_IN = "/api/auth/passkey/login"
OPEN = "/api/auth/email-passkey/register"


def signed_in(user: User, methods: list[str] | None = None) -> APIClient:
    """Return a client with an access token, as reviv's clients have."""
    tokens = sessions.begin(
        user=user, client="test", access_seconds=900, methods=methods or ["pwd"]
    )
    return APIClient(headers={"Authorization": f"Bearer {tokens.access_token}"})


def begin(client: APIClient, where: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"{where}/begin/", body)
    assert answer.status_code == 200, answer.content
    options: dict[str, Any] = answer.json()
    return options


def add(client: APIClient, authenticator: Authenticator, **more: Any) -> Any:
    """Register a passkey for the user of `client`."""
    options = begin(client, ADD)
    sent = {
        "registration_id": options["registration_id"],
        "credential": authenticator.create(options),
    }
    return client.post(f"{ADD}/complete/", {**sent, **more})


def sign_in(authenticator: Authenticator, **said: Any) -> Any:
    """Sign in as the owner of the authenticator's passkey."""
    client = APIClient()
    options = begin(client, SIGN_IN)
    return complete_sign_in(client, options, authenticator.get(options, **said))


def complete_sign_in(
    client: APIClient, options: dict[str, Any], credential: Any
) -> Any:
    sent = {
        "authentication_id": options["authentication_id"],
        "credential": credential,
    }
    return client.post(f"{SIGN_IN}/complete/", sent)


def open_account(email: str, authenticator: Authenticator, **more: Any) -> Any:
    """Register with an email and a passkey."""
    client = APIClient()
    options = begin(client, OPEN, email=email)
    sent = {
        "registration_id": options["registration_id"],
        "credential": authenticator.create(options),
    }
    return client.post(f"{OPEN}/complete/", {**sent, **more})


def refused(answer: Any) -> str:
    """Return the code of a refusal in reviv's envelope."""
    assert answer.status_code == 400, answer.content
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["message"]
    return str(error["code"])

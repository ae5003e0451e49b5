"""A stub of X: OAuth 2.0 with PKCE, and /2/users/me.

It is as strict as X: it accepts each code and each refresh token once. It checks the
PKCE verifier and the client's id and secret. Tests set `user` (id, username), `deny`,
`expires_in`, `slow` (seconds that a renewal takes) and `down`.
"""

import base64
import hashlib
import secrets
import time
from typing import Any
from urllib.parse import urlencode

from tests.linking.stub import Stub, knobs, lock, seen, serve

CLIENT = ("the x client", "the x secret")
codes: dict[str, dict[str, str]] = {}
# Each token's account. Other tokens are rejected.
accesses: dict[str, dict[str, Any]] = {}
refreshes: dict[str, dict[str, Any]] = {}


class X(Stub):
    def answer_GET_i_oauth2_authorize(self) -> None:  # noqa: N802
        asked = self.query
        right = (
            asked.get("response_type") == "code"
            and asked.get("client_id") == CLIENT[0]
            and asked.get("code_challenge_method") == "S256"
            and len(asked.get("code_challenge", "")) == 43
            and asked.get("state")
            and asked.get("scope") == "tweet.read users.read offline.access"
        )
        if not right:
            return self.say("Something went wrong", status=400)
        answer = {"state": asked["state"]}
        if knobs.get("deny"):
            answer["error"] = "access_denied"
        else:
            answer["code"] = secrets.token_urlsafe(16)
            codes[answer["code"]] = asked
        return self.send_to(f"{asked['redirect_uri']}?{urlencode(answer)}")

    def answer_POST_2_oauth2_token(self) -> None:  # noqa: N802
        if not self._is_the_client():
            said = "Missing valid authorization header"
            return self.tell(
                {"error": "unauthorized_client", "error_description": said}, 401
            )
        kind = self.form.get("grant_type")
        seen[f"grant {kind}"] += 1
        if kind == "authorization_code":
            return self._exchange()
        if kind == "refresh_token":
            with lock:
                user = refreshes.pop(self.form.get("refresh_token", ""), None)
            time.sleep(knobs.get("slow", 0))
            return self._issue(user) if user else self._refuse()
        return self._refuse()

    def answer_POST_2_oauth2_revoke(self) -> None:  # noqa: N802
        if not self._is_the_client():
            return self.tell({"error": "unauthorized_client"}, 401)
        token = self.form.get("token", "")
        gone = [accesses.pop(token, None), refreshes.pop(token, None)]
        seen["revoked"] += any(gone)
        return self.tell({"revoked": True})

    def answer_GET_2_users_me(self) -> None:  # noqa: N802
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        user = accesses.get(token)
        if user is None or token in knobs.get("refused", []):
            return self.tell({"title": "Unauthorized", "status": 401}, 401)
        return self.tell({"data": {"name": "Some Body", **user}})

    def _exchange(self) -> None:
        said = self.form
        with lock:
            asked = codes.pop(said.get("code", ""), None)
        digest = hashlib.sha256(said.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        fits = (
            asked
            and asked["code_challenge"] == challenge
            and asked["redirect_uri"] == said.get("redirect_uri")
        )
        if not fits:
            return self._refuse()
        return self._issue(knobs.get("user") or {"id": "2244994945", "username": "dev"})

    def _issue(self, user: dict[str, Any]) -> None:
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        accesses[access], refreshes[refresh] = user, user
        said = {
            "token_type": "bearer",
            "expires_in": knobs.get("expires_in", 7200),
            "access_token": access,
            "scope": "tweet.read users.read offline.access",
            "refresh_token": refresh,
        }
        if knobs.get("no_refresh"):
            del said["refresh_token"]
        self.tell(said)

    def _refuse(self) -> None:
        seen["refused"] += 1
        said = "Value passed for the token was invalid."
        self.tell({"error": "invalid_request", "error_description": said}, 400)

    def _is_the_client(self) -> bool:
        basic = self.headers.get("Authorization", "").removeprefix("Basic ")
        try:
            sent = base64.b64decode(basic).decode()
        except ValueError:
            return False
        return sent == ":".join(part.replace(" ", "%20") for part in CLIENT)


if __name__ == "__main__":
    serve(X)

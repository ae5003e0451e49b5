"""A stub of Steam: OpenID 2.0, and one call of its Web API.

The knob `steam_id` is the user that is signed in at Steam. `POST /_sign` signs any
given answer. So a test can change one line of an answer and let Steam confirm it, or
let Steam confirm an answer for another user.
"""

import base64
import hashlib
import hmac
import os
from datetime import UTC, datetime
from http.server import HTTPServer
from urllib.parse import parse_qsl, urlencode

from tests.linking.stub import Stub, knobs, lock, seen, serve

NAMESPACE = "http://specs.openid.net/auth/2.0"
ANYBODY = f"{NAMESPACE}/identifier_select"
ORDER = "signed,op_endpoint,claimed_id,identity,return_to,response_nonce,assoc_handle"
SECRET = os.urandom(20)
used: set[str] = set()


def signature(said: dict[str, str]) -> str:
    names = said.get("openid.signed", "").split(",")
    lines = "".join(f"{name}:{said.get(f'openid.{name}', '')}\n" for name in names)
    return base64.b64encode(hmac.digest(SECRET, lines.encode(), hashlib.sha1)).decode()


class Steam(Stub):
    def answer_GET_openid_login(self) -> None:  # noqa: N802
        asked = self.query
        return_to, realm = asked.get("openid.return_to"), asked.get("openid.realm", "")
        right = (
            asked.get("openid.ns") == NAMESPACE
            and asked.get("openid.mode") == "checkid_setup"
            and asked.get("openid.identity") == ANYBODY
            and asked.get("openid.claimed_id") == ANYBODY
            and return_to
            and return_to.startswith(realm)
        )
        if not right or return_to is None:
            return self.say("The request is not valid.", status=400)
        if knobs.get("cancel"):
            said = {"openid.ns": NAMESPACE, "openid.mode": "cancel"}
            return self.send_to(f"{return_to}&{urlencode(said)}")
        who = f"{self._base()}/id/{knobs.get('steam_id', '76561197960287930')}"
        made_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = {
            "openid.ns": NAMESPACE,
            "openid.mode": "id_res",
            "openid.op_endpoint": f"{self._base()}/login",
            "openid.claimed_id": who,
            "openid.identity": who,
            "openid.return_to": return_to,
            "openid.response_nonce": made_at
            + base64.b64encode(os.urandom(20)).decode(),
            "openid.assoc_handle": "1234567890",
            "openid.signed": ORDER,
        }
        said["openid.sig"] = signature(said)
        return self.send_to(f"{return_to}&{urlencode(said)}")

    def answer_POST_openid_login(self) -> None:  # noqa: N802
        said = self.form
        valid = said.get("openid.mode") == "check_authentication" and (
            hmac.compare_digest(signature(said), said.get("openid.sig", ""))
        )
        with lock:
            nonce = said.get("openid.response_nonce", "")
            valid = valid and (nonce not in used or bool(knobs.get("forgetful")))
            used.add(nonce)
            seen["valid" if valid else "invalid"] += 1
        word = "true" if valid else "false"
        self.say(knobs.get("verdict") or f"ns:{NAMESPACE}\nis_valid:{word}\n")

    def answer_POST__sign(self) -> None:  # noqa: N802
        said = dict(parse_qsl(self.body, keep_blank_values=True))
        self.say(signature(said))

    def answer_GET_isteamuser_getplayersummaries_v2(self) -> None:  # noqa: N802
        if self.query.get("key") != knobs.get("key", "the web api key"):
            return self.say("<html>Unauthorized</html>", "text/html", 401)
        players = [
            {
                "steamid": steam_id,
                "communityvisibilitystate": knobs.get("visibility", 3),
                "profilestate": 1,
                "personaname": knobs.get("personaname", "gaben"),
                "profileurl": f"https://steamcommunity.com/profiles/{steam_id}/",
            }
            for steam_id in self.query.get("steamids", "").split(",")
            if steam_id not in knobs.get("gone", [])
        ]
        return self.tell({"response": {"players": players}})

    def _base(self) -> str:
        assert isinstance(self.server, HTTPServer)
        return f"http://127.0.0.1:{self.server.server_port}/openid"


if __name__ == "__main__":
    serve(Steam)

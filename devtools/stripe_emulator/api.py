"""Requests to Stripe's API: authentication, idempotency keys, faults and responses."""

import base64
import binascii
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import reading, routes
from .errors import Refused
from .spec import requests
from .spec.document import version
from .state import Obj, State, new_id

KEPT_SECONDS = 86400
REMEMBERED = 2000


@dataclass
class Answer:
    """A response. `lost` cuts the connection instead, after the request was done."""

    status: int
    body: Obj
    headers: dict[str, str] = field(default_factory=dict)
    lost: bool = False


class Api:
    """Answers requests. `check` validates each response by Stripe's document."""

    def __init__(self, state: State, *, check: bool = False) -> None:
        self.state = state
        self.check = check
        self.under_way: set[str] = set()
        self.guard = threading.Lock()

    def answer(
        self,
        method: str,
        address: str,
        query: str,
        body: str,
        headers: Mapping[str, str],
    ) -> Answer:
        """Return the response to a request. A refusal is a response too."""
        record: Obj = {
            "id": new_id("req_", 14),
            "method": method,
            "path": address,
            "idempotency_key": headers.get("Idempotency-Key"),
            "version": headers.get("Stripe-Version"),
        }
        try:
            made = self._answer(record, query, body, headers)
        except Refused as refused:
            made = Answer(refused.status, {"error": refused.error})
        if made.status >= 400:
            made.body["error"].setdefault(
                "request_log_url",
                f"{self.state.base_url}/_emulator/requests/{record['id']}",
            )
        made.headers["Request-Id"] = str(record["id"])
        made.headers["Stripe-Version"] = str(record["version"] or version())
        if key := record["idempotency_key"]:
            made.headers["Idempotency-Key"] = str(key)
            original = record.get("original", record["id"])
            made.headers["Original-Request"] = str(original)
        with self.state.lock:
            record["status"] = made.status
            self.state.requests.append(record)
            del self.state.requests[:-REMEMBERED]
        return made

    def _answer(
        self, record: Obj, query: str, body: str, headers: Mapping[str, str]
    ) -> Answer:
        _authenticate(headers.get("Authorization", ""))
        method, address = str(record["method"]), str(record["path"])
        fault = self._fault(method, address)
        if fault.get("seconds"):
            time.sleep(fault["seconds"])
        if status := fault.get("status"):
            text = "The emulator was asked to fail this request."
            kind = "rate_limit" if status == 429 else "api_error"
            raise Refused(text, status=status, kind=kind)
        path, names = routes.find(method, address)
        kind = headers.get("Content-Type", "").split(";")[0]
        if body and kind != "application/x-www-form-urlencoded":
            raise Refused(
                "Invalid request (check that your POST content type is "
                "application/x-www-form-urlencoded)."
            )
        encoded = query if method == "get" else "&".join(filter(None, (query, body)))
        params = record["params"] = requests.read(path, method, encoded)
        if method != "post" or not record["idempotency_key"]:
            made = self._act(record, path, names, params)
        else:
            made = self._once(record, path, names, params)
        made.lost = bool(fault.get("lose_answer"))
        return made

    def _fault(self, method: str, address: str) -> Obj:
        with self.state.lock:
            for fault in self.state.api_faults:
                fits = fault.get("method", method) == method
                if fits and fault["count"] > 0 and address.startswith(fault["path"]):
                    fault["count"] -= 1
                    return dict(fault)
        return {}

    def _once(self, record: Obj, path: str, names: list[str], params: Obj) -> Answer:
        """Return the same response to the same key and parameters, for a day."""
        key = record["idempotency_key"]
        if len(key) > 255:
            raise Refused("Idempotency keys have at most 255 characters.")
        meant = json.dumps([path, names, params], sort_keys=True)
        with self.guard:
            if key in self.under_way:
                raise Refused(
                    "There is currently another in-progress request using this "
                    "Idempotent Key (that probably means you submitted twice, and the "
                    f"other request is still going through): {key}. Please try again "
                    "later.",
                    status=409,
                    kind="idempotency_error",
                    code="idempotency_key_in_use",
                )
            self.under_way.add(key)
        try:
            known = self.state.answers.get(key)
            if known and known["at"] > time.time() - KEPT_SECONDS:
                return self._again(record, known, meant)
            made = self._act(record, path, names, params)
            self._keep(key, meant, made, record["id"])
            return made
        finally:
            self.under_way.discard(key)

    def _again(self, record: Obj, known: Obj, meant: str) -> Answer:
        if known["meant"] != meant:
            raise Refused(
                "Keys for idempotent requests can only be used with the same "
                "parameters they were first used with. Try using a key other than "
                f"'{record['idempotency_key']}' if you meant to execute a different "
                "request.",
                kind="idempotency_error",
            )
        record["original"] = known["request"]
        return Answer(known["status"], known["body"], {"Idempotent-Replayed": "true"})

    def _keep(self, key: str, meant: str, made: Answer, request: str) -> None:
        kept = {
            "meant": meant,
            "status": made.status,
            "body": made.body,
            "request": request,
            "at": time.time(),
        }
        with self.state.lock:
            oldest = time.time() - KEPT_SECONDS
            answers = self.state.answers.items()
            self.state.answers = {k: v for k, v in answers if v["at"] > oldest}
            self.state.answers[key] = kept
            self.state.save()

    def _act(self, record: Obj, path: str, names: list[str], params: Obj) -> Answer:
        state = self.state
        with state.lock:
            state.request = {
                "id": record["id"],
                "idempotency_key": record["idempotency_key"],
            }
            try:
                before = set(state.objects)
                found = routes.ACTIONS[record["method"], path](state, names, params)
                made = Answer(200, self._expanded(found, params, before))
            except Refused as refused:
                made = Answer(refused.status, {"error": refused.error})
            finally:
                state.request = {"id": None, "idempotency_key": None}
                if record["method"] != "get":
                    state.save()
            made.body = json.loads(json.dumps(made.body))
        if self.check:
            _check(record["method"], path, made)
        return made

    def _expanded(self, found: Obj, params: Obj, before: set[str]) -> Obj:
        try:
            return reading.answer(self.state, found, params)
        except Refused:
            self.state.forget_since(before)
            raise


def _check(method: str, path: str, made: Answer) -> None:
    """Raise `Refused` for a response that Stripe's document does not describe."""
    from .spec import answers

    if made.status == 200:
        wrong = answers.problems_of_answer(path, method, made.body)
    else:
        wrong = answers.problems("error", made.body)
    if wrong:
        raise Refused(
            "The emulator made an answer that Stripe's document does not describe: "
            + "; ".join(wrong[:5]),
            status=500,
            kind="api_error",
        )


def _authenticate(header: str) -> None:
    scheme, _, key = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            key = base64.b64decode(key).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            key = ""
    if not key:
        raise Refused(
            "You did not provide an API key. You need to provide your API key in the "
            "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer "
            "YOUR_SECRET_KEY').",
            status=401,
        )
    if key.startswith(("sk_live_", "rk_live_")):
        raise Refused(
            "This is an emulator of Stripe, and that is a live key. Nothing was done. "
            "Take the key out of this machine's settings.",
            status=401,
        )
    if not key.startswith(("sk_test_", "rk_test_")):
        shown: Any = key[:8] + "*" * 8
        raise Refused(f"Invalid API Key provided: {shown}", status=401)

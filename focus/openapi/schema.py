"""Generate one OpenAPI document per contract from the declarations of its views."""

import re
import threading
from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import cache
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver, path
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import OpenApiParameter
from rest_framework.serializers import ListSerializer

from accounts.credentials.access import PUBLIC, Access, Bound
from accounts.credentials.principals import Kind
from accounts.replays import LONGEST_KEY
from focus.contracts import Contract
from focus.contracts.clipforge import ClipForge
from focus.contracts.cosmiv import Cosmiv
from focus.contracts.onesub import OneSub
from focus.contracts.reviv import Reviv
from focus.contracts.thefocus import TheFocus
from focus.openapi import examples
from focus.web.routing import ALIAS

# In the order of the drop-down: contract, title, description.
DOCUMENTS: dict[str, tuple[type[Contract], str, str]] = {
    "focus": (TheFocus, "Focus", "One account and one credit wallet for your app."),
    "onesub": (OneSub, "1sub", "Charge a subscriber's credits from your tool."),
    "reviv": (Reviv, "reviv.pics", "Photo restoration, paid with credits."),
    "cosmiv": (Cosmiv, "Cosmiv", "Gaming montages, paid with credits."),
    "clipforge": (ClipForge, "ClipForge", "Clips from long videos."),
}

PERSON = "bearer"
APP_KEY = "app_key"
USER_KEY = "user_key"
COOKIE = "session"
SCHEME_OF = {
    Kind.JWT: PERSON,
    Kind.PAT: PERSON,
    Kind.CLERK: PERSON,
    Kind.APP_KEY: APP_KEY,
    Kind.USER_KEY: USER_KEY,
    Kind.SESSION: COOKIE,
}


# Notes for actions that accept a token bound to an app. All other actions refuse it.
BOUND_SAYS = {
    Bound.APP: "A token that was handed to an app works here, for that app only.",
    Bound.FAMILY: "A token that was handed to an app works here if the app is one of"
    " the Focus family.",
    Bound.PRODUCT: "A token that was handed to this product's own app works here.",
}


def _schemes() -> dict[str, dict[str, Any]]:
    return {
        PERSON: {
            "type": "http",
            "scheme": "bearer",
            "description": "A person's access token (a JWT, ours or Clerk's) or "
            "personal access token (`focus_pat_…`).",
        },
        APP_KEY: {
            "type": "http",
            "scheme": "bearer",
            "description": "An app's key (`sk-tool-…`). Servers only.",
        },
        USER_KEY: {
            "type": "apiKey",
            "in": "header",
            "name": "X-Api-Key",
            "description": "A person's API key (`sk_live_…`). Servers only.",
        },
        COOKIE: {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The browser session that /signin starts. Same site only.",
        },
    }


REFUSALS = {
    400: "The request is not valid.",
    401: "The credential is missing, expired or not ours.",
    402: "There are not enough credits.",
    403: "The credential does not allow this.",
    404: "There is no such thing, or it is not yours.",
    409: "This contradicts what was done before.",
    413: "The request body is too large.",
    415: "The request body is of a type that is not read here.",
    422: "The idempotency key was used for another request.",
    429: "Too many requests; wait as `Retry-After` says.",
    500: "Something went wrong on our side.",
    503: "The service cannot answer right now; retry as `Retry-After` says.",
}
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    description="The same key with the same request gets the first answer again, word"
    " for word, and changes nothing (`Idempotent-Replayed: true`). Kept for 30 days.",
)
# All responses have these headers, except `Retry-After`, which refusals have.
LIMIT_HEADERS: dict[str, Any] = {
    name: {"description": said, "schema": {"type": "string"}}
    for name, said in {
        "X-RateLimit-Limit": "How many requests the tightest limit allows.",
        "X-RateLimit-Remaining": "How many of them are left.",
        "X-RateLimit-Reset": "When the next one comes back.",
        "RateLimit-Policy": "The same limit in the IETF's words.",
        "RateLimit": "What is left of it, and for how many seconds.",
        "Retry-After": "Whole seconds to wait, 1 or more.",
    }.items()
}
# What drf-spectacular writes for a status without a description.
_SAYS_NOTHING = (None, "", "No response body")


class ContractSchema(AutoSchema):
    """Describes an action by its contract and the view's `accepts` table.

    `@extend_schema(request=…, responses=…)` adds the rest. List a refusal there only if
    it is particular to the action. This class adds the usual refusals and the envelope.
    """

    # A contract's view set; drf-spectacular's stubs say APIView.
    view: Any

    def get_operation_id(self) -> str:
        """Return contract, path words and action, such as `focus_jobs_complete`."""
        words = [re.sub(r"\W|(?=[A-Z])", "_", word).lower() for word in self._words()]
        action = self._action()
        if not words or words[-1] != action:
            words.append(action)
        return "_".join([self.view.slug, *words])

    def get_tags(self) -> list[str]:
        words = self._words()
        return [f"{DOCUMENTS[self.view.slug][1]}: {words[0] if words else 'start'}"]

    def get_description(self) -> str:  # type: ignore[override]  # as spectacular's
        """Return the action's docstring, scope and notes on bound tokens.

        A view class's docstring is for readers of the code, so it is left out.
        """
        said = getattr(self.view, self._action()).__doc__ or ""
        said = " ".join(said.split())
        if scope := self._access().scope:
            said += f"\n\nA personal access token needs the scope `{scope}`."
        if takes := BOUND_SAYS.get(self._access().bound):
            said += f"\n\n{takes}"
        return said.strip()

    def _is_list_view(self, serializer: Any = None) -> bool:
        # An action named `list` may answer an object, so only the serializer decides.
        return isinstance(serializer, ListSerializer)

    def get_override_parameters(self) -> list[Any]:
        action = getattr(self.view, self._action())
        return [IDEMPOTENCY_KEY] if hasattr(action, "takes_idempotency_key") else []

    def get_auth(self) -> list[dict[str, list[str]]]:
        access = self._access()
        if access is PUBLIC:
            return [{}]
        wanted = {SCHEME_OF[kind] for kind in access.kinds}
        schemes = {name: s for name, s in _schemes().items() if name in wanted}
        for name, scheme in schemes.items():
            self.registry.register_on_missing(
                ResolvedComponent(
                    name=name,
                    type=ResolvedComponent.SECURITY_SCHEMA,
                    object=name,
                    schema=scheme,
                )
            )
        return [{name: []} for name in schemes]

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for declared, said in bodies.items():
            if said["description"] in _SAYS_NOTHING and int(declared) < 400:
                said["description"] = HTTPStatus(int(declared)).phrase
        refused = {int(declared) for declared in bodies if int(declared) >= 400}
        for status in sorted(refused | self._refusals()):
            said = bodies.setdefault(str(status), {"description": None})
            if said["description"] in _SAYS_NOTHING:
                phrase = HTTPStatus(status).phrase
                said["description"] = REFUSALS.get(status, phrase)
            if status == 429:
                said["headers"] = deepcopy(LIMIT_HEADERS)
            # Keep a declared body, such as a health check's at 503.
            if "content" not in said:
                said["content"] = self._refusal(status)
        return bodies

    def _refusals(self) -> set[int]:
        statuses = {400, 429, 500, 503}
        changes = self.method != "GET"
        known = self._access() is not PUBLIC
        if known:
            statuses |= {401, 403}
        if "{" in self.path or (known and changes):
            statuses.add(404)
        if known and changes:
            statuses |= {409, 422}
        if self.method in ("POST", "PUT", "PATCH"):
            statuses |= {413, 415}
        return statuses

    def _refusal(self, status: int) -> dict[str, Any]:
        contract: type[Contract] = self.view.__class__
        name = f"{DOCUMENTS[contract.slug][1].title().replace('.', '')}Refusal"
        self.registry.register_on_missing(
            ResolvedComponent(
                name=name,
                type=ResolvedComponent.SCHEMA,
                object=contract.slug,
                # A copy, because the generator moves enums out of the schema.
                schema=deepcopy(contract.envelope),
            )
        )
        has_body = self.method in ("POST", "PUT", "PATCH")
        media: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{name}"}}
        example = examples.refusal(
            contract,
            operation=self.get_operation_id(),
            method=self.method,
            status=status,
            body=self.get_request_serializer() if has_body else None,
        )
        if example is not None:
            media["example"] = example
        return {"application/json": media}

    def _access(self) -> Access:
        access: Access = self.view.accepts[self._action()]
        return access

    def _action(self) -> str:
        action: str = self.view.action
        return action

    def _words(self) -> list[str]:
        """Return the path's words, without the contract's common prefix and ids."""
        own = re.sub(r"^/(api/(v1/|v2/)?|v1/)?", "", self.path)
        return [word for word in own.split("/") if word and "{" not in word]


# The generator collects its warnings in process-wide state.
_generating = threading.Lock()


@cache
def document(slug: str) -> dict[str, Any]:
    """Return the OpenAPI document of one contract, generated once per process."""
    with GENERATOR_STATS.silence():
        made, _ = generate(slug)
    return made


def generate(slug: str) -> tuple[dict[str, Any], list[str]]:
    """Generate the document of one contract.

    Return it with the generator's warnings.
    """
    contract, title, sentence = DOCUMENTS[slug]
    with _generating:
        generator = SchemaGenerator(patterns=list(routes(contract)))
        made: dict[str, Any] = generator.get_schema(request=None, public=True)
        complaints = [*GENERATOR_STATS._error_cache, *GENERATOR_STATS._warn_cache]
    made["info"]["title"] = f"{title} API"
    made["info"]["description"] = sentence
    made["servers"] = [{"url": settings.PUBLIC_BASE_URL}]
    return made, complaints


def routes(contract: type[Contract]) -> Iterator[URLPattern]:
    """Yield the URL patterns of the contract, from the root, without aliases."""
    for route, pattern in every_route():
        view = getattr(pattern.callback, "cls", object)
        if issubclass(view, contract) and pattern.name != ALIAS:
            yield path(route, pattern.callback)


def every_route(
    patterns: Iterable[URLPattern | URLResolver] | None = None, prefix: str = ""
) -> Iterator[tuple[str, URLPattern]]:
    """Yield all URL patterns with their whole routes."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from every_route(pattern.url_patterns, route)
        else:
            yield route, pattern

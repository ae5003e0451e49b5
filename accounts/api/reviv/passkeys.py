"""reviv guide, "Passkeys" and "Email-passkey".

`begin` returns WebAuthn options and a nonce. `complete` takes the browser's answer and
the nonce.
"""

import uuid
from typing import Any, cast

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet
from webauthn.helpers import bytes_to_base64url, options_to_json_dict

from accounts.authentication import principal_of, user_of, visitor
from accounts.credentials.access import PUBLIC, SIGNED_IN_HERE, Access
from accounts.models import Passkey
from accounts.passkeys import enrolment
from accounts.passkeys import signin as passkey_signin
from accounts.signin import passwords, sessions
from focus.contracts.fields import TrimmedText
from focus.contracts.reviv import Person, Reviv
from focus.limiting.limits import AUTH, SIGN_IN
from focus.web.routing import either_slash
from wallet import ledger

# The guide: "Access token lifetime is 15 minutes".
ACCESS_SECONDS = 15 * 60
# The guide's `rp.name`, which a browser may show beside the domain.
RP_NAME = "reviv.pics"
NO_STORE = {"Cache-Control": "no-store"}


class Device(serializers.Serializer):
    name = TrimmedText(max_length=120, required=False, default="", allow_blank=True)


class Registered(serializers.Serializer):
    message = serializers.CharField()
    device_name = serializers.CharField()


class SignedIn(serializers.Serializer):
    access = serializers.CharField()
    refresh = serializers.CharField()
    user = Person()


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
BYTES = _list({"type": "integer", "minimum": 0, "maximum": 255})
DESCRIPTOR = _object(type=TEXT, id=BYTES, id_b64=TEXT)
CREATION = _object(
    registration_id=TEXT,
    challenge=BYTES,
    challenge_b64=TEXT,
    rp=_object(id=TEXT, name=TEXT),
    user=_object(id=BYTES, id_b64=TEXT, name=TEXT, displayName=TEXT),
    pubKeyCredParams=_list(_object(type=TEXT, alg=NUMBER)),
    timeout=NUMBER,
    attestation=TEXT,
    authenticatorSelection={"type": "object", "additionalProperties": {}},
    excludeCredentials=_list(DESCRIPTOR),
)
QUESTION = _object(
    authentication_id=TEXT,
    challenge=BYTES,
    challenge_b64=TEXT,
    timeout=NUMBER,
    rpId=TEXT,
    allowCredentials=_list(DESCRIPTOR),
    userVerification=TEXT,
)
NOTHING = {"type": "object", "properties": {}}
NONCE = {"type": "string", "minLength": 43, "maxLength": 43}
EMAIL = {
    "type": "object",
    "properties": {"email": {"type": "string", "maxLength": 254}},
}
_CREATED = _object(clientDataJSON=TEXT, attestationObject=TEXT)
_SHOWN = _object(id=TEXT, clientDataJSON=TEXT, authenticatorData=TEXT, signature=TEXT)
_OR_STANDARD = "Base64url, padded or not. The browser's own `toJSON()` works, too."
NEW = _object(
    registration_id=NONCE, credential=_CREATED | {"description": _OR_STANDARD}
)
NEW["properties"]["name"] = {"type": "string", "maxLength": 120}
ANSWER = _object(
    authentication_id=NONCE, credential=_SHOWN | {"description": _OR_STANDARD}
)
REGISTERED = OpenApiExample(
    "Registered",
    value={"message": "Passkey registered successfully", "device_name": "My MacBook"},
    response_only=True,
    status_codes=["200"],
)
NOT_REGISTERED = OpenApiResponse(
    description="`REGISTRATION_MISSING`: begin again. `REGISTRATION_MISMATCH`: another "
    "user began it. `MISSING_CREDENTIAL`, `REGISTRATION_FAILED`."
)


def _json(schema: dict[str, Any]) -> Any:
    return {"application/json": schema}


class AddViewSet(Reviv, ViewSet):
    """Adds a passkey for a signed-in user. The account page uses it, too."""

    accepts = {"begin": Access(SIGNED_IN_HERE), "complete": Access(SIGNED_IN_HERE)}
    limits = {"begin": (AUTH,), "complete": (AUTH,)}
    statuses = {**Reviv.statuses, "second_proof_required": 403}

    @extend_schema(
        summary="Begin adding a passkey",
        request=_json(NOTHING),
        responses={
            200: OpenApiResponse(CREATION, "For `navigator.credentials.create()`."),
            403: OpenApiResponse(
                description="`SECOND_PROOF_REQUIRED`: sign in with a password, or a "
                "passkey that asks for a PIN, fingerprint or face."
            ),
        },
    )
    def begin(self, request: Request) -> Response:
        """Get the options for a new passkey of the signed-in user."""
        session_id = cast(uuid.UUID, principal_of(request).session_id)
        session = sessions.find(session_id=session_id)
        return _creation(enrolment.begin_adding(session=session, rp_name=RP_NAME))

    @extend_schema(
        summary="Add a passkey",
        request=_json(NEW),
        responses={
            200: OpenApiResponse(Registered, "Added."),
            400: NOT_REGISTERED,
        },
        examples=[REGISTERED],
    )
    def complete(self, request: Request) -> Response:
        """Verify the browser's answer and add the passkey to the account."""
        passkey = enrolment.complete_adding(
            user=user_of(request),
            **_registration(request),
            visitor=visitor(request._request),
        )
        return _registered(passkey)


class SignInViewSet(Reviv, ViewSet):
    # Ignore an expired token in the header: the client is here to sign in.
    authentication_classes: list[Any] = []
    accepts = {"begin": PUBLIC, "complete": PUBLIC}
    limits = {"begin": (AUTH,), "complete": SIGN_IN}

    @extend_schema(
        summary="Begin signing in",
        request=_json(EMAIL),
        responses={
            200: OpenApiResponse(QUESTION, "For `navigator.credentials.get()`."),
            400: OpenApiResponse(description="`INVALID_EMAIL`."),
        },
    )
    def begin(self, request: Request) -> Response:
        """Get the options to sign in with any passkey, or with those of `email`."""
        begun = passkey_signin.begin_signing_in(email=_email(request))
        body = options_to_json_dict(begun.options, bytes_encoder=list)
        body |= {
            "authentication_id": begun.nonce,
            "challenge_b64": bytes_to_base64url(begun.options.challenge),
            "allowCredentials": _descriptors(body["allowCredentials"]),
        }
        return Response(body, headers=NO_STORE)

    @extend_schema(
        summary="Sign in",
        request=_json(ANSWER),
        responses={
            200: OpenApiResponse(SignedIn, "Signed in."),
            400: OpenApiResponse(
                description="`AUTH_MISSING`: begin again. `MISSING_CREDENTIAL`, "
                "`MISSING_CREDENTIAL_ID`, `UNKNOWN_CREDENTIAL`, `AUTH_FAILED`, "
                "`REPLAY_DETECTED`."
            ),
        },
        examples=[
            OpenApiExample(
                "Signed in",
                value={
                    "access": "eyJ0eXAiOiJhdCtqd3QifQ.eyJzdWIiOiI4ZDMifQ.MEU",
                    "refresh": "eyJ0eXAiOiJydCtqd3QifQ.eyJzdWIiOiI4ZDMifQ.MEQ",
                    "user": {
                        "id": "8d3c1f0e-5b0a-4c39-9c1d-2f6f3f0d7a11",
                        "email": "user@example.com",
                        "first_name": "Ada",
                        "last_name": "Lovelace",
                        "credit_balance": "4.00",
                        "free_preview_used": False,
                        "social_share_unlock_used": False,
                        "created_at": "2026-01-31T12:00:00Z",
                    },
                },
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def complete(self, request: Request) -> Response:
        """Verify the browser's answer and sign the user in."""
        where = visitor(request._request)

        def begin(passkey: Passkey, methods: list[str]) -> sessions.SessionTokens:
            return sessions.begin(
                user=passkey.user,
                client="reviv",
                access_seconds=ACCESS_SECONDS,
                methods=methods,
                passkey=passkey,
                visitor=where,
            )

        tokens = passkey_signin.sign_in(
            nonce=_body(request).get("authentication_id"),
            credential=_body(request).get("credential"),
            begin=begin,
            visitor=where,
        )
        user = tokens.session.user
        credits_micro = ledger.balance_at(
            account_id=user.pk, slug="reviv"
        ).credits_micro
        body = {
            "access": tokens.access_token,
            "refresh": tokens.refresh_token,
            "user": Person(user, context={"credits_micro": credits_micro}).data,
        }
        return Response(body, headers=NO_STORE)


class OpenViewSet(Reviv, ViewSet):
    authentication_classes: list[Any] = []
    accepts = {"begin": PUBLIC, "complete": PUBLIC}
    limits = {"begin": (AUTH,), "complete": (AUTH,)}

    @extend_schema(
        summary="Begin registering with an email and a passkey",
        request=_json({**EMAIL, "required": ["email"]}),
        responses={
            200: OpenApiResponse(CREATION, "For `navigator.credentials.create()`."),
            400: OpenApiResponse(
                description="`MISSING_EMAIL`, `INVALID_EMAIL`, `OAUTH_USER_EXISTS`."
            ),
        },
    )
    def begin(self, request: Request) -> Response:
        """Get the options for the passkey of a new account."""
        missing = _body(request).get("email") is None
        email = "" if missing else _email(request)
        begun = enrolment.begin_opening(email=email, rp_name=RP_NAME)
        return _creation(begun)

    @extend_schema(
        summary="Register with an email and a passkey",
        request=_json(NEW),
        responses={
            200: OpenApiResponse(Registered, "The account is open."),
            400: NOT_REGISTERED,
        },
        examples=[REGISTERED],
    )
    def complete(self, request: Request) -> Response:
        """Open the account. An existing account with this email stays unchanged."""
        passkey = enrolment.complete_opening(
            **_registration(request), visitor=visitor(request._request)
        )
        return _registered(passkey)


def _body(request: Request) -> dict[str, Any]:
    # Our parser only returns objects.
    return cast(dict[str, Any], request.data)


def _email(request: Request) -> str:
    sent = _body(request).get("email", "")
    if not isinstance(sent, str):
        raise passwords.InvalidEmail("Enter a valid email address.")
    return sent.strip()


def _registration(request: Request) -> dict[str, Any]:
    device = Device(data=request.data)
    device.is_valid(raise_exception=True)
    return {
        "nonce": _body(request).get("registration_id"),
        "credential": _body(request).get("credential"),
        "name": device.validated_data["name"],
    }


def _creation(begun: enrolment.RegistrationOptions) -> Response:
    body = options_to_json_dict(begun.options, bytes_encoder=list)
    body |= {
        "registration_id": begun.nonce,
        "challenge_b64": bytes_to_base64url(begun.options.challenge),
        "excludeCredentials": _descriptors(body["excludeCredentials"]),
    }
    body["user"]["id_b64"] = bytes_to_base64url(begun.options.user.id)
    return Response(body, headers=NO_STORE)


def _descriptors(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one | {"id_b64": bytes_to_base64url(bytes(one["id"]))} for one in listed]


def _registered(passkey: Passkey) -> Response:
    message = "Passkey registered successfully"
    body = {"message": message, "device_name": passkey.name}
    return Response(body, headers=NO_STORE)


_VIEWS: dict[str, Any] = {
    "auth/passkey/register": AddViewSet,
    "auth/passkey/login": SignInViewSet,
    "auth/email-passkey/register": OpenViewSet,
}
urlpatterns = [
    route
    for where, view in _VIEWS.items()
    for action in ("begin", "complete")
    for route in either_slash(f"{where}/{action}/", view.as_view({"post": action}))
]

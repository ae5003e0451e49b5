"""Unreadable and oversized requests are refused before a view runs."""

import json
from typing import Any

import pytest
from django.test import Client

from tests.contracts.probes import COSMIV, DIALECTS, Dialect, every_dialect

pytestmark = pytest.mark.urls("tests.contracts.probes")

# focus, onesub, reviv, cosmiv and clipforge, by the error code's key.
INVALID_JSON = [
    ("error", "invalid_json"),
    ("error", "Invalid request"),
    ("code", "PARSE_ERROR"),
    ("code", "VALIDATION_ERROR"),
    ("statusCode", 400),
]
TOO_LARGE = [
    ("error", "payload_too_large"),
    ("error", "Payload too large"),
    ("code", "PAYLOAD_TOO_LARGE"),
    ("code", "PAYLOAD_TOO_LARGE"),
    ("statusCode", 413),
]
WRONG_TYPE = [
    ("error", "unsupported_media_type"),
    ("error", "Unsupported media type"),
    ("code", "UNSUPPORTED_MEDIA_TYPE"),
    ("code", "UNSUPPORTED_MEDIA_TYPE"),
    ("statusCode", 415),
]


def _each(kinds: list[tuple[str, Any]]) -> Any:
    pairs = list(zip(DIALECTS, kinds, strict=True))
    return pytest.mark.parametrize(("dialect", "kind"), pairs, ids=str)


def _kind(body: dict[str, Any], key: str) -> Any:
    return body["error"][key] if isinstance(body["error"], dict) else body[key]


@pytest.fixture
def anyone() -> Client:
    return Client(raise_request_exception=False)


UNREADABLE = {
    "half": b'{"raise": "domain"',
    "words": b"raise=domain",
    "trailing": b'{"raise": "domain"} {}',
    "nan": b'{"raise": NaN}',
    "infinity": b'{"raise": -Infinity}',
    "list": b'["raise"]',
    "string": b'"raise"',
    "null": b"null",
    "not utf-8": b'{"raise": "\xff\xfe"}',
    "bom": b'\xef\xbb\xbf{"raise": "domain"}',
    "nul": b'{"raise": "a\\u0000b"}',
    "nul as a key": b'{"a\\u0000b": "domain"}',
    "nul, deep": b'{"a": [{"b": "\\u0000"}]}',
    "raw nul": b'{"raise": "a\x00b"}',
    "lone surrogate": b'{"raise": "\\ud800"}',
    "reversed surrogates": b'{"raise": "\\udc00\\ud800"}',
    "depth": b'{"raise": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "unfinished depth": b"[" * 500_000,
    "endless number": b'{"raise": ' + b"1" * 500_000 + b"}",
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
@_each(INVALID_JSON)
def test_a_body_that_cannot_be_read_is_400(
    anyone: Client, dialect: Dialect, kind: tuple[str, Any], body: bytes
) -> None:
    answer = anyone.post(dialect.path, body, content_type="application/json")
    assert answer.status_code == 400, answer.content
    assert _kind(answer.json(), kind[0]) == kind[1]
    assert len(answer.content) < 500


@_each(TOO_LARGE)
def test_a_body_of_two_megabytes_is_413(
    anyone: Client, dialect: Dialect, kind: tuple[str, Any]
) -> None:
    body = json.dumps({"raise": "x" * 2_000_000})
    answer = anyone.post(dialect.path, body, content_type="application/json")
    assert answer.status_code == 413
    assert _kind(answer.json(), kind[0]) == kind[1]


@_each(TOO_LARGE)
def test_a_length_alone_is_enough_to_refuse(
    anyone: Client, dialect: Dialect, kind: tuple[str, Any]
) -> None:
    answer = anyone.post(
        dialect.path, b"", content_type="application/json", CONTENT_LENGTH="1048577"
    )
    assert answer.status_code == 413
    assert _kind(answer.json(), kind[0]) == kind[1]


@_each(WRONG_TYPE)
def test_an_unsupported_content_type_is_415(
    anyone: Client, dialect: Dialect, kind: tuple[str, Any]
) -> None:
    for sent in ("text/plain", "application/xml", "application/jsonp", "nonsense"):
        answer = anyone.post(dialect.path, b'{"raise": "domain"}', content_type=sent)
        assert answer.status_code == 415
        assert _kind(answer.json(), kind[0]) == kind[1]


@every_dialect
def test_a_charset_changes_nothing(anyone: Client, dialect: Dialect) -> None:
    for sent in ("application/json; charset=utf-8", "Application/JSON ;charset=nope"):
        answer = anyone.post(
            dialect.path, b'{"raise": "contradiction"}', content_type=sent
        )
        assert "The job is over." in answer.content.decode()


@every_dialect
def test_u0000_in_a_query_is_refused(anyone: Client, dialect: Dialect) -> None:
    answer = anyone.get(f"{dialect.path}?app=a%00b")
    assert answer.status_code == 400
    assert "U+0000" in answer.content.decode()


FORMS = [
    ("application/x-www-form-urlencoded", b"raise=poor"),
    (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="raise"\r\n\r\npoor\r\n--b--\r\n',
    ),
]


@pytest.mark.parametrize(("kind", "body"), FORMS)
def test_cosmiv_accepts_forms(anyone: Client, kind: str, body: bytes) -> None:
    answer = anyone.post(COSMIV.path, body, content_type=kind)
    assert answer.json()["error"]["code"] == "INSUFFICIENT_CREDITS"


BROKEN_FORMS = [
    ("multipart/form-data", b"raise=poor"),
    ("multipart/form-data; boundary=", b"--\r\n"),
    ("multipart/form-data; boundary=\xff\xfe", b"--\r\n"),
    ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data"),
    ("multipart/form-data; boundary=b", b"no boundary at all"),
]


@pytest.mark.parametrize(("kind", "body"), BROKEN_FORMS)
def test_a_broken_form_is_400_or_empty(anyone: Client, kind: str, body: bytes) -> None:
    answer = anyone.post(COSMIV.path, body, content_type=kind)
    # A form without the field raises in the probe; a broken form never reaches it.
    assert answer.status_code in (400, 500)
    assert answer.json()["success"] is False


def test_a_form_of_too_many_fields_is_413(anyone: Client) -> None:
    body = "&".join(f"f{n}=" for n in range(1001))
    kind = "application/x-www-form-urlencoded"
    answer = anyone.post(COSMIV.path, body, content_type=kind)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "PAYLOAD_TOO_LARGE"


@every_dialect
def test_an_unknown_host_is_refused_in_the_guides_format(
    anyone: Client, dialect: Dialect
) -> None:
    for host in ("evil.example", "evil.example:80", "a b", "localhost.evil"):
        answer = anyone.get(dialect.path, HTTP_HOST=host)
        assert answer.status_code == 400
        assert "host name" in answer.content.decode()
        assert answer["Content-Type"] == "application/json"
        assert len(answer["X-Request-ID"]) == 32

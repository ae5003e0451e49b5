"""No secret reaches a log line, and every line can be tied to its request."""

import json
import logging
import sys

import pytest

from focus import logs

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl-_x"
PAT = "focus_pat_0123456789abcdefghijklmnopqrstuvABCDEF"


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (f"bearer {PAT} refused", PAT),
        ("key sk-tool-abcDEF123-_4 unknown", "abcDEF123"),
        ("key sk_live_abcDEF123 unknown", "abcDEF123"),
        ("stripe sk_test_abcDEF123", "abcDEF123"),
        ("signed with whsec_bm90aGluZw==", "bm90aGluZw"),
        (f"token {JWT}", "eyJzdWIiOiIxIn0"),
        (f"unsigned {JWT.rpartition('.')[0]}.", "eyJzdWIiOiIxIn0"),
        ("GET /signin?redirect_to=x&token=s3cr3t HTTP/1.1", "s3cr3t"),
        ("GET /cb?code=s3cr3t&state=0therS3cret", "s3cr3t"),
        ("GET /cb?code=s3cr3t&state=0therS3cret", "0therS3cret"),
        ("GET /x?ticket=s3cr3t", "s3cr3t"),
        ("GET /v1/uploads/1?s=s3cr3t", "s3cr3t"),
        (f"GET /files/{'a' * 22}.1x2y3z.s3cr3t-_/cat.png 200", "s3cr3t"),
        (f"PUT /files/upload/{'a' * 22}.1x2y3z.s3cr3t", "s3cr3t"),
        ("POST device_code=s3cr3t", "s3cr3t"),
        ("POST refresh_token=s3cr3t", "s3cr3t"),
        ("POST PASSWORD=s3cr3t", "s3cr3t"),
        ('{"password": "s3cr3t"}', "s3cr3t"),
        ('{"password":"s3\\"cr3t"}', "cr3t"),
        ("{'refresh_token': 's3cr3t'}", "s3cr3t"),
        ('{"device_code" : "s3cr3t"}', "s3cr3t"),
        ("Authorization: Bearer s3cr3t", "s3cr3t"),
        ("Authorization: Basic czNjcjN0", "czNjcjN0"),
        ("{'Authorization': 'Bearer s3cr3t'}", "s3cr3t"),
        ("'HTTP_AUTHORIZATION': 'Token s3cr3t'", "s3cr3t"),
        ("X-Api-Key: s3cr3t", "s3cr3t"),
        ("HTTP_X_API_KEY=s3cr3t", "s3cr3t"),
        ("Cookie: focus_session=s3cr3t; a=b", "s3cr3t"),
        ("Set-Cookie: reviv_refresh=s3cr3t; Path=/", "s3cr3t"),
        ("postgresql://focus:s3cr3t@db/focus", "s3cr3t"),
        ("redis://:s3cr3t@cache:6379/0", "s3cr3t"),
    ],
)
def test_a_secret_is_masked(line: str, secret: str) -> None:
    assert secret not in logs.scrub(line)
    assert logs.MASK in logs.scrub(line)


@pytest.mark.parametrize(
    "line",
    [
        "POST /api/jobs 201 12 ms",
        "statement: SELECT state, code FROM jobs_job WHERE id = 3",
        "status=completed charged=3 jobs=2 tokens=1",
        "the code of the state is a token",
        "files=3 decode=1 estate=2 words=s",
        "unicode: 500 retries, barcode=17",
        "ledger invariant broken: wallet 5 covers its reservations",
        "https://video.example.com/path?app=video&limit=5",
    ],
)
def test_text_without_a_secret_stays_readable(line: str) -> None:
    assert logs.scrub(line) == line


def _record(message: object, *args: object, exc: bool = False) -> logging.LogRecord:
    return logging.LogRecord(
        "focus",
        logging.ERROR,
        __file__,
        1,
        message,
        args,
        sys.exc_info() if exc else None,
    )


def test_arguments_are_scrubbed_like_the_message() -> None:
    record = _record("refused %s for %s", PAT, {"password": "s3cr3t"})
    assert logs.Scrub().filter(record)
    assert record.getMessage() == "refused focus_pat_*** for {'password': '***'}"


def test_a_traceback_is_scrubbed_too() -> None:
    try:
        raise ValueError(f"cannot read {JWT}")
    except ValueError:
        record = _record("broken", exc=True)
    logs.Scrub().filter(record)
    for formatter in (logs.Plain(), logs.Json()):
        line = formatter.format(record)
        assert "ValueError: cannot read ***" in line
        assert JWT not in line


def test_a_percent_sign_in_a_scrubbed_message_is_no_format() -> None:
    record = _record("100%% of %s", "5% token=abc")
    logs.Scrub().filter(record)
    assert logs.Plain().format(record).endswith("100% of 5% token=***")


def test_a_format_that_does_not_fit_loses_no_line() -> None:
    record = _record("%d jobs for %s", "three")
    logs.Scrub().filter(record)
    assert "three" in logs.Json().format(record)


def test_a_json_line_is_one_object_with_the_request_in_it() -> None:
    record = _record("two\nlines “quoted”")
    before = logs.request_id.set("case-0001")
    try:
        line = logs.Json().format(record)
    finally:
        logs.request_id.reset(before)
    assert "\n" not in line
    said = json.loads(line)
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "ERROR",
        "logger": "focus",
        "message": "two\nlines “quoted”",
        "request_id": "case-0001",
    }


def test_a_plain_line_ends_in_the_request() -> None:
    before = logs.request_id.set("case-0001")
    try:
        assert (
            logs.Plain().format(_record("hello")).endswith("focus: hello [case-0001]")
        )
    finally:
        logs.request_id.reset(before)
    assert logs.Plain().format(_record("hello")).endswith("focus: hello")

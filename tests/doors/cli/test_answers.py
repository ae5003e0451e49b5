"""Any response and any terminal: exit codes, one line, and no repeated effects."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.doors.cli.tools import (
    JOB,
    ROOT,
    START,
    TOKEN,
    Cli,
    Scripted,
    one_line,
    read_code,
)


def test_a_request_with_a_lost_response_is_retried(
    cli: Cli, scripted: Scripted
) -> None:
    scripted.answers = ["hang up", (503, {}), (201, JOB)]
    create = ("jobs", "create", "--app", "video", "--action", "render")
    done = cli.run(*create, "--cost", "0.01", server=scripted.url, token=TOKEN)
    assert done.returncode == 0, done.stderr
    assert len({request.headers["Idempotency-Key"] for request in scripted.seen}) == 1
    assert len(scripted.seen) == 3
    assert '"cost_estimate": 0.01' in scripted.seen[-1].body


def test_metadata_keeps_its_numbers(cli: Cli, scripted: Scripted) -> None:
    scripted.answers = [(201, JOB)]
    create = ("jobs", "create", "--app", "a", "--action", "b", "--cost", "5")
    given = '{"rate": 0.10, "n": [1e400, null], "title": "x"}'
    meta = ("--metadata", given, "--meta", "title=Vorschau é", "--ttl", "60")
    cli.run(*create, *meta, server=scripted.url, token=TOKEN)
    assert scripted.seen[0].body == (
        '{"app": "a", "action": "b", "cost_estimate": 5, "metadata": {"rate": 0.10, '
        '"n": [1E+400, null], "title": "Vorschau \\u00e9"}, "ttl_seconds": 60}'
    )


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ((400, {"error": "invalid", "message": "Bad."}), 1, "Bad."),
        ((403, {"error": "insufficient_scope", "message": "No."}), 3, "may not"),
        ((404, "<html>"), 4, "is it a Focus server?"),
        ((422, {"error": "key_reused", "message": "Other."}), 1, "idempotency key"),
        ((429, {"error": "slow"}, {"Retry-After": "7"}), 5, "Try again in 7 s."),
        ((500, "<html>", {"X-Request-ID": "abc12345"}), 6, "abc12345"),
        ((200, "<html>"), 6, "did not answer like a Focus server"),
    ],
)
def test_exit_codes(
    cli: Cli, scripted: Scripted, answer: Any, code: int, words: str
) -> None:
    scripted.answers = [answer]
    ended = cli.run("jobs", "list", "--json", server=scripted.url, token=TOKEN)
    assert ended.returncode == code
    assert words in one_line(ended.stderr)
    expected = answer[1] if answer[0] != 200 and isinstance(answer[1], dict) else None
    assert expected is None or ended.json() == expected
    assert "error" in ended.json()
    assert len(scripted.seen) == 1, "only 502 to 504 and lost responses are retried"


def test_a_repeated_cursor_ends_the_list(cli: Cli, scripted: Scripted) -> None:
    scripted.answers = [(200, {"jobs": [JOB], "next_cursor": "same"})]
    listed = cli.run("jobs", "list", "--all", server=scripted.url, token=TOKEN)
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == len(scripted.seen) == 2


def test_a_refused_connection(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ended = cli.run("whoami", server=server, token=TOKEN)
    assert ended.returncode == 6
    assert "connection refused" in one_line(ended.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nope",),
        ("jobs",),
        ("whoami", "--nope"),
        ("jobs", "list", "--status", "lost"),
        ("jobs", "list", "--limit", "0"),
        ("jobs", "create", "--app", "a", "--action", "b"),
        ("jobs", "create", "--app", "a", "--action", "b", "--cost", "1e3"),
        ("jobs", "create", "--app", "a", "--action", "b", "--cost", "0.0000001"),
        ("jobs", "complete", "j", "--metadata", "[]"),
        ("jobs", "complete", "j", "--metadata", '{"a": NaN}'),
        ("jobs", "complete", "j", "--meta", "=v"),
    ],
)
def test_usage(cli: Cli, arguments: tuple[str, ...]) -> None:
    ended = cli.run(*arguments, token=TOKEN)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) <= 1


def test_not_signed_in(cli: Cli) -> None:
    ended = cli.run("whoami", "--json")
    assert ended.returncode == 3
    assert ended.stderr == "Not signed in. Run: focus login\n"
    assert ended.json()["error"] == "not_signed_in"
    assert not cli.directory.exists(), "reading must not create the directory"


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_old_encodings_and_hostile_text(
    cli: Cli, scripted: Scripted, env: dict[str, str]
) -> None:
    job = JOB | {"app": "é\x1b[2J\ttab\n\u202e", "action": "[red]", "charged": None}
    scripted.answers = [(200, {"jobs": [job], "next_cursor": None})]
    listed = cli.run("jobs", "list", server=scripted.url, token=TOKEN, env=env)
    assert listed.returncode == 0, listed.stderr
    assert "\x1b" not in listed.stdout
    assert listed.stdout.count("\t") == 6
    assert "[red]" in listed.stdout
    table = cli.in_terminal("jobs", "list", answers=scripted, token=TOKEN)
    assert "job id" in table
    assert "[red]" in table
    assert "\x1b[2J" not in table


def test_a_closed_pipe(cli: Cli, scripted: Scripted) -> None:
    jobs = [JOB | {"action": "x" * 1000}] * 200
    scripted.answers = [(200, {"jobs": jobs, "next_cursor": None})]
    with cli.start("jobs", "list", server=scripted.url, token=TOKEN) as process:
        assert process.stdout
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=30)
    assert err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk(cli: Cli) -> None:
    with Path("/dev/full").open("w") as full:
        ended = cli.run("print-token", token=TOKEN, stdout=full)
    assert ended.returncode == 1
    assert "No space left" in one_line(ended.stderr)


def test_ctrl_c_is_quiet(cli: Cli, scripted: Scripted) -> None:
    scripted.answers = [(200, START), (202, {"status": "pending", "interval": 1})]
    with cli.start("login", server=scripted.url) as process:
        read_code(process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("answer", [(200, {"ok": True}), (404, "<html>"), "hang up"])
def test_a_stopped_login_cancels_its_code(
    cli: Cli, scripted: Scripted, kind: signal.Signals, answer: Any
) -> None:
    scripted.answers = [(200, START), answer, answer]
    with cli.start("login", server=scripted.url) as process:
        read_code(process)
        process.send_signal(kind)
        _, err = process.communicate(timeout=30)
    assert process.returncode == (130 if kind == signal.SIGINT else 128 + kind)
    assert "Traceback" not in err
    last = scripted.seen[-1]
    assert (last.method, last.path) == ("POST", "/api/device/cancel")
    assert last.body == '{"device_code": "device-code"}'
    assert last.headers["X-Code-Verifier"]


def test_help_version_and_leading_options(cli: Cli, scripted: Scripted) -> None:
    assert "Exit codes" in cli.run("--help").stdout
    assert re.fullmatch(r"focus \d+\.\d+\.\d+\n", cli.run("--version").stdout)
    scripted.answers = [(200, {"jobs": [], "next_cursor": None})]
    leading = ("--server", scripted.url, "--json", "jobs", "list")
    assert cli.run(*leading, token=TOKEN).json() == {"jobs": [], "next_cursor": None}


def test_the_command_imports_nothing_of_the_server() -> None:
    code = (
        "import sys, focus.cli.app; "
        "sys.exit(str({m.partition('.')[0] for m in sys.modules} & "
        "{'django', 'rest_framework', 'accounts', 'wallet', 'jobs', 'payments'}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert run.stderr == "set()\n"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("REQUESTS_CA_BUNDLE", "/nowhere.pem", "REQUESTS_CA_BUNDLE names a CA bundle"),
        ("CURL_CA_BUNDLE", "/nowhere.pem", "/nowhere.pem: No such file"),
        ("ALL_PROXY", "socks5h://127.0.0.1:1", "Missing dependencies for SOCKS"),
        ("HTTPS_PROXY", "http://:::", "The proxy's address can't be used"),
    ],
)
def test_a_local_misconfiguration_is_named(
    cli: Cli, name: str, value: str, words: str
) -> None:
    server = "https://account.example.com"
    done = cli.run("whoami", server=server, token=TOKEN, env={name: value})
    assert done.returncode == 6
    assert words in one_line(done.stderr)
    assert done.stdout == ""


def test_a_ca_bundle_without_certificates_is_named(
    cli: Cli, scripted: Scripted
) -> None:
    server = scripted.url.replace("http:", "https:")
    env = {"REQUESTS_CA_BUNDLE": __file__}
    done = cli.run("whoami", server=server, token=TOKEN, env=env)
    assert done.returncode == 6
    assert "it holds no certificates" in one_line(done.stderr)

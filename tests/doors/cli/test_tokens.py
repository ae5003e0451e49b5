"""A token from login to logout: storage, use and revocation."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import stat
from pathlib import Path

import pytest

from tests.doors.cli.tools import (
    GRANT,
    JOB,
    START,
    TOKEN,
    Cli,
    Scripted,
    one_line,
)


def test_polls_keep_the_servers_pace_and_send_the_verifier(
    cli: Cli, scripted: Scripted
) -> None:
    scripted.answers = [
        (200, START),
        (202, {"status": "pending", "interval": 1}),
        (202, {"status": "slow_down", "interval": 2}),
        (429, {"error": "rate_limited"}, {"Retry-After": "3"}),
        "hang up",
        (502, "<html>"),
        (200, GRANT),
    ]
    done = cli.run("login", server=scripted.url)
    assert done.returncode == 0, done.stderr
    begin, *polls = scripted.seen
    gaps = [b.at - a.at for a, b in itertools.pairwise(polls)]
    for gap, least in zip(gaps, (1, 2, 3, 2, 4), strict=True):
        assert least - 0.1 < gap < least + 5
    proof = {poll.headers["X-Code-Verifier"] for poll in polls}
    assert len(proof) == 1
    digest = hashlib.sha256(proof.pop().encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert json.loads(begin.body)["code_challenge"] == challenge
    assert json.loads(begin.body)["code_challenge_method"] == "S256"
    assert polls[0].path == "/api/device/poll?device_code=device-code"
    assert not any("Authorization" in request.headers for request in scripted.seen)


def test_a_code_expires(cli: Cli, scripted: Scripted) -> None:
    scripted.answers = [(200, START | {"expires_in": 1, "interval": 2})]
    assert cli.run("login", server=scripted.url).returncode == 3
    scripted.answers = [(200, START), (400, {"error": "expired_token"})]
    ended = cli.run("login", server=scripted.url)
    assert ended.returncode == 3
    assert "Run: focus login" in ended.stderr


def test_the_file_is_private_and_announced(cli: Cli, scripted: Scripted) -> None:
    cli.directory.mkdir(mode=0o755)
    cli.log_in(scripted)
    record = cli.record_of(scripted.url)
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    first_line = cli.last.stderr.splitlines()[0]
    assert first_line.startswith("The token will be stored in: ")
    assert str(record) in first_line
    assert not list(cli.directory.glob(".*")), "no temporary file may stay"


def test_links_are_not_followed(cli: Cli, scripted: Scripted, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("theirs")
    cli.directory.mkdir(mode=0o700)
    cli.record_of(scripted.url).symlink_to(target)
    refused = cli.run("login", server=scripted.url)
    assert refused.returncode == 1
    assert "symbolic link" in refused.stderr
    assert target.read_text() == "theirs"
    assert not scripted.seen, "no code may be requested if no token can be stored"


@pytest.mark.parametrize("where", ["/dev/null/focus", "/proc/focus"])
def test_an_unwritable_directory_stops_the_login(
    cli: Cli, scripted: Scripted, where: str
) -> None:
    refused = cli.run("login", server=scripted.url, env={"FOCUS_CONFIG_DIR": where})
    assert refused.returncode == 1
    assert one_line(refused.stderr).startswith(f"Can't write to {where}")
    assert not scripted.seen
    scripted.answers = [(200, JOB)]
    create = ("jobs", "create", "--app", "a", "--action", "b", "--cost", "5")
    env = {"FOCUS_CONFIG_DIR": where}
    assert cli.run(*create, server=scripted.url, token=TOKEN, env=env).returncode == 0


def test_a_keyring_is_preferred(cli: Cli, scripted: Scripted, tmp_path: Path) -> None:
    cli.use_keyring(tmp_path)
    cli.log_in(scripted)
    assert "The token will be stored in: Test Ring" in cli.last.stderr
    assert TOKEN not in cli.record_of(scripted.url).read_text()
    assert TOKEN in (tmp_path / "ring.json").read_text()
    assert cli.run("print-token").stdout == f"{TOKEN}\n"
    scripted.answers = [(200, {})]
    assert cli.run("logout").returncode == 0
    assert TOKEN not in (tmp_path / "ring.json").read_text()


def test_a_move_to_the_file_deletes_the_keyrings_copy(
    cli: Cli, scripted: Scripted, tmp_path: Path
) -> None:
    cli.use_keyring(tmp_path)
    cli.log_in(scripted)
    cli.log_in(scripted, "--storage", "file")
    assert TOKEN in cli.record_of(scripted.url).read_text()
    assert TOKEN not in (tmp_path / "ring.json").read_text()


@pytest.mark.parametrize("fault", ["raise RuntimeError(value)", "return"])
def test_a_keyring_that_fails(
    cli: Cli, scripted: Scripted, tmp_path: Path, fault: str
) -> None:
    cli.use_keyring(tmp_path, fault=fault)
    cli.log_in(scripted)
    assert f"Storing it in: {cli.record_of(scripted.url)}" in cli.last.stderr
    assert TOKEN not in cli.last.stdout + cli.last.stderr
    assert cli.run("print-token").stdout == f"{TOKEN}\n"

    scripted.answers = [(200, START), (200, GRANT), (200, {})]
    scripted.seen.clear()
    refused = cli.run("login", "--storage", "keyring", server=scripted.url)
    assert refused.returncode == 1
    revoked = scripted.seen[-1]
    assert (revoked.method, revoked.path) == ("DELETE", "/api/tokens/current")
    assert revoked.headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_browser_opens_in_a_terminal_only(
    cli: Cli, scripted: Scripted, tmp_path: Path
) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    browser.chmod(0o700)
    cli.env["BROWSER"] = f"{browser} %s"
    cli.log_in(scripted)
    cli.in_terminal("login", "--no-browser", answers=scripted)
    assert not opened.exists()
    shown = cli.in_terminal("login", answers=scripted)
    assert "BCDF-GHJK" in shown
    assert opened.read_text().split() == [START["verification_uri_complete"]]


def test_logout_from_a_server_that_is_gone(cli: Cli, scripted: Scripted) -> None:
    cli.log_in(scripted)
    scripted.stop()
    ended = cli.run("logout")
    assert ended.returncode == 6
    assert "still works on the server until 2030-01-0" in ended.stderr
    assert not cli.record_of(scripted.url).exists()
    assert cli.run("logout", server=scripted.url).returncode == 0


@pytest.mark.parametrize(("status", "code"), [(401, 0), (404, 0), (429, 5), (500, 6)])
def test_logout_removes_the_copy_anyway(
    cli: Cli, scripted: Scripted, status: int, code: int
) -> None:
    cli.log_in(scripted)
    scripted.answers = [(status, {"error": "x", "message": "No."})]
    assert cli.run("logout").returncode == code
    assert not cli.record_of(scripted.url).exists()


def test_logout_leaves_the_environment_alone(cli: Cli, scripted: Scripted) -> None:
    cli.log_in(scripted)
    scripted.answers = [(200, {})]
    scripted.seen.clear()
    ended = cli.run("logout", token="focus_pat_other")
    assert ended.returncode == 0
    assert "FOCUS_TOKEN is still set" in ended.stderr
    assert scripted.seen[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert cli.run("logout", token="focus_pat_other").returncode == 1


def test_focus_token_overrides_the_store(cli: Cli, scripted: Scripted) -> None:
    cli.log_in(scripted)
    assert cli.run("print-token", token="focus_pat_other").stdout == "focus_pat_other\n"
    assert cli.run("print-token", token="").stdout == f"{TOKEN}\n"
    assert cli.run("print-token", token="two words").returncode == 3


def test_a_token_is_sent_to_its_own_server_only(
    cli: Cli, scripted: Scripted, stranger: Scripted
) -> None:
    cli.log_in(scripted)
    for how in ({"server": stranger.url}, {"env": {"FOCUS_SERVER": stranger.url}}):
        refused = cli.run("whoami", **how)
        assert refused.returncode == 3
        assert "Not signed in. Run: focus login" in refused.stderr
    copied = cli.record_of(stranger.url)
    copied.write_bytes(cli.record_of(scripted.url).read_bytes())
    assert cli.run("whoami", server=stranger.url).returncode == 3
    assert not stranger.seen


def test_redirects_netrc_and_proxies(
    cli: Cli, scripted: Scripted, stranger: Scripted, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login me password secret\n")
    netrc.chmod(0o600)
    env = {"NETRC": str(netrc), "HTTP_PROXY": stranger.url, "http_proxy": stranger.url}
    scripted.answers = [(307, {}, {"Location": f"{stranger.url}/api/wallet"})]
    sent = cli.run("whoami", server=scripted.url, token=TOKEN, env=env)
    assert sent.returncode == 6
    assert "redirect" in sent.stderr
    assert scripted.seen[0].headers["Authorization"] == f"Bearer {TOKEN}"
    scripted.answers = [(500, {})]
    cli.run("login", server=scripted.url, env=env)
    assert "Authorization" not in scripted.seen[-1].headers
    assert not stranger.seen


@pytest.mark.parametrize(
    "server",
    [
        "http://192.0.2.1",
        "http://a@localhost",
        "ftp://localhost",
        "http://",
        "https://h:x",
    ],
)
def test_addresses_that_are_refused(cli: Cli, server: str) -> None:
    refused = cli.run("whoami", server=server, token=TOKEN)
    assert refused.returncode == 2
    assert one_line(refused.stderr)

"""The command against a real server."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from tests.doors.cli.tools import (
    TOKEN,
    Cli,
    decide,
    read_code,
    register,
)


def test_login_to_logout(cli: Cli, live_server: Any, video: Any) -> None:
    access = register(live_server.url)
    with cli.start("login", "--no-browser", server=live_server.url) as login:
        code = read_code(login)
        decide(live_server.url, access, code, approve=True)
        out, err = login.communicate(timeout=60)
    assert login.returncode == 0, err
    assert "Signed in" in out

    token = cli.run("print-token").stdout
    assert re.fullmatch(r"focus_pat_\w{38}\n", token)
    assert token.strip() not in out + err

    me = cli.run("whoami", "--json").json()
    assert me["server"] == live_server.url
    assert me["account"]["email"] in cli.run("whoami").stdout
    assert me["token"]["last4"] == token.strip()[-4:]
    assert me["token"]["storage"] == str(cli.record_of(live_server.url))

    assert me["account"]["credits"] == 0
    met = cli.run("whoami", "--app", "video", "--json").json()
    assert met["account"]["credits"] == 20

    assert cli.run("logout", "--json").json()["revoked"] is True
    assert not cli.record_of(live_server.url).exists()
    assert cli.run("whoami", server=live_server.url).returncode == 3
    spent = cli.run("whoami", server=live_server.url, token=token)
    assert spent.returncode == 3, "the server must have revoked the token"


def test_login_denied(cli: Cli, live_server: Any) -> None:
    access = register(live_server.url)
    with cli.start("login", "--json", server=live_server.url) as login:
        decide(live_server.url, access, read_code(login), approve=False)
        out, err = login.communicate(timeout=60)
    assert login.returncode == 3
    assert json.loads(out)["error"] == "access_denied"
    assert "denied" in err
    assert not cli.record_of(live_server.url).exists()


def test_a_job_from_reserve_to_settle(cli: Cli, live_server: Any, video: Any) -> None:
    cli.sign_in(live_server.url)
    create = ("jobs", "create", "--app", "video", "--action", "render")
    made = cli.run(*create, "--cost", "5", "--meta", "title=Preview")
    assert made.returncode == 0, made.stderr
    assert "5 credits reserved, 15 credits left" in made.stdout
    job_id = made.stdout.split()[1]

    done = cli.run("jobs", "complete", job_id, "--actual-cost", "0.01")
    assert "0.01 credits charged, 4.99 given back, 19.99 credits left" in done.stdout

    other = cli.run(*create, "--cost", "2.5", "--json").json()["job_id"]
    failed = cli.run("jobs", "fail", other, "--no-refund", "--reason", "No disk")
    assert "2.5 credits charged, 17.49 credits left" in failed.stdout

    rows = [row.split("\t") for row in cli.run("jobs", "list").stdout.splitlines()]
    assert [row[:2] for row in rows] == [[other, "failed"], [job_id, "completed"]]
    assert cli.run("jobs", "list", "--status", "started").stdout == ""


def test_refusals_have_exit_codes(cli: Cli, live_server: Any, video: Any) -> None:
    cli.sign_in(live_server.url)
    create = ("jobs", "create", "--app", "video", "--action", "render", "--cost")
    poor = cli.run(*create, "1000", "--json")
    assert poor.returncode == 1
    assert poor.json()["error"] == "insufficient_credits"
    assert "1000 needed, 20 available" in poor.stderr

    job_id = cli.run(*create, "1", "--json").json()["job_id"]
    assert cli.run("jobs", "fail", job_id).returncode == 0
    assert cli.run("jobs", "complete", job_id).returncode == 1
    assert cli.run("jobs", "complete", str(uuid.uuid4())).returncode == 4
    strange = cli.run("whoami", token=TOKEN)
    assert strange.returncode == 3
    assert "FOCUS_TOKEN" in strange.stderr


def test_a_repeated_idempotency_key_starts_no_second_job(
    cli: Cli, live_server: Any, video: Any
) -> None:
    cli.sign_in(live_server.url)
    create = ("jobs", "create", "--app", "video", "--action", "render", "--cost", "3")
    first = cli.run(*create, "--idempotency-key", "order-17", "--json").json()
    again = cli.run(*create, "--idempotency-key", "order-17", "--json").json()
    assert again["job_id"] == first["job_id"]
    assert cli.run("whoami", "--json").json()["account"]["credits"] == 17


def test_all_pages(cli: Cli, live_server: Any, video: Any) -> None:
    cli.sign_in(live_server.url)
    create = ("jobs", "create", "--app", "video", "--action", "render", "--json")
    made = [cli.run(*create, "--cost", "1").json()["job_id"] for _ in range(3)]
    page = cli.run("jobs", "list", "--limit", "2")
    assert len(page.stdout.splitlines()) == 2
    assert "--cursor" in page.stderr
    listed = cli.run("jobs", "list", "--limit", "2", "--all", "--json").json()
    assert [job["job_id"] for job in listed["jobs"]] == made[::-1]
    assert listed["next_cursor"] is None

"""/dev/mail shows whole mails in local mode; in production it is not found."""

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.test import Client

from accounts import mails
from accounts.models import User
from accounts.recovery import mailbox
from focus.logs import Scrub
from focus.outgoing import local_mail
from tests import processes
from tests.doors.browsing import Browser

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.EMAIL_BACKEND = "focus.outgoing.local_mail.Backend"
    settings.LOCAL_MAIL_FOLDER = tmp_path / "mail"
    return tmp_path / "mail"


HERE = {"Host": "localhost"}


@pytest.mark.django_db
def test_a_mailed_link_on_the_page_opens(
    folder: Path, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(Scrub())
    browser = Browser()
    with caplog.at_level(logging.INFO):
        browser.fill("/forgot", {"email": "alice@example.com"})
        mailbox.mail_due()
        mails.send_due()
    page = browser.get("/dev/mail", headers=HERE).content.decode()
    assert "alice@example.com" in page
    [link] = re.findall(r'href="http://localhost:8000(/mailbox\?code=[^"]+)"', page)
    assert "Set a new password" in browser.get(link).content.decode()
    # The log contains the page's address but not the code.
    assert "/dev/mail" in caplog.text
    assert link.partition("code=")[2] not in caplog.text


@pytest.mark.django_db
def test_a_mail_is_shown_as_text(folder: Path) -> None:
    EmailMessage("<b>x</b>", "<script>alert(1)</script>", to=["a@example.com"]).send()
    page = Client().get("/dev/mail", headers=HERE).content.decode()
    assert "&lt;script&gt;" in page
    assert "<b>x</b>" not in page


@pytest.mark.django_db
def test_mail_files_are_private_and_limited(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_mail, "KEPT", 2)
    for number in range(4):
        EmailMessage(f"mail {number}", "x", to=["a@example.com"]).send()
    files = sorted(folder.iterdir())
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [it.subject for it in local_mail.recent_mails()] == ["mail 3", "mail 2"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "focus.example"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-Host": "focus.example"},
        {"Forwarded": "for=203.0.113.9"},
    ],
)
def test_a_visitor_through_a_tunnel_finds_nothing(
    folder: Path, settings: Any, headers: dict[str, str]
) -> None:
    settings.ALLOWED_HOSTS = ["focus.example", "localhost"]
    assert Client().get("/dev/mail", headers=HERE | headers).status_code == 404


SERVER = """
import django
django.setup()
from django.conf import settings
from django.test import Client
host = settings.PUBLIC_BASE_URL.split("://")[1].split(":")[0]
for name in (host, "localhost"):
    settings.ALLOWED_HOSTS.append(name)
    headers = {"Host": name, "X-Forwarded-Proto": "https"}
    print(Client(headers=headers).get("/dev/mail").status_code)
print(settings.EMAIL_BACKEND)
"""


@pytest.mark.parametrize(
    ("local", "address", "status"),
    [
        (False, "https://focus.example", "404"),
        (False, "http://localhost:8000", "404"),
        (True, "https://focus.example", "404"),
        (True, "http://focus.example", "404"),
        (True, "http://localhost:8000", "200"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_only_a_local_server_on_a_local_address_has_the_page(
    tmp_path: Path, local: bool, address: str, status: str
) -> None:
    """A separate process reads the settings of the server."""
    if local:
        (tmp_path / "env").write_text("")
    environment = processes.environment() | {
        "FOCUS_TESTING": "0",
        "FOCUS_VAR": str(tmp_path),
        "PUBLIC_BASE_URL": address,
        "BEHIND_TLS_PROXY": "1",
        "DJANGO_SETTINGS_MODULE": "focus.settings",
    }
    said = subprocess.run(
        [sys.executable, "-c", SERVER],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    *statuses, backend = said.stdout.split()
    assert statuses == [status, status]
    assert ("local_mail" in backend) == local

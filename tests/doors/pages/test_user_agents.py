"""User-Agent headers on /security and /device: in words, and as text only."""

from typing import Any

import pytest

from accounts.audit import Visitor
from accounts.models import User
from accounts.pages import user_agents
from accounts.signin import devices
from tests.doors.browsing import PASSWORD, Browser

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/141.0.0.0 Safari/537.36"
)
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/26.0 Safari/605.1.15"
)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (CHROME, "Chrome 141 on Windows"),
        (SAFARI, "Safari 26 on macOS"),
        ("curl/8.5.0", "curl 8"),
        ("focus-cli/1.0 <b>", "focus-cli/1.0 <b>"),
        ("", ""),
    ],
)
def test_a_header_is_described_in_words(header: str, words: str) -> None:
    assert user_agents.describe(header) == words


def test_security_names_the_browser_and_keeps_the_header_in_a_title(
    alice: User,
) -> None:
    browser = Browser()
    browser.defaults["HTTP_USER_AGENT"] = CHROME
    browser.sign_in(password=PASSWORD)
    page = browser.get("/security").content.decode()
    assert f'title="{CHROME}">Chrome 141 on Windows' in page
    assert page.count(f'title="{CHROME}">Chrome 141 on Windows</p>') == 1
    assert f">{CHROME}" not in page


def test_device_names_the_client_that_asks(alice: User) -> None:
    browser = Browser()
    browser.sign_in()
    started = devices.start(client_name="cli", visitor=Visitor(user_agent=SAFARI))
    form: dict[str, Any] = {"user_code": started.grant.user_code, "intent": "find"}
    page = browser.fill("/device", form).content.decode()
    assert f'<dd title="{SAFARI}">Safari 26 on macOS</dd>' in page

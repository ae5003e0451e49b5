"""The browser that the tests drive, its options, and a visit with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def visit(acts: Callable[[Any], None], *, but: str = "") -> None:
    """Run `acts` in a new browser. Errors on its console fail the test.

    Errors that contain `but` are expected.
    """
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        page = browser.new_context().new_page()
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        acts(page)
        browser.close()
    serious = [it for it in complaints if not but or but not in it]
    assert serious == [], serious

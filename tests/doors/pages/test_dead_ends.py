"""Addresses without content of their own still show a page with a next step."""

import uuid

import pytest
from django.urls import get_resolver
from django.urls.resolvers import RoutePattern, URLPattern, URLResolver

from accounts.models import App, User
from tests.doors.browsing import Browser

pytestmark = pytest.mark.django_db


@pytest.fixture
def alices(alice: User) -> Browser:
    browser = Browser()
    browser.sign_in()
    return browser


def _pages(module: str) -> list[str]:
    """Return the page addresses of one Django app, with an unknown id in each."""
    found: list[str] = []
    for one in get_resolver().url_patterns:
        if (
            isinstance(one, URLResolver)
            and getattr(one.urlconf_name, "__name__", "") == module
        ):
            found += [
                _filled(it) for it in one.url_patterns if isinstance(it, URLPattern)
            ]
    return found


def _filled(pattern: URLPattern) -> str:
    route = pattern.pattern
    assert isinstance(route, RoutePattern)
    path = str(route)
    for name, converter in route.converters.items():
        kind = type(converter).__name__.removesuffix("Converter").lower()
        value = str(uuid.UUID(int=0)) if kind == "uuid" else "steam"
        path = path.replace(f"<{kind}:{name}>", value)
    return f"/{path}"


@pytest.mark.parametrize("module", ["accounts.pages", "payments.pages", "jobs.pages"])
def test_every_address_of_a_page_answers_a_get_with_a_page(
    alices: Browser, module: str
) -> None:
    """A reload after a form and an address typed by hand must show a page."""
    addresses = _pages(module)
    assert len(addresses) > 5
    for path in addresses:
        if path == "/dev/mail":
            continue
        answer = alices.get(path)
        if answer.status_code in (301, 302):
            continue
        assert answer.content, path
        if answer.status_code == 405:
            assert answer["Allow"] == "POST", path
            assert "Your account" in answer.content.decode(), path


def test_a_tool_that_is_gone_shows_a_message(alices: Browser, tool: App) -> None:
    gone = uuid.UUID(int=0)
    for path in (f"/tools/{gone}", f"/purchases/{gone}", "/tools/nonsense"):
        answer = alices.get(path)
        assert answer.status_code == 404
        assert "Page not found" in answer.content.decode()
    answer = alices.fill("/tools", {}, f"/tools/{gone}/buy")
    assert answer.status_code == 404
    assert "Page not found" in answer.content.decode()


def test_a_form_sent_after_sign_out_returns_to_its_page(alice: User, tool: App) -> None:
    stranger = Browser()
    stranger.get("/tools")
    action = f"/tools/{tool.pk}/buy"
    page = {"Referer": "http://localhost:8000/tools?x=1"}
    token = stranger.cookies["focus_csrf"].value
    form = {"csrfmiddlewaretoken": token}
    answer = stranger.post(action, form, headers=page)
    assert answer["Location"] == "/signin?next=%2Ftools%3Fx%3D1"
    for elsewhere in (
        "https://evil.example/x",
        "http://localhost:8000//evil.example",
        "",
    ):
        answer = stranger.post(action, form, headers={"Referer": elsewhere})
        assert answer["Location"] == "/signin?next=%2F"


def test_a_local_tool_asks_the_person_to_start_it(
    alices: Browser, alice: User, tool: App
) -> None:
    App.objects.update(tool_url="http://localhost:3000/auth/callback")
    page = alices.fill("/tools", {}, f"/tools/{tool.pk}/buy")["Location"]
    assert "Start it before you open it" in alices.get(page).content.decode()
    App.objects.update(tool_url="https://your-tool.com/cb")
    assert "Start it there" not in alices.get(page).content.decode()

"""Redirect targets: a table of hostile URLs, and the parameters that are removed."""

import pytest
from pytest_django import Settings

from accounts.models import App
from accounts.partners import origins, redirects
from tests.counting import statements

APPS = ["https://video.thefocus.ai", "https://thefocus.ai", "http://localhost:5173"]

# URL, is it an allowed URL, is it an allowed path.
TABLE = [
    ("https://video.thefocus.ai/a?b=1#c", True, False),
    ("https://VIDEO.thefocus.ai/", True, False),
    ("https://video.thefocus.ai:443/x", True, False),
    ("https://video.thefocus.ai.evil.com/", False, False),
    ("https://evil.com/https://video.thefocus.ai", False, False),
    ("https://video.thefocus.ai@evil.com/", False, False),
    ("https://evil.com#@video.thefocus.ai", False, False),
    ("//evil.com", False, False),
    ("///evil.com", False, False),
    ("/\\evil.com", False, False),
    ("https:/evil.com", False, False),
    ("https:evil.com", False, False),
    ("https:///evil.com", False, False),
    ("http://video.thefocus.ai/", False, False),
    ("javascript:alert(1)//video.thefocus.ai", False, False),
    ("data:text/html,x", False, False),
    (" https://video.thefocus.ai/", False, False),
    ("https://video.thefocus.ai\\@evil.com/", False, False),
    ("https://video.thefocus.ai\t.evil.com/", False, False),
    ("https://video.thefocus.ai%2eevil.com/", False, False),
    ("https://video.thefocus.ai%00.evil.com/", False, False),
    ("https://xn--video-thefocus.ai/", False, False),
    ("https://video.thefocus.ai./", False, False),
    ("https://video.thefocus.ai:8443/", False, False),
    ("https://user:pw@video.thefocus.ai/", False, False),
    ("https://video\u3002thefocus.ai/", False, False),
    ("/auth/callback", False, True),
    ("/auth//evil", False, True),
    ("/%2f/evil.com", False, True),
    ("/;@evil.com", False, True),
    ("", False, False),
    ("/\t/evil.com", False, False),
    ("https://[::1]/", False, False),
    ("https://video.thefocus.ai:99999/", False, False),
    ("ftp://video.thefocus.ai/", False, False),
    ("https://video.thefocus.ai?x=//evil", True, False),
    ("https://evil.thefocus.ai/", False, False),
    ("https://localhost:5173/", False, False),
    ("http://localhost:5173/cb", True, False),
    ("https://video.thefocus.ai/" + "a" * 2048, False, False),
    ("https://video.thefocus.ai:/", True, False),
    ("https://video.thefocus.ai:0443/", True, False),
    ("https://video.thefocus.ai:+443/", False, False),
    ("https://[video.thefocus.ai]/", False, False),
    ("HTTPS://video.thefocus.ai/", True, False),
    ("https://video.thefocus.ai\x7f/", False, False),
    ("https://@video.thefocus.ai/", False, False),
]


@pytest.fixture(autouse=True)
def _apps(db: None, settings: Settings) -> None:
    settings.PUBLIC_BASE_URL = settings.FRONTEND_URL = "https://account.thefocus.ai"
    settings.HTTPS = True
    App.objects.create(slug="first", name="First", origins=APPS[:2])
    App.objects.create(slug="second", name="Second", origins=APPS[2:])
    App.objects.create(
        slug="off", name="Off", origins=["https://off.thefocus.ai"], active=False
    )


@pytest.mark.parametrize(("raw", "absolute", "relative"), TABLE)
def test_hostile_targets_are_refused(raw: str, absolute: bool, relative: bool) -> None:
    assert (redirects.allowed_url(raw) is not None) is absolute
    assert (redirects.allowed_path(raw) is not None) is relative


def test_the_path_is_free_and_comes_back_byte_by_byte() -> None:
    raw = "https://video.thefocus.ai/a/%2F..?q=%20+x&&y#/route?token=kept"
    assert redirects.allowed_url(raw) == raw


def test_non_ascii_letters_are_percent_encoded(settings: Settings) -> None:
    settings.FRONTEND_URL = "https://app.example.com"
    app = "https://video.thefocus.ai"
    path, encoded = "/épreuve?q=日本#ü", "/%C3%A9preuve?q=%E6%97%A5%E6%9C%AC#%C3%BC"
    assert redirects.allowed_url(app + path) == redirects.allowed_url(app + encoded)
    assert redirects.allowed_url(app + path) == app + encoded
    assert redirects.allowed_path(path) == encoded
    assert redirects.frontend_url(path) == f"https://app.example.com{encoded}"
    assert redirects.frontend_url(
        f"https://app.example.com{path}"
    ) == redirects.frontend_url(path)
    for host in (
        "https://vidéo.thefocus.ai/",
        "https://video.thefocus.ai\uff0fevil.com/",
        "https://video.thefocus.ai\u3002evil.com/",
        "https://evil.com\uff03@video.thefocus.ai/",
    ):
        assert redirects.allowed_url(host) is None
    assert redirects.allowed_url(f"{app}/\ud800") is None
    assert redirects.allowed_url(f"{app}/" + "é" * 1024) is None


def test_our_own_pages_and_the_front_end_are_allowed(settings: Settings) -> None:
    settings.FRONTEND_URL = "https://app.example.com"
    assert redirects.allowed_url("https://account.thefocus.ai/device")
    assert redirects.allowed_url("https://app.example.com/x")


def test_a_switched_off_apps_origin_is_refused() -> None:
    assert redirects.allowed_url("https://off.thefocus.ai/") is None


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("?token=x", ""),
        ("?a=1&token=x&b=2", "?a=1&b=2"),
        ("?ticket=x#f", "#f"),
        ("?%74oken=x&to%6Ben=y&a", "?a"),
        ("?token&token=", ""),
        ("?mytoken=1&tokens=2", "?mytoken=1&tokens=2"),
    ],
)
def test_an_existing_token_parameter_is_removed(sent: str, kept: str) -> None:
    base = "https://video.thefocus.ai/cb"
    assert redirects.allowed_url(base + sent) == base + kept


def test_the_token_is_the_last_parameter() -> None:
    base = "https://video.thefocus.ai/cb"
    assert redirects.with_token(base, "t") == f"{base}?token=t"
    assert redirects.with_token(f"{base}?a=1#f", "t") == f"{base}?a=1&token=t#f"


def test_an_app_on_our_site_gets_a_token_by_its_setting() -> None:
    target = "https://video.thefocus.ai/cb"
    assert redirects.wants_token(target)
    App.objects.filter(slug="first").update(redirect_token=False)
    assert not redirects.wants_token(target)
    assert not redirects.wants_token("https://account.thefocus.ai/")


def test_an_app_on_another_site_always_gets_a_token() -> None:
    App.objects.update(redirect_token=False)
    assert redirects.wants_token("http://localhost:5173/cb")


@pytest.mark.parametrize(
    ("base", "origin", "another"),
    [
        ("https://account.thefocus.ai", "https://account.thefocus.ai", False),
        ("https://account.thefocus.ai", "https://video.thefocus.ai", False),
        ("https://account.thefocus.ai", "https://thefocus.ai", False),
        ("https://account.thefocus.ai", "https://a.b.thefocus.ai:8443", False),
        ("https://account.thefocus.ai", "http://video.thefocus.ai", True),
        ("https://account.thefocus.ai", "https://nothefocus.ai", True),
        ("https://account.thefocus.ai", "https://1sub.io", True),
        ("https://account.thefocus.co.uk", "https://video.thefocus.co.uk", False),
        ("https://account.thefocus.co.uk", "https://evil.co.uk", True),
        ("https://thefocus.ai", "https://video.thefocus.ai", False),
        ("https://thefocus.ai", "https://other.ai", True),
        ("http://localhost:8000", "http://localhost:5173", False),
        ("http://localhost:8000", "http://127.0.0.1:5173", True),
        ("http://127.0.0.1:8000", "http://127.0.0.1:5173", False),
        ("http://127.0.0.1:8000", "http://10.0.0.1:5173", True),
    ],
)
def test_same_site_is_what_browsers_call_it(
    settings: Settings, base: str, origin: str, another: bool
) -> None:
    settings.PUBLIC_BASE_URL = base
    assert origins.is_another_site(origin) is another


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("https://video.example.com", "https://video.example.com"),
        ("https://Video.Example.com:443/", "https://video.example.com"),
        ("https://video.example.com:8443", "https://video.example.com:8443"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_an_origin_is_stored_as_browsers_serialize_it(typed: str, stored: str) -> None:
    assert origins.checked_origin(typed) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "video.example.com",
        "https://",
        "https://*.example.com",
        "https://video.example.com/path",
        "https://video.example.com?x",
        "https://video.example.com#x",
        "https://u@video.example.com",
        "https://video.example.com.",
        "http://video.example.com",
        "null",
        "*",
        "https://b\u00fccher.example",
        "https://" + "a" * 250 + ".example.com",
    ],
)
def test_an_invalid_origin_is_not_registered(typed: str) -> None:
    with pytest.raises(origins.InvalidOrigin):
        origins.checked_origin(typed)


def test_plain_http_needs_a_plain_http_server(settings: Settings) -> None:
    settings.HTTPS = False
    assert origins.checked_origin("http://localhost:5173") == "http://localhost:5173"


def test_an_origin_lookup_uses_the_index() -> None:
    with statements() as queries:
        assert not origins.is_registered("null")
        assert not origins.is_registered("")
        assert not origins.is_registered("https://Video.thefocus.ai")
        assert not origins.is_registered("https://video.thefocus.ai/")
    assert len(queries) == 0
    assert origins.is_registered("https://video.thefocus.ai")
    assert not origins.is_registered("https://off.thefocus.ai")

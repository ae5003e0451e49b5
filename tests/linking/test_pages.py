"""Linked accounts on /security: connect, show, sync and disconnect them."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.links import cookie as link_cookie
from accounts.links import linking, syncs
from accounts.models import Link, SecurityEvent, Sync, User
from accounts.recovery import mailbox
from tests.doors.browsing import Browser
from tests.linking.conftest import Stand, come_back
from tests.rules.accounts.test_mailbox import secret_for

PAGE = "/security"
CONNECT = "/links/steam/connect"
DISCONNECT = "/links/steam/disconnect"

pytestmark = pytest.mark.django_db


@pytest.fixture
def member(alice: User) -> Browser:
    browser = Browser()
    assert browser.sign_in().status_code == 302
    browser.defaults["HTTP_ACCEPT"] = "text/html"
    return browser


def text(browser: Client, page: str = PAGE) -> str:
    return " ".join(browser.get(page).content.decode().split())


def connect(browser: Browser, stand: Stand, provider: str = "steam") -> Any:
    """Press "Connect", sign in at the provider, and return the last page."""
    answer = browser.fill(PAGE, {}, f"/links/{provider}/connect")
    assert answer.status_code == 302
    assert answer["Cache-Control"] == "no-store"
    return come_back(browser, stand.visit(answer["Location"]))


def test_a_user_connects_and_disconnects(
    steam: Stand, member: Browser, alice: User
) -> None:
    assert "Connect Steam" in text(member)
    answer = connect(member, steam)
    assert answer["Location"] == "/security?linked=steam#links"
    link = Link.objects.get(user=alice)
    page = text(member, answer["Location"])
    assert f"Your Steam account {link.subject} is linked." in page
    assert "sync pending" in page
    assert "Disconnect Steam" in page
    assert CONNECT not in page
    answer = member.fill(PAGE, {}, DISCONNECT)
    assert answer["Location"] == "/security#links"
    assert f"{link.subject} is no longer linked" in text(member)
    assert not Link.objects.exists()
    # A second tab shows an error and changes nothing.
    assert member.fill(PAGE, {}, DISCONNECT).status_code == 302
    assert "This account is not linked." in text(member)


def test_the_page_shows_the_last_sync(
    steam: Stand, member: Browser, alice: User, settings: Any
) -> None:
    settings.STEAM_API_KEY = "the web api key"
    connect(member, steam)
    assert syncs.run_due() == 1
    assert "last synced" in text(member)
    # A sync is allowed once a minute.
    member.fill(PAGE, {}, "/links/sync")
    member.fill(PAGE, {}, "/links/sync")
    assert Sync.objects.filter(finished_at=None).count() == 1
    assert "The sync of your linked accounts starts" in text(member)
    Sync.objects.filter(finished_at=None).update(
        finished_at=timezone.now(), due_at=None, error="<b>The provider sulks.</b>"
    )
    page = text(member)
    assert "&lt;b&gt;The provider sulks." in page
    assert "<b>The" not in page


def test_an_expired_link_can_be_connected_again(
    x: Stand, member: Browser, alice: User
) -> None:
    connect(member, x, "x")
    Link.objects.update(is_active=False)
    page = text(member)
    assert "reconnect needed" in page
    assert "Connect X again" in page
    assert "/links/sync" not in page
    connect(member, x, "x")
    assert Link.objects.get().is_active


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("link_error=access_denied", "No account was linked"),
        ("link_error=link_taken", "linked to another Focus account"),
        ("link_error=already_linked", "Disconnect it first"),
        ("link_error=service_unavailable", "Try again later"),
        ("link_error=<script>evil</script>", "could not be linked"),
    ],
)
def test_an_error_code_shows_our_own_text(
    member: Browser, query: str, says: str
) -> None:
    page = text(member, f"{PAGE}?{query}")
    assert says in page
    assert "evil" not in page


def test_a_url_alone_cannot_claim_a_link(member: Browser) -> None:
    for query in ("linked=steam", "linked=nonsense", "linked="):
        assert "is linked." not in text(member, f"{PAGE}?{query}")


def test_the_page_shows_a_refusal_of_the_callback(
    steam: Stand, member: Browser, bob: User
) -> None:
    Link.objects.create(
        user=bob,
        provider="steam",
        subject="76561197960287930",
        created_at=timezone.now(),
    )
    answer = connect(member, steam)
    assert answer["Location"] == "/security?link_error=link_taken#links"
    page = text(member, answer["Location"])
    assert "linked to another Focus account" in page
    # The page shows no data of the other user either.
    assert "Disconnect" not in page


def test_another_site_can_neither_connect_nor_disconnect(
    steam: Stand, member: Browser, alice: User
) -> None:
    connect(member, steam)
    for path in (CONNECT, DISCONNECT, "/links/sync"):
        assert member.post(path).status_code == 403
        assert member.get(path).status_code == 405
    assert Link.objects.count() == 1


def test_an_anonymous_visitor_signs_in_first(steam: Stand) -> None:
    for path in (CONNECT, DISCONNECT, "/links/sync"):
        answer = Client().post(path)
        assert answer["Location"].startswith("/signin")
    assert steam.seen("GET /openid/login") == 0


def test_disconnecting_ends_only_ones_own_link(
    steam: Stand, member: Browser, bob: User
) -> None:
    Link.objects.create(
        user=bob, provider="steam", subject="1", created_at=timezone.now()
    )
    member.fill(PAGE, {}, DISCONNECT)
    assert Link.objects.get().user == bob


@pytest.mark.parametrize("provider", ["xbox", "nonsense"])
def test_a_provider_that_cannot_be_linked_is_refused(
    member: Browser, provider: str
) -> None:
    answer = member.fill(PAGE, {}, f"/links/{provider}/connect")
    assert answer["Location"] == "/security#links"
    assert "cannot be linked" in text(member)


def test_the_policy_allows_the_forms_redirects(
    steam: Stand, x: Stand, member: Browser, settings: Any
) -> None:
    policy = member.get(PAGE)["Content-Security-Policy"]
    for stand in (steam, x):
        assert f" {stand.url}" in policy.partition("form-action")[2].partition(";")[0]
    settings.X_CLIENT_ID = ""
    assert x.url not in member.get(PAGE)["Content-Security-Policy"]


def test_an_attempt_from_before_a_mailbox_proof_links_nothing(
    steam: Stand, alice: User
) -> None:
    """The previous holder starts with a bearer token and keeps the cookie for later."""
    started = linking.start(user=alice, provider="steam", in_browser=False)
    back = steam.visit(started.url)
    User.objects.filter(pk=alice.pk).update(epoch=alice.epoch + 1)
    stranger = Browser()
    stranger.defaults["HTTP_ACCEPT"] = "text/html"

    stranger.cookies[link_cookie.name(started.state)] = started.binder
    answer = come_back(stranger, back)
    assert answer["Location"] == "/security?link_error=invalid_state#links"
    assert not Link.objects.exists()


def test_a_mailbox_proof_revokes_the_tokens(
    x: Stand, member: Browser, alice: User, mailoutbox: list[Any]
) -> None:

    connect(member, x, "x")
    assert alice.email_verified_at is None
    secret = secret_for(alice, mailoutbox)
    mailbox.set_password(secret=secret, password="a new password")
    assert not Link.objects.exists()
    # X accepts neither the access token nor the refresh token.
    assert x.seen("revoked") == 2
    event = SecurityEvent.objects.get(kind="account_unlinked")
    assert (event.user, event.actor) == (alice, "system:mailbox-proof")

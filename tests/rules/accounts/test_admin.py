"""The admin of accounts: staff read and act, and cannot delete rows or see secrets."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from accounts import audit, mails
from accounts.credentials import app_keys, tokens, user_keys
from accounts.credentials.principals import InvalidToken, KeyInactive
from accounts.links import tokens as link_tokens
from accounts.links.protocol import OAuthTokens
from accounts.models import (
    App,
    AppKey,
    Link,
    Mail,
    SecurityEvent,
    Session,
    Sync,
    User,
)
from accounts.partners import consents
from accounts.signin import closing, devices, sessions

LISTS = [
    "user",
    "app",
    "appkey",
    "session",
    "personalaccesstoken",
    "devicegrant",
    "consent",
    "securityevent",
    "userkey",
    "link",
    "sync",
    "mail",
]


@pytest.fixture
def as_staff(staff: User) -> Client:
    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture
def everything(alice: User, video: App) -> dict[str, Any]:
    """One row in each table, and the secrets that no page may show."""
    started = devices.start(client_name="cli")
    token = tokens.issue(user=alice, name="ci", scopes=["jobs:read"])
    key = app_keys.issue(app=video, name="server")
    session = sessions.begin(
        user=alice, client="test", access_seconds=60, methods=["pwd"]
    ).session
    browser = sessions.begin_in_browser(
        user=alice, browser_key="k" * 32, methods=["pwd"]
    )
    consents.grant(user=alice, app_id=video.pk)
    event = audit.record("signed_in", user=alice)
    user_key = user_keys.issue(user=alice, name="server")
    link = Link(user=alice, provider="x", subject="1", created_at=timezone.now())
    link_tokens.store(
        link, OAuthTokens("access-of-x", "refresh-of-x", ["tweet.read"], None)
    )
    link.save()
    sync = Sync.objects.create(link=link, requested_at=timezone.now())
    proof = "https://example.com/mailbox?code=the-secret-of-a-mail"
    mails.write_link(user=alice, subject="Is it yours?", what="It is", link=proof)
    mail = Mail.objects.get(subject="Is it yours?")
    from accounts.models import Consent

    return {
        "user": alice,
        "app": video,
        "appkey": key.key,
        "session": session,
        "browser": browser,
        "personalaccesstoken": token.token,
        "devicegrant": started.grant,
        "consent": Consent.objects.get(),
        "securityevent": event,
        "userkey": user_key.key,
        "link": link,
        "sync": sync,
        "mail": mail,
        "secrets": [
            token.secret,
            key.secret,
            bytes(token.token.digest).hex(),
            bytes(key.key.digest).hex(),
            started.device_code,
            started.grant.user_code,
            "k" * 32,
            str(session.tip),
            alice.password,
            user_key.secret,
            bytes(user_key.key.digest).hex(),
            "access-of-x",
            "refresh-of-x",
            bytes(link.sealed_tokens or b"").hex(),
            "the-secret-of-a-mail",
            bytes(mail.sealed or b"").hex(),
        ],
    }


@pytest.mark.parametrize("name", LISTS)
def test_every_list_search_and_row_opens_without_a_secret(
    as_staff: Client, everything: dict[str, Any], name: str
) -> None:
    row = everything[name].pk
    pages = [f"/admin/accounts/{name}/", f"/admin/accounts/{name}/?q=alice"]
    pages.append(f"/admin/accounts/{name}/{row}/change/")
    if name == "session":
        browser = everything["browser"].pk
        pages.append(f"/admin/accounts/session/{browser}/change/")
    for page in pages:
        answer = as_staff.get(page)
        assert answer.status_code == 200, page
        html = answer.content.decode()
        for secret in everything["secrets"]:
            assert secret not in html, (page, secret)


@pytest.mark.parametrize("name", LISTS)
def test_no_row_can_be_deleted(
    as_staff: Client, everything: dict[str, Any], name: str
) -> None:
    row = everything[name].pk
    answer = as_staff.post(f"/admin/accounts/{name}/{row}/delete/", {"post": "yes"})
    assert answer.status_code == 403
    page = as_staff.get(f"/admin/accounts/{name}/").content.decode()
    assert "delete_selected" not in page
    answer = act(as_staff, name, "delete_selected", row)
    everything[name].refresh_from_db()


@pytest.mark.parametrize("name", [n for n in LISTS if n not in ("app", "appkey")])
def test_listed_tables_have_no_form_to_add_rows(as_staff: Client, name: str) -> None:
    assert as_staff.get(f"/admin/accounts/{name}/add/").status_code == 403


def test_closing_and_reopening_an_account(
    as_staff: Client, alice: User, staff: User
) -> None:
    token = tokens.issue(user=alice, name="ci", scopes=[])
    act(as_staff, "user", "close", alice.pk)
    alice.refresh_from_db()
    assert not alice.is_active
    with pytest.raises(InvalidToken):
        tokens.find(secret=token.secret)
    event = SecurityEvent.objects.get(kind="account_closed")
    assert (event.user, event.actor) == (alice, "staff@example.com")
    act(as_staff, "user", "reopen", alice.pk)
    alice.refresh_from_db()
    assert alice.is_active
    # Staff cannot close their own account by mistake.
    answer = act(as_staff, "user", "close", staff.pk)
    assert "You cannot close your own account." in answer.content.decode()
    staff.refresh_from_db()
    assert staff.is_active


def test_support_can_close_accounts_and_cannot_make_staff(
    alice: User, bob: User, staff: User
) -> None:
    helper = User.objects.create_user("helper@example.com", "pw", is_staff=True)
    for codename in ("view_user", "change_user"):
        helper.user_permissions.add(Permission.objects.get(codename=codename))
    client = Client()
    client.force_login(helper)
    answer = act(client, "user", "close", staff.pk)
    assert "You cannot close staff@example.com." in answer.content.decode()
    staff.refresh_from_db()
    assert staff.is_active
    form = {"first_name": "Alice", "last_name": "", "is_superuser": "on"}
    form |= {"is_staff": "on", "email": "evil@example.com", "is_active": ""}
    answer = client.post(f"/admin/accounts/user/{alice.pk}/change/", form)
    assert answer.status_code == 302
    alice.refresh_from_db()
    assert (alice.first_name, alice.email) == ("Alice", "alice@example.com")
    assert (alice.is_staff, alice.is_superuser, alice.is_active) == (False, False, True)
    assert SecurityEvent.objects.get(kind="account_changed").facts == {
        "fields": ["first_name"]
    }
    # Without the permission there is no action, however it is asked for.
    helper.user_permissions.clear()
    helper.user_permissions.add(Permission.objects.get(codename="view_user"))
    act(client, "user", "close", bob.pk)
    bob.refresh_from_db()
    assert bob.is_active


def test_registering_and_changing_an_app(as_staff: Client, alice: User) -> None:
    form = {
        "slug": "photo",
        "name": "Photo",
        "owner": str(alice.pk),
        "active": "on",
        "starter_credits": "2.5",
        "starter_credits_at": "app",
        "overage_policy": "cap",
        "max_ttl_seconds": "86400",
        "origins": "https://Photo.example.com\nhttps://b.example.com/",
        "redirect_token": "on",
        "duplicate_mode": "conflict",
    }
    answer = as_staff.post("/admin/accounts/app/add/", form)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    app = App.objects.get()
    assert app.starter_credits_micro == 2_500_000
    assert app.origins == ["https://photo.example.com", "https://b.example.com"]
    page = f"/admin/accounts/app/{app.pk}/change/"
    html = as_staff.get(page).content.decode()
    assert 'value="2.5"' in html
    form |= {"slug": "other", "starter_credits": "0", "origins": ""}
    assert as_staff.post(page, form).status_code == 302
    app.refresh_from_db()
    assert (app.slug, app.starter_credits_micro, app.origins) == ("photo", 0, [])
    wrong = {**form, "origins": "https://x.example/path", "starter_credits": "-1"}
    answer = as_staff.post(page, wrong)
    assert answer.status_code == 200
    assert set(answer.context["adminform"].form.errors) == {
        "origins",
        "starter_credits",
    }
    kinds = SecurityEvent.objects.order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["app_created", "app_changed"]


def test_staff_can_make_an_app_a_tool(as_staff: Client, video: App) -> None:
    page = f"/admin/accounts/app/{video.pk}/change/"
    form = {
        "name": "Video",
        "active": "on",
        "starter_credits": "0",
        "starter_credits_at": "app",
        "overage_policy": "cap",
        "max_ttl_seconds": "86400",
        "origins": "",
        "duplicate_mode": "replay",
        "is_tool": "on",
        "price": "2.5",
    }
    for wrong in ("", "http://tool.example", "https://tool.example/#x"):
        answer = as_staff.post(page, form | {"tool_url": wrong})
        assert "tool_url" in answer.context["adminform"].form.errors
    form["tool_url"] = "https://tool.example/cb"
    assert as_staff.post(page, form).status_code == 302
    video.refresh_from_db()
    assert (video.is_tool, video.price_micro) == (True, 2_500_000)
    assert (video.tool_url, video.duplicate_mode) == (
        "https://tool.example/cb",
        "replay",
    )
    assert 'value="2.5"' in as_staff.get(page).content.decode()
    # The owner cannot switch on an app that staff switched off.
    App.objects.update(paused_by_owner=True)
    del form["active"]
    assert as_staff.post(page, form).status_code == 302
    video.refresh_from_db()
    assert (video.active, video.paused_by_owner) == (False, False)


def test_a_new_key_is_shown_once(as_staff: Client, video: App) -> None:
    form = {"app": str(video.pk), "name": "server"}
    answer = as_staff.post("/admin/accounts/appkey/add/", form, follow=True)
    shown = re.search(r"sk-tool-\w{38}", answer.content.decode())
    assert shown
    key = AppKey.objects.get()
    assert app_keys.find(secret=shown[0]) == key
    again = as_staff.get("/admin/accounts/appkey/").content.decode()
    assert shown[0] not in again
    from django.contrib.admin.models import LogEntry

    entry = LogEntry.objects.get()
    assert entry.object_id == str(key.pk)
    assert shown[0] not in f"{entry.object_repr}{entry.change_message}"


def test_rotating_switching_and_revoking_a_key(as_staff: Client, video: App) -> None:
    old = app_keys.issue(app=video, name="server")
    answer = act(as_staff, "appkey", "rotate", old.key.pk)
    shown = re.search(r"sk-tool-\w{38}", answer.content.decode())
    assert shown
    assert app_keys.find(secret=old.secret)
    new = app_keys.find(secret=shown[0])
    answer = act(as_staff, "appkey", "rotate", old.key.pk)
    assert "already replaced" in answer.content.decode()
    act(as_staff, "appkey", "switch_off", new.pk)
    with pytest.raises(KeyInactive):
        app_keys.find(secret=shown[0])
    act(as_staff, "appkey", "switch_on", new.pk)
    assert app_keys.find(secret=shown[0])
    act(as_staff, "appkey", "revoke", new.pk)
    with pytest.raises(InvalidToken):
        app_keys.find(secret=shown[0])


def test_revoking_a_session_and_a_token(as_staff: Client, alice: User) -> None:
    made = sessions.begin(user=alice, client="x", access_seconds=60, methods=["pwd"])
    token = tokens.issue(user=alice, name="ci", scopes=[])
    act(as_staff, "session", "revoke", made.session.pk)
    act(as_staff, "personalaccesstoken", "revoke", token.token.pk)
    assert Session.objects.get().revoked_at is not None
    with pytest.raises(InvalidToken):
        tokens.find(secret=token.secret)
    actors = SecurityEvent.objects.filter(kind__endswith="revoked")
    assert {event.actor for event in actors} == {"staff@example.com"}


PASSWORD = "staff's password"


def test_the_admin_has_no_password_form_of_its_own(alice: User, staff: User) -> None:
    answer = Client().get("/admin/accounts/user/", follow=True)
    assert [where for where, _ in answer.redirect_chain] == [
        "/admin/login/?next=/admin/accounts/user/",
        "/signin?next=%2Fadmin%2Faccounts%2Fuser%2F",
    ]
    assert (
        Client()
        .post("/admin/login/", {"username": "staff@example.com", "password": "x"})[
            "Location"
        ]
        .startswith("/signin")
    )
    # Its other addresses take no password either, even a correct one. Only /signin asks
    # for passwords, and it counts wrong guesses.
    visitor = Client()
    right = {"username": staff.email, "email": staff.email, "password": PASSWORD}
    for path in ("/admin/login/", "/admin/", "/admin/password_change/", "/admin/x/"):
        visitor.post(f"{path}?next=/admin/", right | {"this_is_the_login_form": "1"})
        assert "_auth_user_id" not in visitor.session
    assert not Session.objects.exists()
    # Without staff rights a signed-in user gets a 403, not an endless redirect.
    client = Client()
    client.force_login(alice)
    assert client.get("/admin/", follow=True).status_code == 403


def test_a_page_sign_in_opens_the_admin_and_admin_sign_out_ends_the_session(
    staff: User,
) -> None:
    client = Client()
    form = {"email": "staff@example.com", "password": "staff's password"}
    answer = client.post("/signin", {**form, "next": "/admin/"}, follow=True)
    assert answer.redirect_chain == [("/admin/", 302)]
    assert answer.status_code == 200
    key = client.cookies["focus_session"].value
    token = client.get("/api/sessionToken").json()["token"]
    assert client.post("/admin/logout/")["Location"] == "/"
    bearer = {"Authorization": f"Bearer {token}"}
    assert Client().get("/api/tokens", headers=bearer).status_code == 401
    thief = Client()
    thief.cookies["focus_session"] = key
    assert thief.get("/api/sessionToken").status_code == 401
    assert client.get("/signin").status_code == 200


def test_a_closed_staff_account_cannot_use_the_admin(staff: User) -> None:
    client = Client()
    form = {"email": "staff@example.com", "password": "staff's password"}
    client.post("/signin", form)
    closing.close(user=staff, actor="a colleague")
    assert client.get("/admin/").status_code == 302


def test_every_registered_table_is_in_this_file() -> None:
    names = {model._meta.model_name for model in admin.site._registry}
    assert set(LISTS) <= names


def act(client: Client, name: str, action: str, row: Any) -> Any:
    form = {"action": action, "_selected_action": [str(row)]}
    return client.post(f"/admin/accounts/{name}/", form, follow=True)

"""The accounts and app fields that each role of staff may change."""

from typing import Any

import pytest
from django.contrib.auth.models import Group

from accounts.credentials import app_keys, tokens
from accounts.models import (
    App,
    AppKey,
    PersonalAccessToken,
    SecurityEvent,
    Session,
    User,
)
from accounts.partners import first_party
from accounts.signin import sessions
from focus.money import MICRO
from tests.doors.staffroom import browser, in_role

LESSER = ["viewer", "support", "finance"]


def act(person: User, model: str, action: str, pk: Any) -> Any:
    chosen = {"action": action, "_selected_action": [str(pk)]}
    return browser(person).post(f"/admin/accounts/{model}/", chosen, follow=True)


def colleague(kind: str) -> User:
    """Create staff in each way that makes a person staff."""
    person = User.objects.create_user("colleague@staff.example.com", "pw")
    if kind == "group":
        person.groups.add(Group.objects.get(name="finance"))
    else:
        setattr(person, kind, True)
        person.save()
    return person


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["is_staff", "is_superuser", "group"])
@pytest.mark.parametrize("role", LESSER)
def test_only_superusers_change_accounts_of_staff(role: str, kind: str) -> None:
    target, person = colleague(kind), in_role(role)
    token = tokens.issue(user=target, name="cli", scopes=["jobs:read"], days=1).token
    session = sessions.begin(
        user=target, client="x", access_seconds=60, methods=["pwd"]
    ).session
    before = User.objects.values().get(pk=target.pk)
    page = f"/admin/accounts/user/{target.pk}/change/"
    filled = {"first_name": "Eve", "is_staff": "on", "is_superuser": "on", "groups": []}
    filled |= {"password": "x", "email": "eve@example.com", "is_active": ""}
    assert browser(person).post(page, filled).status_code == 403
    assert browser(person).post(
        f"/admin/accounts/user/{target.pk}/password/"
    ).status_code in (302, 404)
    for action in ("close", "reopen"):
        act(person, "user", action, target.pk)
    act(person, "session", "revoke", session.pk)
    act(person, "personalaccesstoken", "revoke", token.pk)
    assert User.objects.values().get(pk=target.pk) == before
    assert Session.objects.get(pk=session.pk).revoked_at is None
    assert PersonalAccessToken.objects.get(pk=token.pk).revoked_at is None


@pytest.mark.django_db
@pytest.mark.parametrize("role", LESSER)
def test_only_superusers_make_staff(role: str, alice: User) -> None:
    person = in_role(role)
    group = Group.objects.get(name="finance")
    filled = {"first_name": "Al", "is_staff": "on", "is_superuser": "on"}
    for target in (alice, person):
        page = f"/admin/accounts/user/{target.pk}/change/"
        browser(person).post(page, {**filled, "groups": [group.pk]})
        target.refresh_from_db()
        assert not target.is_superuser
        assert target.is_staff is (target == person)
    assert not alice.groups.exists()
    assert [one.name for one in person.groups.all()] == [role]


@pytest.mark.django_db
@pytest.mark.parametrize("role", LESSER)
def test_groups_are_for_superusers(role: str) -> None:
    client = browser(in_role(role))
    group = Group.objects.get(name="viewer")
    for page in ("", "add/", f"{group.pk}/change/", f"{group.pk}/delete/"):
        assert client.get(f"/admin/auth/group/{page}").status_code == 403
        assert client.post(f"/admin/auth/group/{page}").status_code == 403


@pytest.mark.django_db
def test_superusers_change_staff_and_groups() -> None:
    target, chief = colleague("group"), in_role("superuser")
    act(chief, "user", "close", target.pk)
    target.refresh_from_db()
    assert not target.is_active
    client = browser(chief)
    group = Group.objects.get(name="viewer")
    page = f"/admin/auth/group/{group.pk}/change/"
    assert client.get(page).status_code == 200
    assert client.post(page, {"name": "readers", "permissions": []}).status_code == 302
    group.refresh_from_db()
    assert (group.name, group.permissions.count()) == ("readers", 0)


class TestAppFields:
    def fill(self, person: User, app: App, **more: Any) -> Any:
        """Post the form that this person gets, with some fields changed."""
        client = browser(person)
        page = f"/admin/accounts/app/{app.pk}/change/"
        form = client.get(page).context["adminform"].form
        filled = {name: form[name].value() for name in form.fields}
        filled = {k: "" if v is None else v for k, v in filled.items()}
        filled = {k: v for k, v in filled.items() if v is not False}
        if isinstance(filled.get("origins"), list):
            filled["origins"] = "\n".join(filled["origins"])
        return client.post(page, {**filled, **more})

    def test_finance_changes_what_an_app_costs(self, video: App) -> None:
        answer = self.fill(
            in_role("finance"), video, overage_policy="reject", starter_credits="3"
        )
        assert answer.status_code == 302
        video.refresh_from_db()
        assert video.overage_policy == "reject"
        assert video.starter_credits_micro == 3_000_000

    @pytest.mark.parametrize("role", ["finance", "superuser"])
    def test_starter_credits_cannot_exceed_the_approval_limit(
        self, role: str, video: App
    ) -> None:
        person = in_role(role)
        answer = self.fill(person, video, starter_credits="1000.000001")
        assert "at most 1,000 credits" in answer.content.decode()
        assert self.fill(person, video, starter_credits="1000").status_code == 302
        video.refresh_from_db()
        assert video.starter_credits_micro == 1000 * MICRO
        event = SecurityEvent.objects.filter(kind="app_changed").latest("pk")
        assert event.facts["starter_credits"] == "1000"

    def test_higher_starter_credits_set_in_the_shell_stay(self, video: App) -> None:
        App.objects.filter(pk=video.pk).update(starter_credits_micro=2000 * MICRO)
        answer = self.fill(in_role("finance"), video, overage_policy="reject")
        assert answer.status_code == 302
        self.fill(in_role("superuser"), video, starter_credits="1500")
        video.refresh_from_db()
        assert video.starter_credits_micro == 1500 * MICRO

    def test_finance_cannot_change_owner_url_or_name(
        self, video: App, bob: User
    ) -> None:
        before = (video.owner_id, video.origins, video.name, video.tool_url)
        answer = self.fill(
            in_role("finance"),
            video,
            owner=str(bob.pk),
            origins="https://evil.example.com",
            name="Evil",
            is_tool="on",
            tool_url="https://evil.example.com/cb",
            redirect_token="on",
            settle_with_app_key_only="on",
            slug="evil",
        )
        assert answer.status_code == 302
        now = App.objects.get(pk=video.pk)
        assert (now.owner_id, now.origins, now.name, now.tool_url) == before
        assert (now.slug, now.is_tool) == ("video", False)

    def test_finance_switches_a_product_and_changes_nothing_else_of_it(
        self, db: None
    ) -> None:
        app = first_party.app("reviv")
        before = App.objects.filter(pk=app.pk).values().get()
        answer = browser(in_role("finance")).post(
            f"/admin/accounts/app/{app.pk}/change/",
            {
                "name": "Evil",
                "origins": "https://evil.example.com",
                "starter_credits": "9",
                "price": "9",
                "overage_policy": "overflow",
                "max_ttl_seconds": "60",
                "rate_limit_per_minute": "1",
            },
        )
        assert answer.status_code == 302
        now = App.objects.filter(pk=app.pk).values().get()
        assert now == before | {"active": False}

    def test_a_superuser_may_change_them(self, video: App, bob: User) -> None:
        self.fill(in_role("superuser"), video, owner=str(bob.pk), name="Clips")
        video.refresh_from_db()
        assert (video.owner, video.name) == (bob, "Clips")

    @pytest.mark.parametrize("role", LESSER)
    def test_a_lesser_role_cannot_change_keys(self, role: str, video: App) -> None:
        key = app_keys.issue(app=video, name="a", actor="test").key
        person = in_role(role)
        for action in ("rotate", "switch_off", "revoke"):
            act(person, "appkey", action, key.pk)
        filled = {"app": str(video.pk), "name": "mine"}
        added = browser(person).post("/admin/accounts/appkey/add/", filled)
        assert added.status_code == 403
        kept = AppKey.objects.get()
        assert kept.active
        assert (kept.revoked_at, kept.replaced_by_id) == (None, None)

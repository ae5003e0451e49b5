"""An origin belongs to at most one app. Our own origins belong to none."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError, connection, transaction
from django.test import Client

from accounts.models import App, User
from accounts.partners import apps as partner_apps
from accounts.partners import origins, tools
from tests.rules.accounts.test_races import at_once

PAGE = "https://photo.example.com"


def make(slug: str, *allowed: str) -> App:
    return partner_apps.create(slug=slug, allowed_origins=allowed)


def test_a_second_app_does_not_get_an_origin(video: App) -> None:
    make("photo", PAGE)
    with pytest.raises(origins.OriginTaken, match="belongs to the app photo"):
        make("copy", "https://copy.example.com", PAGE)
    # The database refuses it even without the rule.
    with pytest.raises(IntegrityError), transaction.atomic():
        App.objects.create(slug="copy", origins=[PAGE])
    with pytest.raises(IntegrityError), transaction.atomic():
        App.objects.filter(pk=video.pk).update(origins=[PAGE])
    # A different spelling is another origin; a repetition counts once.
    make("other", "https://photo.example.com:8443", "https://PHOTO2.example.com")
    assert App.objects.create(slug="twice", origins=["https://a.b", "https://a.b"])


def test_an_origin_that_an_app_gave_up_is_free(video: App) -> None:
    first = make("photo", PAGE)
    App.objects.filter(pk=first.pk).update(origins=[])
    assert make("copy", PAGE).origins == [PAGE]
    # A switched-off app keeps its origins.
    App.objects.update(active=False)
    with pytest.raises(origins.OriginTaken):
        make("third", PAGE)


@pytest.mark.django_db(transaction=True)
def test_of_two_apps_at_once_one_gets_the_origin() -> None:
    names = iter(["one", "two", "three", "four"])

    def register() -> bool:
        try:
            make(next(names), PAGE)
        except (IntegrityError, origins.OriginTaken):
            return False
        return True

    assert sorted(at_once(4, register)) == [False, False, False, True]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM accounts_apporigin")
        assert cursor.fetchone() == (1,)


@pytest.mark.parametrize(
    "ours", ["http://localhost:8000", "https://front.example", "https://extra.example"]
)
def test_our_own_origins_cannot_be_registered(
    db: None, settings: Any, ours: str
) -> None:
    settings.FRONTEND_URL = "https://front.example/app"
    settings.CORS_ALLOWED_ORIGINS = ["https://extra.example"]
    with pytest.raises(origins.InvalidOrigin, match="an origin of Focus itself"):
        make("photo", ours)


class TestFamily:
    def form(self, app: App) -> dict[str, Any]:
        return {
            "slug": app.slug,
            "name": app.name,
            "starter_credits": "20",
            "starter_credits_at": "app",
            "overage_policy": "cap",
            "max_ttl_seconds": "3600",
            "origins": "\n".join(app.origins),
            "duplicate_mode": "conflict",
            "active": "on",
            "family": "on",
        }

    def saved(self, person: User, app: App) -> bool:
        client = Client()
        client.force_login(person)
        answer = client.post(f"/admin/accounts/app/{app.pk}/change/", self.form(app))
        assert answer.status_code == 302, answer.content.decode()[:3000]
        app.refresh_from_db()
        return app.family

    def test_a_superuser_marks_one(self, staff: User, video: App) -> None:
        assert not video.family
        assert self.saved(staff, video)

    def test_who_may_change_apps_may_not(self, alice: User, video: App) -> None:
        alice.is_staff = True
        alice.save()
        may = Permission.objects.filter(codename__in=["change_app", "view_app"])
        alice.user_permissions.set(may)
        assert not self.saved(alice, video)
        extra = Permission.objects.get(codename="mark_family")
        alice.user_permissions.add(extra)
        assert self.saved(User.objects.get(pk=alice.pk), video)

    def test_a_vendors_own_tool_is_none(self, alice: User) -> None:
        offer = partner_apps.Offer(price_micro=0, url="https://x.example/cb")
        tools.publish(owner=alice, slug="mine", name="Mine", offer=offer)
        assert not App.objects.get().family

    def test_an_admin_form_says_which_app_has_an_origin(
        self, staff: User, video: App
    ) -> None:
        make("photo", PAGE)
        client = Client()
        client.force_login(staff)
        form = {**self.form(video), "origins": PAGE}
        answer = client.post(f"/admin/accounts/app/{video.pk}/change/", form)
        assert answer.status_code == 200
        assert "belongs to the app photo" in answer.content.decode()

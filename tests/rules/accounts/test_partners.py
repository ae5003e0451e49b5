"""Apps, consents and the audit log."""

import pytest
from django.db import DatabaseError, connection, transaction

from accounts import audit
from accounts.audit import Visitor
from accounts.models import App, Consent, SecurityEvent, User
from accounts.partners import apps as partner_apps
from accounts.partners import consents, origins
from tests.counting import statements


def test_an_app_is_found_by_its_slug_with_one_query(video: App) -> None:
    with statements() as queries:
        assert partner_apps.find_active("video") == video
    assert len(queries) == 1


@pytest.mark.parametrize("slug", ["other", "Video", "video\x00", "", "a" * 65, "a--b"])
def test_an_unknown_app(video: App, slug: str) -> None:
    with pytest.raises(partner_apps.UnknownApp):
        partner_apps.find_active(slug)


def test_an_app_that_is_switched_off_is_unknown(video: App) -> None:
    App.objects.update(active=False)
    with pytest.raises(partner_apps.UnknownApp):
        partner_apps.find_active("video")


def test_registering_an_app(alice: User) -> None:
    app = partner_apps.create(
        slug="photo-lab",
        owner=alice,
        starter_credits_micro=5,
        allowed_origins=["https://Photo.example.com/", "https://photo.example.com"],
        actor="staff",
    )
    assert (app.name, app.owner, app.starter_credits_micro) == ("Photo lab", alice, 5)
    assert app.origins == ["https://photo.example.com"]
    assert SecurityEvent.objects.get().facts == {"app": "photo-lab"}


def test_an_invalid_app_is_not_registered(video: App) -> None:
    with pytest.raises(partner_apps.SlugTaken):
        partner_apps.create(slug="video")
    with pytest.raises(partner_apps.InvalidSlug):
        partner_apps.create(slug="Video!")
    with pytest.raises(origins.InvalidOrigin):
        partner_apps.create(slug="new", allowed_origins=["https://x.example/path"])
    assert App.objects.count() == 1
    assert not SecurityEvent.objects.exists()


def test_a_consent_is_granted_once_and_then_costs_one_query(
    alice: User, video: App
) -> None:
    assert not consents.is_granted(user_id=alice.pk, app_id=video.pk)
    assert consents.grant(user=alice, app_id=video.pk)
    with statements() as queries:
        assert not consents.grant(user=alice, app_id=video.pk)
    assert len(queries) == 1
    assert consents.is_granted(user_id=alice.pk, app_id=video.pk)
    assert SecurityEvent.objects.get().kind == "app_granted"


def test_use_grants_a_revoked_consent_again(alice: User, bob: User, video: App) -> None:
    consents.grant(user=alice, app_id=video.pk)
    consents.grant(user=bob, app_id=video.pk)
    assert consents.revoke(user=alice, app_id=video.pk)
    assert not consents.revoke(user=alice, app_id=video.pk)
    assert not consents.is_granted(user_id=alice.pk, app_id=video.pk)
    assert consents.is_granted(user_id=bob.pk, app_id=video.pk)
    assert list(consents.granted(user=alice)) == []
    assert consents.grant(user=alice, app_id=video.pk)
    assert [consent.app for consent in consents.granted(user=alice)] == [video]
    assert Consent.objects.count() == 2


def test_an_audit_event_has_actor_kind_address_and_time(alice: User) -> None:
    visitor = Visitor(ip="2001:db8::1", user_agent="Firefox")
    event = audit.record("signed_in", user=alice, visitor=visitor, client="browser")
    event.refresh_from_db()
    assert (event.user, event.actor, event.kind) == (alice, alice.email, "signed_in")
    assert (event.ip, event.user_agent) == ("2001:db8::1", "Firefox")
    assert event.facts == {"client": "browser"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_securityevent SET kind = 'nothing'",
        "DELETE FROM accounts_securityevent",
        "SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL focus.allow_truncate = off; "
        "TRUNCATE accounts_securityevent",
    ],
)
def test_the_database_refuses_to_change_the_audit(alice: User, statement: str) -> None:
    audit.record("signed_in", user=alice)
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert SecurityEvent.objects.get().kind == "signed_in"


def test_an_email_is_found_by_its_index(alice: User) -> None:
    found = User.objects.with_email("ALICE@example.com")
    assert found.get() == alice
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "an_email_has_one_account" in found.explain()

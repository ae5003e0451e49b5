"""Beyond the Focus guide: listing and ending a user's sessions."""

import uuid
from datetime import datetime
from typing import Any

import pytest
from django.contrib.sessions.models import Session as BrowserSession
from rest_framework.test import APIClient

from accounts.models import SecurityEvent, Session, User
from accounts.signin import sessions
from tests.contracts.thefocus.test_tokens import bearer, in_browser, refused, sign_in

SESSIONS = "/api/sessions"


@pytest.fixture
def alice_by_jwt(alice: User) -> APIClient:
    return bearer(sign_in(alice).access_token)


def when(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def row(session: Session, current: bool) -> dict[str, Any]:
    session.refresh_from_db()
    return {
        "id": str(session.pk),
        "kind": session.kind,
        "client": session.client,
        "ip": session.ip,
        "user_agent": session.user_agent,
        "created_at": when(session.created_at),
        "last_used_at": when(session.last_used_at),
        "expires_at": when(session.idle_expires_at),
        "current": current,
    }


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_list_has_the_users_own_sessions_last_used_first(
    alice: User, bob: User, slash: str
) -> None:
    sign_in(bob)
    gone = sign_in(alice)
    sessions.revoke(session=gone.session)
    idle = sign_in(alice).session
    Session.objects.filter(pk=idle.pk).update(idle_expires_at=idle.created_at)
    client = in_browser(alice)
    here = Session.objects.get(kind="browser")
    there = sign_in(alice).session
    answer = client.get(SESSIONS + slash)
    assert answer.status_code == 200
    assert answer.json() == {"sessions": [row(there, False), row(here, True)]}


def test_a_browser_that_django_signed_out_is_not_listed(alice: User) -> None:
    in_browser(alice)
    BrowserSession.objects.all().delete()
    made = sign_in(alice)
    listed = bearer(made.access_token).get(SESSIONS).json()["sessions"]
    assert [one["id"] for one in listed] == [str(made.session.pk)]


def test_ending_a_session(alice: User, bob: User, alice_by_jwt: APIClient) -> None:
    phone, theirs = sign_in(alice), sign_in(bob)
    for unknown in (theirs.session.pk, uuid.uuid4()):
        answer = alice_by_jwt.delete(f"{SESSIONS}/{unknown}")
        refused(answer, 404, "not_found")
    answer = alice_by_jwt.delete(f"{SESSIONS}/{phone.session.pk}")
    assert answer.status_code == 200
    assert answer.json() == row(phone.session, False)
    answer = bearer(phone.access_token).get(SESSIONS)
    refused(answer, 401, "invalid_token")
    body = {"refresh": phone.refresh_token}
    assert APIClient().post("/api/auth/token/refresh/", body).status_code == 400
    assert alice_by_jwt.delete(f"{SESSIONS}/{phone.session.pk}").status_code == 200
    assert bearer(theirs.access_token).get(SESSIONS).status_code == 200
    events = SecurityEvent.objects.filter(kind="session_revoked")
    assert events.count() == 1


def test_ending_a_browser_session_and_the_callers_own(alice: User) -> None:
    client = in_browser(alice)
    here = Session.objects.get()
    answer = client.delete(f"{SESSIONS}/{here.pk}")
    assert answer.json() == row(here, True)
    refused(client.get(SESSIONS), 401, "unauthenticated")
    assert not BrowserSession.objects.exists()


def test_another_site_cannot_end_a_session(alice: User) -> None:
    client = in_browser(alice)
    here = Session.objects.get()
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    answer = client.delete(f"{SESSIONS}/{here.pk}", headers=headers)
    refused(answer, 403, "cross_site_request")
    assert sessions.live(user=alice).exists()


def test_long_lived_credentials_cannot_list_or_end_sessions(
    as_alice: APIClient, as_video: APIClient, as_stranger: APIClient
) -> None:
    for client in (as_alice, as_video):
        refused(client.get(SESSIONS), 403, "credential_not_accepted")
        answer = client.delete(f"{SESSIONS}/{uuid.uuid4()}")
        refused(answer, 403, "credential_not_accepted")
    refused(as_stranger.get(SESSIONS), 401, "unauthenticated")

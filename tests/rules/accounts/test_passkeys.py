"""Passkeys: removal, and the RP ID."""

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

from accounts.models import Passkey, SecurityEvent, Session, User
from accounts.passkeys import ceremony
from accounts.passkeys import signin as passkey_signin
from focus.errors import NotFound
from tests.ceremonies import add, open_account, refused, sign_in, signed_in
from tests.softauth import Authenticator


@pytest.fixture
def key() -> Authenticator:
    return Authenticator()


@pytest.fixture
def added(alice: User, key: Authenticator) -> Authenticator:
    assert add(signed_in(alice), key).status_code == 200
    return key


class TestRemoving:
    def test_the_only_way_to_sign_in_cannot_be_removed(
        self, key: Authenticator, db: None
    ) -> None:
        open_account("eve@example.com", key)
        eve, row = User.objects.get(), Passkey.objects.get()
        with pytest.raises(passkey_signin.LastWayIn):
            passkey_signin.remove(user=eve, passkey_id=row.pk)
        assert sign_in(key).status_code == 200

    def test_removing_ends_the_sessions_that_the_passkey_opened_and_no_others(
        self, added: Authenticator, alice: User, bob: User
    ) -> None:
        body = sign_in(added).json()
        row = Passkey.objects.get()
        with pytest.raises(NotFound):
            passkey_signin.remove(user=bob, passkey_id=row.pk)
        passkey_signin.remove(user=alice, passkey_id=row.pk)
        opened = APIClient(headers={"Authorization": f"Bearer {body['access']}"})
        assert opened.get("/api/auth/me/").status_code == 401
        assert refused(sign_in(added)) == "UNKNOWN_CREDENTIAL"
        assert Session.objects.filter(revoked_at=None).get().client == "test"
        assert SecurityEvent.objects.filter(kind="passkey_removed").exists()


@pytest.mark.parametrize(
    ("public", "front", "domain"),
    [
        ("https://account.thefocus.ai", "https://account.thefocus.ai", None),
        ("https://account.thefocus.ai", "https://app.thefocus.ai", "thefocus.ai"),
        ("https://thefocus.ai", "https://app.thefocus.ai", "thefocus.ai"),
        ("https://account.thefocus.ai", "https://reviv.example", None),
        ("http://localhost:8000", "http://localhost:5173", None),
        ("https://account.thefocus.ai", "https://thefocus.dev", None),
    ],
)
def test_the_rp_id_is_the_longest_common_domain(
    settings: LazySettings, public: str, front: str, domain: str | None
) -> None:
    settings.PUBLIC_BASE_URL, settings.FRONTEND_URL = public, front
    own = public.split("//")[1].split(":")[0]
    assert ceremony.rp_id() == (domain or own)
    settings.PASSKEY_RP_ID = "focus.example"
    assert ceremony.rp_id() == "focus.example"

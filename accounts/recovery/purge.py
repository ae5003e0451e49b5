"""End all access to an account, after the mailbox's owner has proven the address.

The account was opened with an address that was never verified, so all its credentials
may belong to another person.
"""

from django.db import transaction

from accounts import audit
from accounts.audit import Visitor
from accounts.credentials import app_keys, tokens, user_keys
from accounts.links import linking
from accounts.models import (
    AppKey,
    ClerkLookup,
    Consent,
    DeviceGrant,
    Identity,
    Link,
    Passkey,
    PasskeyOwner,
    PersonalAccessToken,
    User,
    UserKey,
)
from accounts.partners import consents
from accounts.signin import sessions

_ACTOR = "system:mailbox-proof"


@transaction.atomic
def end_all_access(*, user: User, visitor: Visitor) -> list[Link]:
    """End every session, token, key, passkey, identity, link and consent of `user`.

    Also revokes the keys of the apps that `user` owns, denies approved device grants,
    and removes the username. Credits and history stay. The caller must have locked the
    account's row and increased its epoch, so that a request under way cannot add a
    credential afterwards.

    Returns the deleted links; the caller passes them to `linking.revoke_tokens` after
    the commit.
    """
    sessions.revoke_all(user=user, actor=_ACTOR, visitor=visitor)
    for token in PersonalAccessToken.objects.filter(user=user, revoked_at=None):
        tokens.revoke(user=user, token_id=token.pk, actor=_ACTOR, visitor=visitor)
    for key in UserKey.objects.filter(user=user, revoked_at=None):
        user_keys.revoke(user=user, key_id=key.pk, actor=_ACTOR, visitor=visitor)
    for app_key in AppKey.objects.filter(app__owner=user, revoked_at=None):
        app_keys.revoke(key_id=app_key.pk, actor=_ACTOR)
    # The next poll of an approved grant would issue a token, so deny those grants. A
    # poll under way waits for this account's row and then finds the new epoch.
    waiting = DeviceGrant.objects.select_for_update(skip_locked=True).filter(
        decided_by=user, status=DeviceGrant.Status.APPROVED
    )
    ids = [grant.pk for grant in waiting]
    DeviceGrant.objects.filter(pk__in=ids).update(status=DeviceGrant.Status.DENIED)
    for consent in Consent.objects.filter(user=user, revoked_at=None):
        consents.revoke(user=user, app_id=consent.app_id, visitor=visitor)
    Passkey.objects.filter(user=user).delete()
    PasskeyOwner.objects.filter(user=user).delete()
    Identity.objects.filter(user=user).delete()
    gone = linking.delete_all(user=user, actor=_ACTOR, visitor=visitor)
    ClerkLookup.objects.filter(user=user).delete()
    user.clerk_id = user.username = user.username_key = None
    user.save(update_fields=["clerk_id", "username", "username_key"])
    audit.record("account_purged", user=user, actor=_ACTOR, visitor=visitor)
    return gone

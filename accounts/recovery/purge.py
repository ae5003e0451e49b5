"""Everything that acts for an account ends at once: its address was never proven, and
whoever reads its mail has come.
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
    """End every credential, session, token, passkey, link and permission of a `user`
    whose row the caller has locked and whose epoch it has moved on, so that a request
    under way cannot add one afterwards. Credits and history stay.

    Returns the links, for `linking.revoke_tokens` once this is committed.
    """
    sessions.revoke_all(user=user, actor=_ACTOR, visitor=visitor)
    for token in PersonalAccessToken.objects.filter(user=user, revoked_at=None):
        tokens.revoke(user=user, token_id=token.pk, actor=_ACTOR, visitor=visitor)
    for key in UserKey.objects.filter(user=user, revoked_at=None):
        user_keys.revoke(user=user, key_id=key.pk, actor=_ACTOR, visitor=visitor)
    for app_key in AppKey.objects.filter(app__owner=user, revoked_at=None):
        app_keys.revoke(key_id=app_key.pk, actor=_ACTOR)
    # Approved, and not fetched yet: the next poll would mint a token. One that is being
    # fetched now waits for this account's row, and then finds the epoch moved on.
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
    gone = linking.forget_all(user=user, actor=_ACTOR, visitor=visitor)
    ClerkLookup.objects.filter(user=user).delete()
    user.clerk_id = user.username = user.username_key = None
    user.save(update_fields=["clerk_id", "username", "username_key"])
    audit.record("account_purged", user=user, actor=_ACTOR, visitor=visitor)
    return gone

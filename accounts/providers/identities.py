"""The provider identities that sign a user in: list and unlink them.

`accounts.providers.arrivals` links them.
"""

import uuid

from django.db import transaction

from accounts import audit, mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import Identity, Passkey, User
from accounts.passkeys import signin as passkey_signin
from focus.errors import NotFound


def linked_identities(*, user: User) -> list[Identity]:
    """Return the provider identities that sign `user` in, oldest first."""
    return list(Identity.objects.filter(user=user).order_by("created_at"))


@transaction.atomic
def unlink(
    *, user: User, identity_id: uuid.UUID, visitor: Visitor = NO_VISITOR
) -> Identity:
    """Unlink an identity from `user`, mail them, and leave open sessions alone.

    Locks the account's row, so that two requests cannot unlink the last two identities.
    Raises `NotFound`, and `passkeys.signin.LastWayIn` if no other sign-in method is
    left.
    """
    owner = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    row = Identity.objects.filter(user=owner, pk=identity_id).first()
    if row is None:
        raise NotFound("There is no such link.")
    others = Identity.objects.filter(user=owner).exclude(pk=row.pk).exists()
    has_passkey = Passkey.objects.filter(user=owner).exists()
    if not (
        others or has_passkey or owner.clerk_id or passkey_signin.has_password(owner)
    ):
        raise passkey_signin.LastWayIn(
            f"{row.get_provider_display()} is the only way into your account."
        )
    Identity.objects.filter(pk=row.pk).delete()
    provider = row.provider
    audit.record("identity_unlinked", user=owner, visitor=visitor, provider=provider)
    mails.write(
        user=owner,
        subject=f"{row.get_provider_display()} can no longer sign in to your account",
        what="The linked sign-in was removed from your account.",
        visitor=visitor,
    )
    return row

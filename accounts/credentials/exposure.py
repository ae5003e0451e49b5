"""Reports of exposed secrets, such as a token found in a public repository."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from accounts import mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import app_keys, opaque, tokens, user_keys
from accounts.models import AppKey, PersonalAccessToken, User, UserKey

MOST = 100
_ACTOR = "system:reported-exposed"
_SUBJECT = "One of your secrets was exposed"


@transaction.atomic
def report(*, secrets: Sequence[str], visitor: Visitor = NO_VISITOR) -> None:
    """Revoke the live secrets among `secrets` and mail their owners.

    Returns nothing, so the reporter does not learn whether any secret was genuine.
    """
    for token in _locked(PersonalAccessToken.objects.select_related("user"), secrets):
        tokens.revoke(user=token.user, token_id=token.pk, actor=_ACTOR, visitor=visitor)
        _mail_owner(token.user, f"The access token {token}", visitor)
    for key in _locked(UserKey.objects.select_related("user"), secrets):
        user_keys.revoke(user=key.user, key_id=key.pk, actor=_ACTOR, visitor=visitor)
        _mail_owner(key.user, f"The API key {key}", visitor)
    for app_key in _locked(AppKey.objects.select_related("app__owner"), secrets):
        app_keys.revoke(key_id=app_key.pk, actor=_ACTOR)
        if app_key.app.owner is not None:
            what = f"The key {app_key} of your app {app_key.app.slug}"
            _mail_owner(app_key.app.owner, what, visitor)


_PREFIXES: dict[type[Model], str] = {
    PersonalAccessToken: opaque.PAT,
    UserKey: opaque.USER_KEY,
    AppKey: opaque.APP_KEY,
}


def _locked(rows: QuerySet[Any], secrets: Sequence[str]) -> list[Any]:
    """Lock the live rows of `secrets`, in id order, so concurrent reports cannot
    deadlock.
    """
    prefix = _PREFIXES[rows.model]
    digests = {
        opaque.digest(secret)
        for secret in secrets
        if opaque.is_well_formed(secret, prefix=prefix)
    }
    if not digests:
        return []
    live = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    found = rows.filter(live, digest__in=digests, revoked_at=None).order_by("pk")
    return list(found.select_for_update(no_key=True, of=("self",)))


def _mail_owner(owner: User, what: str, visitor: Visitor) -> None:
    mails.write(
        user=owner,
        subject=_SUBJECT,
        what=f"{what} was reported to us as exposed, so we revoked it. Create a new "
        "one for the programs that used it.",
        visitor=visitor,
    )

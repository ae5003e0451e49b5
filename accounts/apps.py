"""Accounts as a Django app."""

import re
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.db.models.signals import post_migrate
from django.http import HttpRequest


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from corsheaders.signals import check_request_enabled

        from accounts import roles

        # django-cors-headers has no other hook for origins that are not in settings.
        check_request_enabled.connect(
            is_from_an_app, dispatch_uid="accounts.partners.origins"
        )
        post_migrate.connect(
            roles.create_roles, sender=roles.last_app(), dispatch_uid="accounts.roles"
        )


def is_from_an_app(sender: Any, request: HttpRequest, **_newer: Any) -> bool:
    """Return whether a page of a registered app sent this API request."""
    from accounts.partners import origins

    # The signal also fires for our pages, which no other origin may read.
    if not re.match(settings.CORS_URLS_REGEX, request.path_info):
        return False
    try:
        return origins.is_registered(request.headers.get("Origin", ""))
    except (DatabaseError, InterfaceError):
        # The signal fires for responses too. Without a database the response is already
        # a 503, and an exception here would turn it into a 500.
        return False

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

        # django-cors-headers' only way to ask for origins that settings do not know.
        check_request_enabled.connect(
            is_from_an_app, dispatch_uid="accounts.partners.origins"
        )
        post_migrate.connect(
            roles.create_roles, sender=roles.last_app(), dispatch_uid="accounts.roles"
        )


def is_from_an_app(sender: Any, request: HttpRequest, **_newer: Any) -> bool:
    """Whether this API request comes from a page of a registered app."""
    from accounts.partners import origins

    # It is asked about pages as well, and those are nobody else's to read.
    if not re.match(settings.CORS_URLS_REGEX, request.path_info):
        return False
    try:
        return origins.is_registered(request.headers.get("Origin", ""))
    except (DatabaseError, InterfaceError):
        # Asked on the way out too: the 503 that is already made must not become a 500.
        return False

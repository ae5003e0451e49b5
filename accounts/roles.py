"""Staff roles: the groups and the permissions of each.

Every migrate sets the groups to the lists below and removes permissions that were added
by hand. To give a person more rights, create another group.
"""

from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Q

from accounts.models import User

OURS = ["focus", "accounts", "wallet", "jobs", "payments"]

CHANGE_APP_IDENTITY = "change_app_identity"

# Permissions beyond those of Django's models: (app, model, codename, name).
EXTRA = [
    ("wallet", "wallet", "adjust_without_limit", "Can adjust credits without a limit"),
    ("wallet", "wallet", "set_overdraft_limit", "Can set how deep debt may become"),
    # No role has it: it bypasses the lowest price, below which credits are a gift that
    # needs an approval.
    ("payments", "pack", "sell_below_floor", "Can sell credits below the lowest price"),
    # No role has it: a family app can read the tokens of users' linked accounts.
    ("accounts", "app", "mark_family", "Can mark apps as Focus family"),
    # No role has it: an app's addresses decide where its users and their tokens go.
    ("accounts", "app", CHANGE_APP_IDENTITY, "Can change an app's owner and addresses"),
]

# Every role may view all our models. Each role adds to the one before it.
VIEWER: list[str] = []
SUPPORT = [
    *VIEWER,
    "wallet.adjust_wallet",
    # End sessions and tokens, close and reopen accounts.
    "accounts.change_session",
    "accounts.change_personalaccesstoken",
    "accounts.change_user",
    # Switch webhook endpoints off and on, resend deliveries, revoke a tool purchase.
    "jobs.change_endpoint",
    "jobs.change_delivery",
    "jobs.change_toolpurchase",
    # Cancel and requeue runs of hosted work, delete a person's stored file.
    "jobs.change_run",
    "jobs.change_storedfile",
    # Switch automatic top-up off; only its owner switches it on.
    "payments.change_topuprule",
]
FINANCE = [
    *SUPPORT,
    "wallet.adjust_without_limit",
    "wallet.set_overdraft_limit",
    # An app's prices and credits, but not its owner, addresses and keys.
    "accounts.change_app",
    "payments.add_pack",
    "payments.change_pack",
    "payments.change_plan",
    # Prices of hosted work. The price for a plan may also go.
    "jobs.add_price",
    "jobs.change_price",
    "jobs.delete_price",
    # Handle Stripe events again; settle differences from Stripe by hand.
    "payments.change_stripeevent",
    "payments.change_drift",
]
ROLES = {"viewer": VIEWER, "support": SUPPORT, "finance": FINANCE}


@transaction.atomic
def create_roles(**_signal: Any) -> None:
    """Create every role as declared here. Running it again changes nothing."""
    for app, model, codename, name in EXTRA:
        kind = ContentType.objects.filter(app_label=app, model=model).first()
        if kind is not None:
            Permission.objects.get_or_create(
                content_type=kind, codename=codename, defaults={"name": name}
            )
    known = Permission.objects.filter(content_type__app_label__in=OURS)
    for role, granted in ROLES.items():
        may = Q(codename__startswith="view_")
        for permission in granted:
            app, codename = permission.split(".")
            may |= Q(content_type__app_label=app, codename=codename)
        group, _ = Group.objects.get_or_create(name=role)
        group.permissions.set(known.filter(may))


def is_staff_account(user: User) -> bool:
    """Return whether this account has, or was given, any right in the admin."""
    return (
        user.is_staff
        or user.is_superuser
        or user.groups.exists()
        or user.user_permissions.exists()
    )


def may_change_account(*, staff: Any, user: User) -> bool:
    """Return whether `staff` may change this account, its sessions and its tokens.

    Only superusers may change staff accounts, even their own. Otherwise a staff member
    could act with a colleague's rights.
    """
    return bool(staff.is_superuser) or not is_staff_account(user)


def last_app() -> Any:
    """Return the app with the last post_migrate, when all permissions exist."""
    return [config for config in apps.get_app_configs() if config.models_module][-1]

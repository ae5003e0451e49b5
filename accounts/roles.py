"""Staff roles: which groups there are, and what each may do.

The lists below decide: every migrate makes the groups as they say, and takes away
what somebody added to them by hand. Whoever needs more gets another group.
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

# What a model's own permissions do not say: (app, model, codename, name).
EXTRA = [
    ("wallet", "wallet", "adjust_without_limit", "Can adjust credits without a limit"),
    ("wallet", "wallet", "set_overdraft_limit", "Can set how deep debt may become"),
    # No role has it: credits that cost almost nothing pass the approvals of gifts.
    ("payments", "pack", "sell_below_floor", "Can sell credits below the lowest price"),
    # No role has it: family apps read the tokens of people's linked accounts.
    ("accounts", "app", "mark_family", "Can mark apps as Focus family"),
    # No role has it: it decides where an app's users and their tokens go.
    ("accounts", "app", CHANGE_APP_IDENTITY, "Can change an app's owner and addresses"),
]

# Every role may view everything of ours; the rest is added from role to role.
VIEWER: list[str] = []
SUPPORT = [
    *VIEWER,
    "wallet.adjust_wallet",
    # End sessions and tokens, close and reopen accounts.
    "accounts.change_session",
    "accounts.change_personalaccesstoken",
    "accounts.change_user",
    # Switch webhook endpoints off and on, send again; take a tool's purchase back.
    "jobs.change_endpoint",
    "jobs.change_delivery",
    "jobs.change_toolpurchase",
    # Switch automatic top-up off; only its owner switches it on.
    "payments.change_topuprule",
]
FINANCE = [
    *SUPPORT,
    "wallet.adjust_without_limit",
    "wallet.set_overdraft_limit",
    # What an app costs and gives; not its owner, its addresses and its keys.
    "accounts.change_app",
    "payments.add_pack",
    "payments.change_pack",
    "payments.change_plan",
    # Have events of Stripe's handled again; settle differences from Stripe by hand.
    "payments.change_stripeevent",
    "payments.change_drift",
]
ROLES = {"viewer": VIEWER, "support": SUPPORT, "finance": FINANCE}


@transaction.atomic
def create_roles(**_signal: Any) -> None:
    """Make every role as declared here. Any number of times is once."""
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
    """Whether this account has any right on the staff's site, or had one given."""
    return (
        user.is_staff
        or user.is_superuser
        or user.groups.exists()
        or user.user_permissions.exists()
    )


def may_change_account(*, staff: Any, user: User) -> bool:
    """Whether `staff` may change this account, its sessions and its tokens.

    Only superusers may where the account is staff's, their own included: who changes
    a colleague's account acts with the colleague's rights.
    """
    return bool(staff.is_superuser) or not is_staff_account(user)


def last_app() -> Any:
    """The app whose post_migrate comes last: by then every permission exists."""
    return [config for config in apps.get_app_configs() if config.models_module][-1]

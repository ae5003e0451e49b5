"""Staff pages of partner apps and their keys."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.postgres.forms import SimpleArrayField
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextareaWidget

from accounts import audit, roles
from accounts.admin.kept import Kept
from accounts.authentication import user_of, visitor
from accounts.credentials import app_keys
from accounts.models import App, AppKey
from accounts.partners import apps as partner_apps
from accounts.partners import first_party, origins
from focus.admin_site import columns
from focus.admin_site.base import StaffAdmin
from focus.errors import DomainError
from focus.money import NotAnAmount, from_micro, to_micro

ROTATION_OVERLAP_SECONDS = 24 * 3600
MARK_FAMILY = "accounts.mark_family"
# The fields that staff without `change_app_identity` may change: prices and limits.
# The other fields decide who owns the app and where its users and tokens go.
MONEY = {
    "active",
    "starter_credits",
    "starter_credits_at",
    "overage_policy",
    "max_ttl_seconds",
    "rate_limit_per_minute",
    "price",
    "duplicate_mode",
}
# The fields of a product of ours that staff see. The other columns would break its
# hosted work, or have no use for it.
OF_PRODUCTS = ["slug", "name", "active", "origins", "redirect_token"]


class AppForm(forms.ModelForm):
    """The form of an app, with credits in decimal form and checked addresses."""

    starter_credits = forms.DecimalField(
        min_value=0,
        decimal_places=6,
        max_digits=16,
        initial=0,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    price = forms.DecimalField(
        label="price (credits)",
        min_value=0,
        max_value=partner_apps.MAX_PRICE,
        decimal_places=6,
        max_digits=16,
        initial=0,
        required=False,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="The price of one purchase. Tools only.",
    )
    origins = SimpleArrayField(
        forms.CharField(max_length=255),
        delimiter="\n",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="One exact origin a line, such as https://video.example.com",
    )

    class Meta:
        model = App
        fields = ["slug", "name", "owner", "active"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding and "price" in self.fields:
            credits_now = from_micro(self.instance.starter_credits_micro)
            self.fields["starter_credits"].initial = credits_now
            self.fields["price"].initial = from_micro(self.instance.price_micro)

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"]
        if slug in first_party.APPS and slug != self.instance.slug:
            raise forms.ValidationError("This name is reserved for a product of ours.")
        return slug

    def clean_origins(self) -> list[str]:
        lines = [line.strip() for line in self.cleaned_data["origins"]]
        try:
            exact = [origins.checked_origin(line) for line in lines if line]
            origins.require_free(exact, app=self.instance)
            return list(dict.fromkeys(exact))
        except (origins.InvalidOrigin, origins.OriginTaken) as refusal:
            raise forms.ValidationError(refusal.message) from refusal

    def clean_tool_url(self) -> str:
        url: str = self.cleaned_data["tool_url"].strip()
        try:
            return origins.checked_redirect_url(url) if url else ""
        except origins.InvalidRedirectUrl as refusal:
            raise forms.ValidationError(refusal.message) from refusal

    def clean(self) -> Any:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("is_tool") and cleaned.get("tool_url") == "":
            self.add_error("tool_url", "A tool needs a redirect URL for its buyers.")
        return cleaned

    def clean_starter_credits(self) -> Any:
        micro = self._micro("starter_credits")
        # Decision 18: without this limit, one member of staff could give more credits
        # through starter credits than through an adjustment.
        most = to_micro(settings.STAFF_APPROVAL_ABOVE_CREDITS)
        if micro > max(most, self.instance.starter_credits_micro):
            raise forms.ValidationError(
                f"Starter credits set here are at most {from_micro(most):,} credits."
            )
        self.instance.starter_credits_micro = micro
        return self.cleaned_data["starter_credits"]

    def clean_price(self) -> Any:
        self.instance.price_micro = self._micro("price")
        return self.cleaned_data["price"]

    def _micro(self, field: str) -> int:
        try:
            return to_micro(self.cleaned_data[field] or 0)
        except NotAnAmount as refused:
            raise forms.ValidationError(str(refused)) from refused


@admin.register(App)
class AppAdmin(StaffAdmin):
    """Partner apps; every change is audited."""

    form = AppForm
    list_display = ["slug", "name", "owner", "active", "starter", "created_at"]
    list_filter = ["active", "is_tool", "name_needs_approval"]
    list_select_related = ["owner"]
    search_fields = ["slug", "name"]
    ordering = ["slug"]
    autocomplete_fields = ["owner"]
    fields = [
        "slug",
        "name",
        "name_needs_approval",
        "owner",
        "active",
        "starter_credits",
        "starter_credits_at",
        "overage_policy",
        "settle_with_app_key_only",
        "max_ttl_seconds",
        "origins",
        "redirect_token",
        "family",
        "rate_limit_per_minute",
        "is_tool",
        "price",
        "tool_url",
        "duplicate_mode",
        "sold_per_use",
    ]

    starter = columns.amount("starter_credits_micro", "starter credits")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return OF_PRODUCTS if obj and first_party.is_hosted(obj) else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # Partners' code and the ledger's entries contain the slug.
        fixed = ["slug"] if obj else []
        if obj and first_party.is_hosted(obj):
            # Also the form's own fields, or a forged request could set them.
            fixed += [name for name in self.fields if name not in OF_PRODUCTS]
        if not request.user.has_perm(MARK_FAMILY):
            fixed.append("family")
        if obj and not request.user.has_perm(f"accounts.{roles.CHANGE_APP_IDENTITY}"):
            free = MONEY if "family" in fixed else {*MONEY, "family"}
            locked = [name for name in self.fields if name not in free]
            return list(dict.fromkeys([*fixed, *locked]))
        return fixed

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: App, form: Any, change: bool
    ) -> None:
        if "active" in form.changed_data:
            # The owner cannot enable an app that staff disabled.
            obj.paused_by_owner = False
            if first_party.is_hosted(obj):
                self.message_user(request, _SWITCHED[obj.active].format(obj.name))
        super().save_model(request, obj, form, change)
        audit.record(
            "app_changed" if change else "app_created",
            user=obj.owner,
            actor=str(user_of(request)),
            visitor=visitor(request),
            app=obj.slug,
            fields=form.changed_data,
            starter_credits=str(from_micro(obj.starter_credits_micro)),
        )
        if "name_needs_approval" in form.changed_data and not obj.name_needs_approval:
            # The event records the approved name: a later name needs a new approval.
            audit.record(
                "app_name_approved",
                user=obj.owner,
                actor=str(user_of(request)),
                visitor=visitor(request),
                app=obj.slug,
                name=obj.name,
            )


_SWITCHED = {
    True: "{} accepts new work again.",
    False: "{} refuses new work from now on. Work that has begun is finished, and work"
    " that waits ends without a charge.",
}


class AppKeyForm(forms.ModelForm):
    """The form of a new key."""

    def clean_app(self) -> App:
        app: App = self.cleaned_data["app"]
        if first_party.is_hosted(app):
            raise forms.ValidationError("A product of ours has no keys.")
        return app


@admin.register(AppKey)
class AppKeyAdmin(Kept):
    """Keys of apps: created and rotated with the secret shown once."""

    form = AppKeyForm
    list_display = ["name", "app", "hint", "state", "created_at", "last_used_at"]
    list_filter = ["active"]
    list_select_related = ["app"]
    search_fields = ["name", "app__slug", "last4"]
    ordering = ["-created_at", "-id"]
    autocomplete_fields = ["app"]
    actions = ["rotate", "switch_off", "switch_on", "revoke"]

    hint = columns.itself("key")

    @admin.display(description="state")
    def state(self, key: AppKey) -> str:
        if key.revoked_at:
            return "revoked"
        if key.replaced_by_id:
            return f"replaced, works until {key.expires_at:%Y-%m-%d %H:%M}"
        return "active" if key.active else "switched off"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        if obj is None:
            return ["app", "name", "expires_at"]
        return [
            "id",
            "app",
            "name",
            "hint",
            "state",
            "created_at",
            "expires_at",
            "last_used_at",
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return self.get_fields(request, obj) if obj else []

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.add_appkey")

    def save_model(
        self, request: HttpRequest, obj: AppKey, form: Any, change: bool
    ) -> None:
        issued = app_keys.issue(
            app=obj.app,
            name=obj.name,
            expires_at=obj.expires_at,
            actor=str(user_of(request)),
        )
        # Django logs and links `obj`, so it must be the key that the rule created.
        obj.__dict__.update(issued.key.__dict__)
        self._show(request, issued)

    @admin.action(
        description="Rotate (the old key works for 24 hours)", permissions=["act"]
    )
    def rotate(self, request: HttpRequest, queryset: QuerySet[AppKey]) -> None:
        for key in queryset:
            try:
                issued = app_keys.rotate(
                    key_id=key.pk,
                    overlap_seconds=ROTATION_OVERLAP_SECONDS,
                    actor=str(user_of(request)),
                )
            except DomainError as refusal:
                self.message_user(request, f"{key}: {refusal}", messages.ERROR)
            else:
                self._show(request, issued)

    @admin.action(description="Switch off", permissions=["act"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[AppKey]) -> None:
        self._switch(request, queryset, active=False)

    @admin.action(description="Switch on", permissions=["act"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[AppKey]) -> None:
        self._switch(request, queryset, active=True)

    @admin.action(description="Revoke", permissions=["act"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[AppKey]) -> None:
        for key in queryset:
            app_keys.revoke(key_id=key.pk, actor=str(user_of(request)))
        self.message_user(request, "The keys are revoked.", messages.SUCCESS)

    def _switch(
        self, request: HttpRequest, queryset: QuerySet[AppKey], *, active: bool
    ) -> None:
        for key in queryset:
            app_keys.set_active(
                key_id=key.pk, active=active, actor=str(user_of(request))
            )
        state = "on" if active else "off"
        text = f"The keys are switched {state}."
        self.message_user(request, text, messages.SUCCESS)

    def _show(self, request: HttpRequest, issued: app_keys.IssuedAppKey) -> None:
        self.message_user(
            request,
            f"New key for {issued.key.app.slug}. Save it now, it is shown only once: "
            f"{issued.secret}",
            messages.WARNING,
        )

"""The staff page of prices of hosted work, which finance staff edit."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from accounts import audit
from accounts.authentication import user_of, visitor
from accounts.partners import apps as partner_apps
from focus.admin_site import columns
from focus.admin_site.base import StaffAdmin
from focus.money import from_micro, to_micro
from jobs.models import Price


class PriceForm(forms.ModelForm):
    """The form of one price, in credits."""

    credits = forms.DecimalField(
        label="price (credits a unit)",
        min_value=0,
        max_value=partner_apps.MAX_PRICE,
        decimal_places=6,
        max_digits=16,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="0 books nothing. Runs that have started keep their price.",
    )

    class Meta:
        model = Price
        fields = ["free_units_a_month"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["credits"].initial = from_micro(self.instance.credits_micro)

    def clean_credits(self) -> Decimal:
        typed: Decimal = self.cleaned_data["credits"]
        self.instance.credits_micro = to_micro(typed)
        return typed


@admin.register(Price)
class PriceAdmin(StaffAdmin):
    """Prices of hosted work. The code names the actions, so staff add none."""

    form = PriceForm
    list_display = ["app", "action", "plan_shown", "price", "unit", "free"]
    list_select_related = ["app"]
    list_filter = ["app"]
    list_fullwidth = True
    ordering = ["app__slug", "action", "plan"]
    fields = ["app", "action", "unit", "plan_shown", "credits", "free_units_a_month"]
    readonly_fields = ["app", "action", "unit", "plan_shown"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: Price, form: Any, change: bool
    ) -> None:
        if not form.changed_data:
            return
        before = Price.objects.select_for_update().get(pk=obj.pk)
        super().save_model(request, obj, form, change)
        audit.record(
            "hosted_price_changed",
            actor=str(user_of(request)),
            visitor=visitor(request),
            app=obj.app.slug,
            action=obj.action,
            plan=obj.plan,
            credits=_change(
                str(from_micro(before.credits_micro)),
                str(from_micro(obj.credits_micro)),
            ),
            free_units_a_month=_change(
                before.free_units_a_month, obj.free_units_a_month
            ),
        )

    price = columns.amount("credits_micro", "credits a unit")
    free = columns.text("free_units_a_month", "free units a month", "{:,}".format)

    @admin.display(description="plan")
    def plan_shown(self, price: Price) -> str:
        return price.plan or "every other plan"


def _change(before: Any, after: Any) -> dict[str, Any]:
    return {"before": before, "after": after}

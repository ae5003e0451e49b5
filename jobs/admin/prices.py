"""The staff page of prices of hosted work, which finance staff edit."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget

from accounts import audit
from accounts.authentication import user_of, visitor
from accounts.models import App
from accounts.partners import apps as partner_apps
from accounts.partners import first_party
from focus.admin_site import columns
from focus.admin_site.base import StaffAdmin
from focus.errors import DomainError
from focus.money import from_micro, to_micro
from jobs.hosted import prices
from jobs.models import Price
from payments.models import Plan

OTHER_PLANS = "every other plan"


class PriceForm(forms.ModelForm):
    """The form of one price, in credits."""

    credits = forms.DecimalField(
        label="Price (credits a unit)",
        min_value=0,
        max_value=partner_apps.MAX_PRICE,
        decimal_places=6,
        max_digits=16,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="0 books nothing. Work that has started keeps its price.",
    )

    class Meta:
        model = Price
        fields = ["free_units_a_month"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            self.fields["credits"].initial = from_micro(self.instance.credits_micro)

    def clean_credits(self) -> Decimal:
        typed: Decimal = self.cleaned_data["credits"]
        self.instance.credits_micro = to_micro(typed)
        return typed


class NewPriceForm(PriceForm):
    """The form of another price. The code names the actions and their units."""

    work = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    plan = forms.ChoiceField(
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="The price is for accounts with this plan.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        plans = Plan.objects.order_by("price_cents", "pk").values_list("slug", "name")
        self.fields["plan"].choices = [("", OTHER_PLANS), *plans]  # type: ignore[attr-defined]
        self.fields["work"].choices = [  # type: ignore[attr-defined]
            (f"{app} {action}", f"{app}: {action}, by the {unit}")
            for (app, action), (unit, *_) in prices.SEEDS.items()
        ]

    def clean(self) -> Any:
        cleaned = super().clean() or self.cleaned_data
        if "work" not in cleaned or "plan" not in cleaned:
            return cleaned
        slug, action = cleaned["work"].split(" ")
        price = self.instance
        try:
            price.app = first_party.app(slug)
        except DomainError as refusal:
            raise forms.ValidationError(refusal.message) from refusal
        price.action, price.plan = action, cleaned["plan"]
        price.unit = prices.SEEDS[slug, action][0]
        # The second of two forms at once waits here, and then finds the first's row.
        App.objects.select_for_update(no_key=True).get(pk=price.app.pk)
        same = Price.objects.filter(app=price.app, action=action, plan=price.plan)
        if same.exists():
            self.add_error("plan", "There is a price for this already. Edit that one.")
        return cleaned


@admin.register(Price)
class PriceAdmin(StaffAdmin):
    """Prices of hosted work; every change is audited."""

    form = PriceForm
    list_display = ["work", "plan_shown", "price", "unit", "free"]
    list_select_related = ["app"]
    list_fullwidth = True
    ordering = ["app__slug", "action", "plan"]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **more: Any
    ) -> Any:
        more["form"] = PriceForm if change else NewPriceForm
        return super().get_form(request, obj, change, **more)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        which = ["app", "action", "unit", "plan_shown"] if obj else ["work", "plan"]
        return [
            *which,
            "credits" if self._edits(request, obj) else "price",
            "free_units_a_month",
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fixed = ["app", "action", "unit", "plan_shown"] if obj else []
        return fixed if self._edits(request, obj) else [*fixed, "price"]

    def _edits(self, request: HttpRequest, obj: Any) -> bool:
        # Without the permission, Django shows no field that only the form has.
        may = self.has_add_permission if obj is None else self.has_change_permission
        return bool(may(request))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Where the price for all plans is missing, the code's own price holds, which
        # no page shows. The lists' deletion of many rows has no `obj`.
        if obj is None or not obj.plan:
            return False
        return bool(super().has_delete_permission(request, obj))

    def save_model(
        self, request: HttpRequest, obj: Price, form: Any, change: bool
    ) -> None:
        if not form.changed_data:
            return
        old = Price.objects.select_for_update().get(pk=obj.pk) if change else None
        super().save_model(request, obj, form, change)
        self._record(request, obj, before=_terms(old), after=_terms(obj))

    def delete_model(self, request: HttpRequest, obj: Price) -> None:
        self._record(request, obj, before=_terms(obj), after=None)
        super().delete_model(request, obj)

    def _record(self, request: HttpRequest, price: Price, **terms: Any) -> None:
        audit.record(
            "hosted_price_changed",
            actor=str(user_of(request)),
            visitor=visitor(request),
            app=price.app.slug,
            action=price.action,
            plan=price.plan,
            **terms,
        )

    price = columns.amount("credits_micro", "credits a unit")
    free = columns.text("free_units_a_month", "free units a month", "{:,}".format)

    @admin.display(description="work")
    def work(self, price: Price) -> str:
        return f"{price.app.slug}: {price.action}"

    @admin.display(description="plan")
    def plan_shown(self, price: Price) -> str:
        return price.plan or OTHER_PLANS


def _terms(price: Price | None) -> dict[str, Any] | None:
    """Return the part of a price that staff edit, for the audit."""
    if price is None:
        return None
    return {
        "credits": str(from_micro(price.credits_micro)),
        "free_units_a_month": price.free_units_a_month,
    }

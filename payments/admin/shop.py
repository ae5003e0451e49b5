"""Staff pages of packs and plans, which staff edit or disable but never delete."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from accounts import audit
from accounts.authentication import user_of, visitor
from accounts.models import User
from focus.admin_site.base import StaffAdmin
from payments import offers
from payments.models import Pack, Plan
from payments.models.packs import dollars
from payments.plans import catalog as plan_catalog
from payments.plans import prices as plan_prices


class OfferForm(forms.ModelForm):
    """Refuses terms that the signed-in member of staff may not offer."""

    staff: User

    def clean(self) -> Any:
        cleaned = super().clean() or self.cleaned_data
        credits_, price_cents = cleaned.get("credits"), cleaned.get("price_cents")
        if credits_ is None or price_cents is None:
            return cleaned
        try:
            offers.refuse_below_floor(
                offer=self.instance,
                credits_=credits_,
                price_cents=price_cents,
                active=cleaned.get("active", False),
                staff=self.staff,
            )
        except offers.BelowFloor as refusal:
            self.add_error("price_cents", refusal.message)
        return cleaned


class ForSale(StaffAdmin):
    """The base of both pages: it records every change in the audit."""

    form = OfferForm
    list_fullwidth = True

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **more: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **more)
        # Django makes this class anew for each request.
        form.staff = user_of(request)
        return form

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        audit.record(
            f"{obj._meta.model_name}_{'changed' if change else 'created'}",
            actor=str(user_of(request)),
            visitor=visitor(request),
            name=str(obj),
            fields=form.changed_data,
            credits=obj.credits,
            price_cents=obj.price_cents,
        )


@admin.register(Pack)
class PackAdmin(ForSale):
    """Packs of credits."""

    list_display = ["sku", "credits", "price_dollars", "active"]
    list_filter = ["active"]
    ordering = ["credits", "pk"]
    search_fields = ["sku"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # Partners' code contains the SKU.
        return ["sku"] if obj else []


class PlanForm(OfferForm):
    """The form of a plan, which checks the plan's Stripe Price."""

    def clean(self) -> Any:
        """Refuse a Stripe Price that belongs to another plan or amount.

        A Price keeps its amount for ever, and its plan decides the credits of an
        invoice.
        """
        cleaned = super().clean() or self.cleaned_data
        typed = cleaned.get("stripe_price_id")
        known = plan_catalog.find_price(price=typed) if typed else None
        if known is None or "stripe_price_id" not in self.changed_data:
            return cleaned
        if known.plan_id != self.instance.pk:
            self.add_error(
                "stripe_price_id", f"This Price belongs to the plan “{known.plan}”."
            )
        elif known.price_cents != cleaned.get("price_cents"):
            self.add_error(
                "stripe_price_id",
                f"This Price is {dollars(known.price_cents)} a month.",
            )
        return cleaned


@admin.register(Plan)
class PlanAdmin(ForSale):
    """Plans, with their Stripe Prices."""

    form = PlanForm
    list_display = [
        "slug",
        "name",
        "price_cents",
        "credits",
        "rollover_months",
        "price_at_stripe",
        "active",
    ]
    ordering = ["price_cents", "pk"]
    fields = [
        "slug",
        "name",
        "price_cents",
        "credits",
        "rollover_months",
        "features",
        "stripe_price_id",
        "price_at_stripe",
        "active",
    ]
    readonly_fields = ["slug", "price_at_stripe"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: bool
    ) -> None:
        # A Price in Stripe never changes, so another amount needs another Price.
        # Existing subscriptions keep the old one.
        changed = form.changed_data
        if "price_cents" in changed and "stripe_price_id" not in changed:
            obj.stripe_price_id = ""
        super().save_model(request, obj, form, change)
        if obj.stripe_price_id:
            plan_catalog.remember_price(plan=obj, price=obj.stripe_price_id)
        plan_prices.check_again(plan=obj)

    @admin.display(description="price at Stripe")
    def price_at_stripe(self, plan: Plan) -> str:
        """Return the Price that a new checkout uses, or why there is none yet.

        Reads the saved row: after a refused form, `plan` has the typed values, and
        `price_of` would record the typed price.
        """
        plan = Plan.objects.get(pk=plan.pk)
        if not plan.price_cents:
            return "none (free plan)"
        found = plan_catalog.price_of(plan=plan) or "pending"
        return f"{found} ({plan.price_problem})" if plan.price_problem else found

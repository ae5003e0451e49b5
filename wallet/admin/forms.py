"""Forms for adjustments and overdraft limits, with exact amounts and a note."""

import uuid
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from focus.admin_site import shown
from focus.money import NotAnAmount
from wallet import adjustments, allowances
from wallet.adjustments import Reason
from wallet.allowances import Allowance


class CreditsField(forms.CharField):
    """A number of credits in decimal form; the cleaned value is in micro-credits."""

    widget = UnfoldAdminTextInputWidget

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.widget.attrs |= {"inputmode": "decimal", "autocomplete": "off"}

    def to_python(self, value: Any) -> Any:
        typed = super().to_python(value)
        if not typed:
            return typed
        try:
            return adjustments.read_credits(typed)
        except NotAnAmount as wrong:
            raise forms.ValidationError(f"This {wrong}") from wrong


class Note(forms.CharField):
    """An internal note of staff; white space is collapsed."""

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminTextareaWidget(attrs={"rows": 3})
        super().__init__(min_length=5, max_length=400, widget=widget, **options)

    def clean(self, value: Any) -> Any:
        return " ".join(super().clean(value).split())


class AdjustForm(forms.Form):
    """One adjustment. The rule derives its idempotency key from `form_id`."""

    amount = CreditsField(
        label="Credits",
        help_text="A negative number takes credits, such as -2.5. At most 6 decimals.",
    )
    reason = forms.ChoiceField(
        choices=[("", "Choose…"), *Reason.choices], widget=UnfoldAdminSelectWidget
    )
    note = Note(
        label="Internal note",
        help_text="Visible to staff only. Say what happened and name the ticket.",
    )
    customer_text = forms.CharField(
        label="Text for the customer",
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Optional. The customer sees it under Activity.",
    )
    form_id = forms.UUIDField(initial=uuid.uuid4, widget=forms.HiddenInput)
    # The balance of the preview: the result says if it changed before the booking.
    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, allowed: Allowance, **options: Any) -> None:
        super().__init__(*args, **options)
        self.allowed = allowed
        limit, left = map(shown.credits_of, (allowed.limit_micro, allowed.left_micro))
        more = (
            " A larger amount needs the approval of another person."
            if allowed.may_request
            else ""
        )
        self.fields[
            "amount"
        ].help_text += (
            f" You may adjust {limit} credits in 24 hours; {left} are left.{more}"
        )

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if amount == 0:
            raise forms.ValidationError("Enter a number other than 0.")
        # A repeated confirmation has already used its amount, so the rule checks it.
        most = self.allowed.limit_micro
        if "confirm" not in self.data:
            most = self.allowed.left_micro
        if not self.allowed.may_request and abs(amount) > most:
            raise forms.ValidationError(allowances.limit_refusal(self.allowed).message)
        return amount

    def clean_customer_text(self) -> str:
        return " ".join(self.cleaned_data["customer_text"].split())


class OverdraftForm(forms.Form):
    """The overdraft limit of one wallet, with a note."""

    limit = CreditsField(
        label="Overdraft limit, in credits",
        help_text="The most debt that apps with the policy “overflow” may cause.",
    )
    note = Note(help_text="The reason, and the person who agreed.")

    def clean_limit(self) -> int:
        limit: int = self.cleaned_data["limit"]
        if limit < 0:
            raise forms.ValidationError("Enter 0 or more.")
        return limit

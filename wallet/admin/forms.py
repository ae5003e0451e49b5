"""What staff fill in: amounts exactly as typed, and a reason that says something."""

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
    """A number of credits as people type it; its value is exact micro-credits."""

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
    """The staff's own words, for whoever reads the ledger later."""

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminTextareaWidget(attrs={"rows": 3})
        super().__init__(min_length=5, max_length=400, widget=widget, **options)

    def clean(self, value: Any) -> Any:
        return " ".join(super().clean(value).split())


class AdjustForm(forms.Form):
    """One adjustment. `form_id` is born with the form and names its money key."""

    amount = CreditsField(
        label="Credits",
        help_text="5 gives five, -2.5 takes two and a half. At most 6 decimals.",
    )
    reason = forms.ChoiceField(
        choices=[("", "Choose…"), *Reason.choices], widget=UnfoldAdminSelectWidget
    )
    note = Note(
        label="Internal note",
        help_text="Only staff read it: what happened, and where it is written down.",
    )
    customer_text = forms.CharField(
        label="Text for the customer",
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="The customer reads it in their activity. Optional.",
    )
    form_id = forms.UUIDField(initial=uuid.uuid4, widget=forms.HiddenInput)
    # The balance that the preview showed, to say so if it has moved since.
    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, allowed: Allowance, **options: Any) -> None:
        super().__init__(*args, **options)
        self.allowed = allowed
        limit, left = map(shown.credits_of, (allowed.limit_micro, allowed.left_micro))
        more = (
            "more needs a second person's approval"
            if allowed.may_request
            else "no more"
        )
        self.fields[
            "amount"
        ].help_text += (
            f" By yourself you may adjust {limit} in 24 hours; {left} are left, {more}."
        )

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if amount == 0:
            raise forms.ValidationError("This must not be 0.")
        # A repeated confirmation may have used up what is left: the rule knows.
        most = self.allowed.limit_micro
        if "confirm" not in self.data:
            most = self.allowed.left_micro
        if not self.allowed.may_request and abs(amount) > most:
            raise forms.ValidationError(allowances.limit_refusal(self.allowed).message)
        return amount

    def clean_customer_text(self) -> str:
        return " ".join(self.cleaned_data["customer_text"].split())


class OverdraftForm(forms.Form):
    limit = CreditsField(
        label="Overdraft limit, in credits",
        help_text="How deep apps with the policy “overflow” may take this wallet.",
    )
    note = Note(help_text="Why, and who agreed to it.")

    def clean_limit(self) -> int:
        limit: int = self.cleaned_data["limit"]
        if limit < 0:
            raise forms.ValidationError("This must not be below 0.")
        return limit

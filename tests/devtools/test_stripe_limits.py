"""Documented limits of Stripe: event types, pages, portal flows."""

import json
from typing import Any

import pytest
import stripe

from tests.devtools.test_stripe_walks import monthly, subscribe
from tests.stripe import Emulator


def refusal(call: Any) -> stripe.InvalidRequestError:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        call()
    return refused.value


def test_events_are_listed_by_at_most_twenty_types(
    stripe_emulator: Emulator,
) -> None:
    listed = stripe_emulator.client.v1.events.list
    names = [f"kind.{n}" for n in range(21)]
    assert listed({"types": names[:20]}).data == []
    assert refusal(lambda: listed({"types": names})).param == "types"
    both: Any = {"types": names[:1], "type": "kind.1"}
    assert refusal(lambda: listed(both)).param == "types"


def with_items(emulator: Emulator, count: int) -> stripe.Subscription:
    v1 = emulator.client.v1
    customer = v1.customers.create({"email": "a@example.com"}).id
    card = v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    prices = [monthly(emulator, 100 + n, f"Part {n}").id for n in range(count)]
    wanted: Any = {
        "customer": customer,
        "default_payment_method": card,
        "items": [{"price": price} for price in prices],
    }
    return v1.subscriptions.create(wanted)


def test_a_subscription_embeds_ten_items_and_pages_the_rest(
    stripe_emulator: Emulator,
) -> None:
    v1 = stripe_emulator.client.v1
    made = with_items(stripe_emulator, 13)
    embedded = made["items"]
    assert (len(embedded.data), embedded.has_more) == (10, True)
    rest: Any = {"subscription": made.id, "starting_after": embedded.data[-1].id}
    more = v1.subscription_items.list(rest)
    assert (len(more.data), more.has_more) == (3, False)
    assert not {it.id for it in more.data} & {it.id for it in embedded.data}
    [listed] = v1.subscriptions.list().data
    assert listed["items"].has_more


def test_no_subscription_has_more_than_twenty_items(stripe_emulator: Emulator) -> None:
    assert refusal(lambda: with_items(stripe_emulator, 21)).param == "items"


def test_an_invoice_embeds_ten_lines_and_pages_the_rest(
    stripe_emulator: Emulator,
) -> None:
    v1 = stripe_emulator.client.v1
    made = with_items(stripe_emulator, 13)
    [invoice] = v1.invoices.list().data
    assert (len(invoice.lines.data), invoice.lines.has_more) == (10, True)
    whole = v1.invoices.line_items.list(str(invoice.id), {"limit": 100})
    assert (len(whole.data), whole.has_more) == (13, False)
    told = stripe_emulator.events("invoice.paid")[0]
    assert told.data.object["lines"]["has_more"]
    body = json.loads(stripe_emulator.signed(told.id)[0])
    assert len(body["data"]["object"]["lines"]["data"]) == 10
    assert made.latest_invoice == invoice.id


def test_an_expanded_list_is_a_first_page_too(stripe_emulator: Emulator) -> None:
    began = subscribe(stripe_emulator, monthly(stripe_emulator, 900, "Pro").id)
    v1 = stripe_emulator.client.v1
    charge = v1.charges.list().data[0].id
    for _ in range(11):
        v1.refunds.create({"charge": charge, "amount": 1})
    seen: Any = v1.charges.retrieve(charge, {"expand": ["refunds"]})
    assert (len(seen.refunds.data), seen.refunds.has_more) == (10, True)
    assert began.status == "active"


class TestPortalFlow:
    def flow(self, began: stripe.Subscription, price: str, **more: Any) -> Any:
        change = {"id": began["items"].data[0].id, "price": price}
        return {
            "customer": str(began.customer),
            "return_url": "https://shop.example.com/",
            "flow_data": {
                "type": "subscription_update_confirm",
                "subscription_update_confirm": {
                    "subscription": began.id,
                    "items": [change],
                    **more,
                },
                "after_completion": {
                    "type": "redirect",
                    "redirect": {"return_url": "https://shop.example.com/done"},
                },
            },
        }

    def test_the_session_names_the_change_to_confirm(
        self, stripe_emulator: Emulator
    ) -> None:
        began = subscribe(stripe_emulator, monthly(stripe_emulator, 900, "Pro").id)
        other = monthly(stripe_emulator, 1900, "Creator").id
        portal = stripe_emulator.client.v1.billing_portal.sessions
        made: Any = portal.create(self.flow(began, other))
        assert made.flow.subscription_update_confirm.items[0].price == other

    def test_a_change_that_cannot_be_confirmed_is_refused(
        self, stripe_emulator: Emulator
    ) -> None:
        pro = monthly(stripe_emulator, 900, "Pro").id
        began = subscribe(stripe_emulator, pro)
        other = monthly(stripe_emulator, 1900, "Creator").id
        portal = stripe_emulator.client.v1.billing_portal.sessions
        param = "flow_data[subscription_update_confirm]"
        same = self.flow(began, pro)
        assert refusal(lambda: portal.create(same)).param == f"{param}[items]"
        unknown = self.flow(began, "price_none")
        said = refusal(lambda: portal.create(unknown))
        assert (said.code, said.param) == (
            "resource_missing",
            f"{param}[items][0][price]",
        )
        stripe_emulator.control(f"subscriptions/{began.id}/status", status="unpaid")
        late = self.flow(began, other)
        assert refusal(lambda: portal.create(late)).param == f"{param}[subscription]"

    def test_a_subscription_of_several_items_is_refused(
        self, stripe_emulator: Emulator
    ) -> None:
        began = with_items(stripe_emulator, 2)
        other = monthly(stripe_emulator, 1900, "Creator").id
        portal = stripe_emulator.client.v1.billing_portal.sessions
        said = refusal(lambda: portal.create(self.flow(began, other)))
        assert said.param == "flow_data[subscription_update_confirm][items]"


def test_a_deleted_customer_has_no_card_and_no_portal(
    stripe_emulator: Emulator,
) -> None:
    v1 = stripe_emulator.client.v1
    customer = v1.customers.create({"email": "a@example.com"}).id
    card = v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    v1.customers.delete(customer)
    assert v1.customers.retrieve(customer).deleted
    assert v1.payment_methods.retrieve(card).customer is None
    portal = v1.billing_portal.sessions
    said = refusal(lambda: portal.create({"customer": customer}))
    assert (said.code, said.param) == ("resource_missing", "customer")


def test_a_forgotten_object_is_gone_without_an_event(stripe_emulator: Emulator) -> None:
    began = subscribe(stripe_emulator, monthly(stripe_emulator, 900, "Pro").id)
    told = len(stripe_emulator.events())
    stripe_emulator.control(f"objects/{began.id}/forget")
    gone = refusal(lambda: stripe_emulator.client.v1.subscriptions.retrieve(began.id))
    assert (gone.code, gone.http_status) == ("resource_missing", 404)
    assert len(stripe_emulator.events()) == told

"""The gateway's requests to Stripe's test mode; skipped without a key."""

import os
import uuid
from typing import Any

import pytest

from payments import gateway, packs

KEY = os.environ.get("STRIPE_LIVE_TEST_KEY", "")

pytestmark = [
    pytest.mark.stripe_live,
    pytest.mark.skipif(
        not KEY.startswith("sk_test_"), reason="no STRIPE_LIVE_TEST_KEY"
    ),
]


def test_a_checkout_session_is_created_once_read_and_expired(settings: Any) -> None:
    settings.STRIPE_SECRET_KEY = KEY
    settings.STRIPE_API_BASE = "https://api.stripe.com"
    price = {
        "currency": gateway.CURRENCY,
        "unit_amount": 499,
        "product_data": {"name": "5 credits"},
    }
    params = {
        "mode": "payment",
        "client_reference_id": "test",
        "metadata": {"focus": packs.PACK},
        "success_url": packs.success_url(),
        "line_items": [{"quantity": 1, "price_data": price}],
    }
    key = f"focus-{uuid.uuid4()}-session"
    made = gateway.create_session(params=params, key=key)
    assert gateway.create_session(params=params, key=key).id == made.id
    assert (made.subtotal_cents, made.made_for, made.paid) == (499, packs.PACK, False)
    gateway.expire_session(session_id=made.id)
    assert gateway.session(session_id=made.id).status == "expired"
    with pytest.raises(gateway.Missing):
        gateway.session(session_id="cs_test_unknown")

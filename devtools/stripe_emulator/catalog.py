"""Products and Prices."""

from typing import Any

from .errors import Refused
from .events import changed, emit
from .state import Obj, State, checked_metadata, merge_metadata


def create_product(state: State, params: Obj) -> Obj:
    name = params.get("id")
    if name in state.objects:
        raise Refused(
            f"Product already exists with ID: {name}", code="resource_already_exists"
        )
    fields = {k: v for k, v in params.items() if k not in ("expand", "id")}
    fields["metadata"] = checked_metadata(fields.get("metadata"))
    fields.setdefault("active", True)
    product = state.add(
        "product",
        id=name,
        type="service",
        updated=state.now(),
        default_price=None,
        attributes=[],
        **fields,
    )
    # Stripe sends these members, but its document does not describe them.
    for unknown in ("type", "attributes"):
        product.pop(unknown)
    emit(state, "product.created", product)
    return product


def update_product(state: State, name: str, params: Obj) -> Obj:
    product = state.get("product", name)
    if price := params.get("default_price"):
        state.get("price", price, param="default_price")
    _update(state, "product.updated", product, params, updated=state.now())
    return product


def _update(state: State, event: str, obj: Obj, params: Obj, **more: Any) -> None:
    fields = {k: v for k, v in params.items() if k != "expand"}
    if "metadata" in fields:
        fields["metadata"] = merge_metadata(obj, fields["metadata"])
    fields = {k: None if v == "" else v for k, v in fields.items()}
    changed(state, event, obj, **fields, **more)


def create_price(state: State, params: Obj) -> Obj:
    if ("product" in params) == ("product_data" in params):
        raise Refused(
            "You must specify either `product` or `product_data` when creating a price."
        )
    if "unit_amount" not in params:
        raise Refused(
            "Missing required param: unit_amount.",
            code="parameter_missing",
            param="unit_amount",
        )
    if params["unit_amount"] < 0:
        raise Refused(
            "Invalid non-negative integer",
            code="parameter_invalid_integer",
            param="unit_amount",
        )
    if "product" in params:
        product = state.get("product", params["product"], param="product")
    else:
        product = create_product(state, params["product_data"])
    price = _new_price(state, params, product)
    emit(state, "price.created", price)
    return price


def _new_price(state: State, params: Obj, product: Obj, active: bool = True) -> Obj:
    recurring = params.get("recurring")
    if recurring is not None:
        recurring = {
            "interval": recurring["interval"],
            "interval_count": recurring.get("interval_count", 1),
            "meter": None,
            "usage_type": "licensed",
        }
    amount = params["unit_amount"]
    price = state.add(
        "price",
        active=params.get("active", active),
        billing_scheme="per_unit",
        currency=params["currency"].lower(),
        lookup_key=params.get("lookup_key"),
        metadata=checked_metadata(params.get("metadata")),
        nickname=params.get("nickname"),
        product=product["id"],
        recurring=recurring,
        tax_behavior="unspecified",
        type="recurring" if recurring else "one_time",
        unit_amount=amount,
        unit_amount_decimal=str(amount),
    )
    if price["lookup_key"]:
        _take_lookup_key(state, price, params.get("transfer_lookup_key", False))
    return price


def inline_price(state: State, data: Obj, where: str) -> Obj:
    """Create an inactive Price for one checkout, as Stripe does."""
    if "unit_amount" not in data:
        raise Refused(
            "Missing required param: unit_amount.",
            code="parameter_missing",
            param=f"{where}[unit_amount]",
        )
    if "product" in data:
        product = state.get("product", data["product"], param=f"{where}[product]")
    elif "product_data" in data:
        product = create_product(state, {**data["product_data"], "active": False})
    else:
        raise Refused(
            "You must specify `product` or `product_data`.",
            code="parameter_missing",
            param=f"{where}[product]",
        )
    return _new_price(state, data, product, active=False)


def update_price(state: State, name: str, params: Obj) -> Obj:
    price = state.get("price", name)
    transfer = params.pop("transfer_lookup_key", False)
    _update(state, "price.updated", price, params)
    if params.get("lookup_key"):
        _take_lookup_key(state, price, transfer)
    return price


def _take_lookup_key(state: State, price: Obj, transfer: bool) -> None:
    key = price["lookup_key"]
    for other in state.each("price", lookup_key=key):
        if other is price:
            continue
        if not transfer:
            del state.objects[price["id"]]
            raise Refused(
                f"A price (`{other['id']}`) already uses that lookup key.",
                param="lookup_key",
            )
        other["lookup_key"] = None

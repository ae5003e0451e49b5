"""Cut Stripe's published OpenAPI document down to the part that the emulator supports.

    python -m devtools.stripe_emulator.spec.prune spec3.json

LICENSE beside this file names the source of spec3.json. The parameters that are left
out stay listed by name (`x-left-out`). So the emulator can tell a parameter that it
does not support from a misspelt one.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DROPPED = {
    "description",
    "title",
    "example",
    "maxLength",
    "x-resourceId",
    "x-expandableFields",
    "x-expansionResources",
    "x-stripeBypassValidation",
    "x-stripeEvent",
    "x-stripeResource",
    "x-stripeOperations",
    "x-stripeParam",
    "x-stripeMostCommon",
    "discriminator",
    "style",
    "explode",
}
PREFIX = "#/components/schemas/"
# Objects that a request may expand in place of their id.
RESOURCES = {
    "balance_transaction",
    "billing_portal.session",
    "charge",
    "checkout.session",
    "customer",
    "deleted_customer",
    "dispute",
    "event",
    "invoice",
    "invoice_payment",
    "item",
    "line_item",
    "payment_intent",
    "payment_method",
    "price",
    "product",
    "refund",
    "subscription",
    "subscription_item",
}
OTHERS = {"error"}
# The two kinds of payment, of Stripe's sixty, that are emulated: one that settles at
# once, and one that settles days later.
KINDS = {"card", "sepa_debit"}
OPERATIONS = {
    "/v1/balance_transactions": "get",
    "/v1/balance_transactions/{id}": "get",
    "/v1/billing_portal/sessions": "post",
    "/v1/charges": "get",
    "/v1/charges/{charge}": "get post",
    "/v1/checkout/sessions": "get post",
    "/v1/checkout/sessions/{session}": "get post",
    "/v1/checkout/sessions/{session}/expire": "post",
    "/v1/checkout/sessions/{session}/line_items": "get",
    "/v1/customers": "get post",
    "/v1/customers/{customer}": "get post delete",
    "/v1/customers/{customer}/payment_methods": "get",
    "/v1/disputes": "get",
    "/v1/disputes/{dispute}": "get post",
    "/v1/disputes/{dispute}/close": "post",
    "/v1/events": "get",
    "/v1/events/{id}": "get",
    "/v1/invoice_payments": "get",
    "/v1/invoices": "get",
    "/v1/invoices/{invoice}": "get",
    "/v1/invoices/{invoice}/lines": "get",
    "/v1/invoices/{invoice}/pay": "post",
    "/v1/payment_intents": "get post",
    "/v1/payment_intents/{intent}": "get post",
    "/v1/payment_intents/{intent}/cancel": "post",
    "/v1/payment_intents/{intent}/confirm": "post",
    "/v1/payment_methods": "get",
    "/v1/payment_methods/{payment_method}": "get",
    "/v1/payment_methods/{payment_method}/attach": "post",
    "/v1/payment_methods/{payment_method}/detach": "post",
    "/v1/prices": "get post",
    "/v1/prices/{price}": "get post",
    "/v1/products": "get post",
    "/v1/products/{id}": "get post",
    "/v1/refunds": "get post",
    "/v1/refunds/{refund}": "get post",
    "/v1/subscription_items": "get",
    "/v1/subscriptions": "get post",
    "/v1/subscriptions/{subscription_exposed_id}": "get post delete",
}
EVERYWHERE = {"expand", "metadata"}
# The supported parameters of a request; all of them for a request that is not listed.
SUPPORTED: dict[str, str] = {
    "/v1/billing_portal/sessions": "customer flow_data return_url locale",
    "/v1/charges/{charge}": "description receipt_email",
    "/v1/checkout/sessions": (
        "allow_promotion_codes automatic_tax billing_address_collection cancel_url "
        "client_reference_id currency customer customer_creation customer_email "
        "customer_update expires_at line_items locale mode payment_intent_data "
        "payment_method_collection payment_method_types subscription_data submit_type "
        "success_url ui_mode"
    ),
    "/v1/checkout/sessions/{session}": "",
    "/v1/customers": "description email name phone",
    "/v1/customers/{customer}": "description email invoice_settings name phone",
    "/v1/disputes/{dispute}": "submit",
    "/v1/invoices/{invoice}/pay": "off_session payment_method",
    "/v1/payment_intents": (
        "amount automatic_payment_methods capture_method confirm currency customer "
        "description error_on_requires_action off_session payment_method "
        "payment_method_types receipt_email setup_future_usage statement_descriptor "
        "statement_descriptor_suffix"
    ),
    "/v1/payment_intents/{intent}": "amount description",
    "/v1/payment_intents/{intent}/confirm": (
        "error_on_requires_action off_session payment_method return_url"
    ),
    "/v1/prices": (
        "active currency lookup_key nickname product product_data recurring "
        "transfer_lookup_key unit_amount"
    ),
    "/v1/prices/{price}": "active lookup_key nickname transfer_lookup_key",
    "/v1/products": "active description id images name statement_descriptor url",
    "/v1/products/{id}": "active default_price description images name url",
    "/v1/refunds": "amount charge payment_intent reason",
    "/v1/subscriptions": (
        "cancel_at_period_end collection_method customer default_payment_method "
        "description items off_session payment_behavior"
    ),
    "/v1/subscriptions/{subscription_exposed_id}": (
        "cancel_at_period_end cancellation_details default_payment_method description "
        "invoice_now items off_session payment_behavior proration_behavior prorate"
    ),
}
SUPPORTED_INSIDE = {
    "automatic_payment_methods": "allow_redirects enabled",
    "automatic_tax": "enabled",
    "cancellation_details": "comment feedback",
    "after_completion": "redirect type",
    "customer_update": "address name",
    "flow_data": "after_completion subscription_update_confirm type",
    "invoice_settings": "default_payment_method",
    "items": "id price quantity deleted metadata",
    "line_items": "price price_data quantity",
    "payment_intent_data": "description metadata receipt_email setup_future_usage "
    "statement_descriptor statement_descriptor_suffix",
    "price_data": "currency product product_data recurring unit_amount",
    "product_data": "description images metadata name",
    "recurring": "interval interval_count",
    "subscription_data": "description metadata",
    "subscription_update_confirm": "items subscription",
}


def plain(node: Any) -> Any:
    """Return a schema without prose, and without references to dropped schemas."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    if "anyOf" in node:
        kept = [
            option
            for option in node["anyOf"]
            if not _is_foreign_resource(option.get("$ref"))
        ]
        node["anyOf"] = kept
    if "properties" in node:
        node["properties"] = {
            name: plain(schema)
            for name, schema in node["properties"].items()
            if schema is not None and _is_wanted(schema)
        }
        # A property may have the name of a JSON Schema keyword.
        rest = {key: value for key, value in node.items() if key != "properties"}
        return {**plain(rest), "properties": node["properties"]}
    return {key: plain(value) for key, value in node.items() if key not in DROPPED}


SCHEMAS: dict[str, Any] = {}


def _is_foreign_resource(ref: str | None) -> bool:
    if ref is None:
        return False
    name = ref.removeprefix(PREFIX)
    return "x-resourceId" in SCHEMAS[name] and name not in RESOURCES


def _is_wanted(schema: dict[str, Any]) -> bool:
    """Whether a property is kept: not the details of kinds that are not emulated."""
    refs = [schema.get("$ref", "")]
    refs += [option.get("$ref", "") for option in schema.get("anyOf", [])]
    for ref in refs:
        name = ref.removeprefix(PREFIX)
        for family in ("payment_method_options_", "payment_method_details_"):
            if name.startswith(family) and name.removeprefix(family) not in KINDS:
                return False
        if name.startswith("payment_method_") and ref:
            kind = name.removeprefix("payment_method_")
            if kind in SCHEMAS["payment_method"]["properties"] and kind not in KINDS:
                return False
        if "_payment_method_options_" in name:
            return False
    return True


def closure(roots: set[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    waiting = sorted(roots)
    while waiting:
        name = waiting.pop()
        if name in kept:
            continue
        schema = SCHEMAS[name]
        if name in ("payment_method", "payment_method_details"):
            wanted = KINDS | set(schema["required"])
            wanted |= {"customer", "metadata", "allow_redisplay"}
            properties = schema["properties"]
            properties = {k: v for k, v in properties.items() if k in wanted}
            schema = {**schema, "properties": properties}
        kept[name] = plain(schema)
        kept[name].pop("x-resourceId", None)
        text = json.dumps(kept[name])
        waiting += [part.split('"')[0] for part in text.split(PREFIX)[1:]]
    return kept


def supported(schema: Any, wanted: str | None) -> Any:
    """Return the supported part of a request's schema, and the names of the rest."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [supported(s, wanted) for s in schema["anyOf"]]}
    if "items" in schema:
        return {**schema, "items": supported(schema["items"], wanted)}
    properties = schema.get("properties")
    if not properties:
        return schema
    names = set(properties) if wanted is None else EVERYWHERE | set(wanted.split())
    kept = {
        name: supported(value, SUPPORTED_INSIDE.get(name))
        for name, value in properties.items()
        if name in names
    }
    left_out = sorted(set(properties) - set(kept))
    result = {**schema, "properties": kept}
    return {**result, "x-left-out": left_out} if left_out else result


def operation(path: str, method: str, source: dict[str, Any]) -> dict[str, Any]:
    content = source.get("requestBody", {}).get("content", {})
    form = content.get("application/x-www-form-urlencoded", {}).get("schema")
    query = [p for p in source.get("parameters", []) if p["in"] == "query"]
    answer = source["responses"]["200"]["content"]["application/json"]["schema"]
    if method == "get":
        form = {
            "type": "object",
            "properties": {p["name"]: p["schema"] for p in query},
            "required": [p["name"] for p in query if p.get("required")],
            "additionalProperties": False,
        }
    else:
        form = supported(form, SUPPORTED.get(path))
    return {"request": plain(form), "response": plain(answer)}


def prune(document: dict[str, Any]) -> dict[str, Any]:
    SCHEMAS.update(document["components"]["schemas"])
    paths = {
        path: {
            method: operation(path, method, document["paths"][path][method])
            for method in methods.split()
        }
        for path, methods in OPERATIONS.items()
    }
    return {
        "version": document["info"]["version"],
        "paths": paths,
        "schemas": closure(RESOURCES | OTHERS),
    }


def write(pruned: dict[str, Any], path: Path) -> None:
    """Write one path or schema per line, so that a diff is readable."""
    lines = [f'{{"version": {json.dumps(pruned["version"])}']
    for part in ("paths", "schemas"):
        rows = [
            f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}"
            for name, value in sorted(pruned[part].items())
        ]
        lines.append(f'"{part}": {{\n' + ",\n".join(rows) + "\n}")
    path.write_text(",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    source = json.loads(Path(sys.argv[1]).read_text())
    write(prune(source), HERE / "stripe.json")

"""The page at /_emulator/: objects, deliveries, and buttons for the control API."""

import datetime as dt
from html import escape

from . import look
from .deliveries import Deliverer
from .state import Obj, State

SHOWN = 40


def control_page(state: State, deliverer: Deliverer) -> str:
    where = escape(deliverer.url or "nowhere")
    return look.document(
        "Control",
        f"""<section><h1>Stripe emulator</h1><p>Events go to <code>{where}</code>. The
        buttons are the control API under <code>/_emulator/</code>; docs/stripe.md lists
        it.</p><div class="acts">{_delivery_buttons(state)}</div></section>
        {_table("Checkout sessions", _sessions(state))}
        {_table("Subscriptions", _subscriptions(state))}
        {_table("Charges", _charges(state))}
        {_table("Disputes", _disputes(state))}
        {_table("Deliveries", _deliveries(state))}""",
        wide=True,
    )


def _table(title: str, rows: list[list[str]]) -> str:
    if not rows:
        return f'<section><h2>{title}</h2><p class="dim">None yet.</p></section>'
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
        for row in rows[:SHOWN]
    )
    return (
        f'<section class="wide"><h2>{title}</h2><table><tbody>{body}</tbody></table>'
        "</section>"
    )


def _press(path: str, text: str, **fields: str) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in fields.items()
    )
    return (
        f'<form method="post" action="/_emulator/{path}">{hidden}'
        f"<button>{escape(text)}</button></form>"
    )


def _acts(*forms: str) -> str:
    return f'<div class="acts" style="margin:0">{"".join(forms)}</div>'


def _code(obj: Obj) -> str:
    return f"<code>{escape(obj['id'])}</code>"


def _delivery_buttons(state: State) -> str:
    if state.holding:
        held = sum(d["state"] == "held" for d in state.deliveries)
        return (
            f"<span>{held} held.</span>"
            + _press("deliveries/release", "Release in order")
            + _press("deliveries/release", "Release reversed", order="reversed")
        )
    return (
        _press("deliveries/hold", "Hold deliveries")
        + _press("deliveries/retry", "Retry now")
        + _press("deliveries/faults", "Deliver the next one twice", copies="2")
        + _press("deliveries/faults", "Lose the next one", drop="1")
        + _press("deliveries/faults", "Sign the next one wrongly", wrong_secret="1")  # noqa: S106
        + _press("deliveries/faults", "Make the next one old", age_seconds="3600")
        + _press("deliveries/faults", "Delay the next one by 10 s", delay_seconds="10")
    )


def _sessions(state: State) -> list[list[str]]:
    rows = []
    for row in state.each("checkout.session"):
        acts = ""
        if row["status"] == "open":
            acts = f'<a href="/c/pay/{row["id"]}">open</a>' + _acts(
                _press(f"checkout/{row['id']}/pay", "Pay"),
                _press(f"checkout/{row['id']}/expire", "Expire"),
            )
        elif row["payment_status"] == "unpaid" and row["status"] == "complete":
            acts = _acts(
                _press(f"checkout/{row['id']}/settle", "Debit arrives", paid="1"),
                _press(f"checkout/{row['id']}/settle", "Debit comes back", paid=""),
            )
        amount = look.money(row["amount_total"], row["currency"])
        status = f"{row['status']}, {row['payment_status']}"
        rows.append([_code(row), row["mode"], amount, status, acts])
    return rows


def _subscriptions(state: State) -> list[list[str]]:
    rows = []
    for row in state.each("subscription"):
        item = row["items"]["data"][0]
        name = escape(state.objects[item["price"]["product"]]["name"])
        acts = ""
        if row["status"] in ("active", "past_due"):
            at = f"subscriptions/{row['id']}"
            acts = _acts(
                _press(f"{at}/renew", "Renew now"),
                _press(f"{at}/renew", "Fail a renewal", outcome="generic_decline"),
                _press(f"{at}/end", "End now"),
            )
        until = look.day(item["current_period_end"])
        status = row["status"] + (", ends then" if row["cancel_at_period_end"] else "")
        rows.append([_code(row), name, status, until, acts])
    return rows


def _charges(state: State) -> list[list[str]]:
    rows = []
    for row in state.each("charge"):
        acts = ""
        if row["status"] == "succeeded" and not row["disputed"]:
            acts = _acts(
                _press(f"charges/{row['id']}/refund", "Refund all"),
                _press(f"charges/{row['id']}/refund", "Refund $1", amount="100"),
                _press(f"charges/{row['id']}/dispute", "Dispute"),
                _press(f"charges/{row['id']}/dispute", "Inquiry", inquiry="1"),
            )
        amount = look.money(row["amount"], row["currency"])
        back = look.money(row["amount_refunded"], row["currency"])
        rows.append([_code(row), amount, f"{back} refunded", row["status"], acts])
    return rows


def _disputes(state: State) -> list[list[str]]:
    rows = []
    for row in state.each("dispute"):
        acts = ""
        if row["status"] not in ("won", "lost", "warning_closed"):
            acts = _acts(
                _press(f"disputes/{row['id']}/win", "Shop wins"),
                _press(f"disputes/{row['id']}/lose", "Shop loses"),
            )
        amount = look.money(row["amount"], row["currency"])
        rows.append([_code(row), row["charge"], amount, row["status"], acts])
    return rows


def _deliveries(state: State) -> list[list[str]]:
    rows = []
    for row in reversed(state.deliveries):
        tries = ", ".join(str(a["status"] or a["said"]) for a in row["attempts"])
        kind = {"delivered": "good", "given up": "bad", "dropped": "bad"}
        colour = kind.get(row["state"], "dim")
        event = state.objects.get(row["event"])
        if event is None:
            continue
        at = dt.datetime.fromtimestamp(event["created"], dt.UTC).strftime("%H:%M:%S")
        rows.append(
            [
                at,
                f"<code>{row['type']}</code><br>{_code(event)}",
                f'<span class="{colour}">{row["state"]}</span>',
                escape(tries[-200:]),
                _acts(
                    _press(f"events/{row['event']}/resend", "Resend"),
                    _press(
                        f"events/{row['event']}/resend", "Twice at once", copies="2"
                    ),
                ),
            ]
        )
    return rows

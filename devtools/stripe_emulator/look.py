"""HTML of the hosted pages, without scripts."""

import datetime as dt
from html import escape

from .state import Obj, State

STYLE = """
:root{color-scheme:light dark;--ink:#1a1f36;--dim:#5b6478;--paper:#fff;--back:#f4f5fa;
--line:#dfe3ee;--accent:#5a4bda;--good:#0a7a4b;--bad:#b3242c;--warn:#fff3c4;
--warnink:#5c4400}
@media (prefers-color-scheme:dark){:root{--ink:#eef0f8;--dim:#a3abc2;--paper:#191c2b;
--back:#10121c;--line:#31364c;--accent:#8d80ff;--good:#4fd39a;--bad:#ff8a8f;
--warn:#3d3310;--warnink:#ffe08a}}
*{box-sizing:border-box}body{margin:0;font:16px/1.5 system-ui,sans-serif;
color:var(--ink);background:var(--back)}
.banner{background:var(--warn);color:var(--warnink);padding:.6rem 1rem;
text-align:center;font-weight:600}
main{max-width:60rem;margin:2rem auto;padding:0 1rem;display:grid;gap:1.5rem}
.two{grid-template-columns:1fr 1fr}
@media(max-width:46rem){.two{grid-template-columns:1fr}}
section{background:var(--paper);border:1px solid var(--line);border-radius:12px;
padding:1.5rem}h1{font-size:1.35rem;margin:0 0 .5rem}
h2{font-size:1.05rem;margin:0 0 .75rem}
.total{font-size:2.2rem;font-weight:700;margin:.25rem 0 1rem}
.row{display:flex;justify-content:space-between;gap:1rem;padding:.5rem 0;
border-top:1px solid var(--line)}.dim{color:var(--dim);font-size:.9rem}
label{display:block;margin:.75rem 0 .25rem;font-weight:600;font-size:.9rem}
input,select{width:100%;padding:.6rem .7rem;font:inherit;color:inherit;
background:var(--paper);border:1px solid var(--line);border-radius:8px}
input[type=radio]{width:auto}button{font:inherit;font-weight:600;padding:.55rem .9rem;
border-radius:8px;border:1px solid var(--line);background:var(--paper);color:var(--ink);
cursor:pointer}button.main{width:100%;margin-top:1.25rem;background:var(--accent);
border-color:var(--accent);color:#fff;padding:.75rem}
@media (prefers-color-scheme:dark){button.main{color:#10121c}}
button:focus-visible,input:focus-visible,select:focus-visible,a:focus-visible{
outline:3px solid var(--accent);outline-offset:2px}
.acts{display:flex;gap:.4rem;flex-wrap:wrap;margin-top:.75rem}.acts form{display:inline}
.error{color:var(--bad);border:1px solid var(--bad);border-radius:8px;
padding:.6rem .8rem;margin:0 0 1rem}.good{color:var(--good)}.bad{color:var(--bad)}
table{width:100%;border-collapse:collapse;font-size:.87rem}td,th{text-align:left;
padding:.4rem .5rem;border-top:1px solid var(--line);vertical-align:top}
th{color:var(--dim);font-weight:600;border:0}code{font:0.85em ui-monospace,monospace;
overflow-wrap:anywhere}.wide{overflow-x:auto}a{color:var(--accent)}
.acts button{font-size:.85rem;padding:.3rem .6rem}
"""
BANNER = "EMULATOR, no money moves"
TEST_CARDS = [
    ("4242 4242 4242 4242", "is paid"),
    ("4000 0000 0000 0002", "is declined"),
    ("4000 0000 0000 9995", "has too little money"),
    ("4000 0025 0000 3155", "asks for authentication"),
    ("4000 0027 6000 3184", "asks for it each time"),
    ("4000 0000 0000 0341", "is paid now, and declined at a renewal"),
    ("4000 0000 0000 0259", "is paid, and then disputed"),
]


def document(title: str, body: str, *, wide: bool = False) -> str:
    room = ' style="max-width:86rem"' if wide else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · Stripe emulator</title><style>{STYLE}</style></head>"
        f'<body><div class="banner" role="note">{BANNER}</div>'
        f"<main{room}>{body}</main></body></html>"
    )


def money(amount: int, currency: str) -> str:
    sign = "−" if amount < 0 else ""
    if currency == "usd":
        return f"{sign}${abs(amount) / 100:,.2f}"
    return f"{sign}{abs(amount) / 100:,.2f} {currency.upper()}"


def day(at: int) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%-d %B %Y")


def message(title: str, text: str) -> str:
    return document(
        title, f"<section><h1>{escape(title)}</h1><p>{escape(text)}</p></section>"
    )


def button(action: str, text: str, *, main: bool = False) -> str:
    kind = ' class="main"' if main else ""
    return f'<button name="action" value="{action}"{kind}>{escape(text)}</button>'


def checkout(session: Obj, lines: list[Obj], email: str, error: str) -> str:
    currency = session["currency"]
    rows = "".join(
        f'<div class="row"><span>{escape(line["description"])}'
        f'<br><span class="dim">{_quantity(line)}</span></span>'
        f"<span>{money(line['amount_total'], currency)}</span></div>"
        for line in lines
    )
    total = money(session["amount_total"], currency)
    verb = "Subscribe" if session["mode"] == "subscription" else f"Pay {total}"
    wrong = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    cards = "".join(
        f"<tr><td><code>{number}</code></td><td>{manner}</td></tr>"
        for number, manner in TEST_CARDS
    )
    kinds = ""
    if "sepa_debit" in session["payment_method_types"]:
        kinds = (
            '<label for="kind">Pay by</label><select id="kind" name="kind">'
            '<option value="card">Card</option>'
            '<option value="sepa_debit">SEPA debit (answers days later)</option>'
            "</select>"
        )
    back = button("cancel", "← Back to the shop") if session["cancel_url"] else ""
    return document(
        verb,
        f"""<section style="padding-block:.75rem"><div class="acts" style="margin:0">
        <form method="post">{back} {button("expire", "Let it expire")}</form>
        </div></section></main><main class="two" style="margin-top:0">
        <section><div class="dim">Focus</div><div class="total">{total}</div>{rows}
        <div class="row"><strong>Total due today</strong><strong>{total}</strong></div>
        </section><section><h1>Payment</h1>{wrong}<form method="post">
        <label for="email">Email</label>
        <input id="email" name="email" type="email" autocomplete="email"
          value="{escape(email or "buyer@example.com")}" required>
        {kinds}
        <label for="card">Card number</label>
        <input id="card" name="card" inputmode="numeric" value="4242 4242 4242 4242">
        <label for="name">Name on card</label>
        <input id="name" name="name" value="Test Person">
        {button("pay", verb, main=True)}</form></section></main>
        <main style="margin-top:0"><section><h2>Test cards</h2><table>{cards}</table>
        </section>""",
    )


def _quantity(line: Obj) -> str:
    recurring = line["price"]["recurring"]
    each = money(line["price"]["unit_amount"], line["currency"])
    every = f" / {recurring['interval']}" if recurring else " each"
    return f"{line['quantity']} × {each}{every}"


def bank_question(session: Obj) -> str:
    total = money(session["amount_total"], session["currency"])
    return document(
        "Your bank",
        f"""<section><h1>Your bank asks: is this you?</h1>
        <p>A payment of <strong>{total}</strong> to Focus. (3D Secure, emulated.)</p>
        <form method="post" class="acts">
        {button("authenticate", "Complete authentication")}
        {button("fail authentication", "Fail authentication")}
        </form></section>""",
    )


def portal(state: State, session: Obj) -> str:
    customer = state.objects[session["customer"]]
    parts = [
        _subscription(state, row)
        for row in state.each("subscription", customer=customer["id"])
        if row["status"] != "canceled"
    ]
    invoices = "".join(
        f"<tr><td>{day(row['created'])}</td>"
        f'<td><a href="/i/{row["id"]}">{row["number"] or "draft"}</a></td>'
        f"<td>{money(row['total'], row['currency'])}</td><td>{row['status']}</td></tr>"
        for row in state.each("invoice", customer=customer["id"])
    )
    back = session["return_url"]
    link = f'<p><a href="{escape(back)}">← Return to the shop</a></p>' if back else ""
    return document(
        "Billing",
        f"""<section>{link}<h1>Billing of {escape(customer["email"] or customer["id"])}
        </h1>{_card(state, customer)}</section>
        {"".join(parts) or "<section><p>No subscription.</p></section>"}
        <section><h2>Invoices</h2><table><tr><th>Date</th><th>Number</th><th>Total</th>
        <th>Status</th></tr>{invoices}</table></section>""",
    )


def _card(state: State, customer: Obj) -> str:
    rows = [
        f"{row['card']['brand'].title()} ending in {row['card']['last4']}"
        for row in state.each("payment_method", customer=customer["id"])
        if row["type"] == "card"
    ]
    return f"""<p class="dim">{escape(", ".join(rows)) or "No card."}</p>
    <form method="post"><label for="card">New card</label>
    <input id="card" name="card" value="4242 4242 4242 4242">
    <div class="acts">{button("card", "Use this card")}</div></form>"""


def _subscription(state: State, subscription: Obj) -> str:
    item = subscription["items"]["data"][0]
    price = item["price"]
    name = state.objects[price["product"]]["name"]
    until = day(item["current_period_end"])
    ends = subscription["cancel_at_period_end"]
    when = f"ends on {until}" if ends else f"renews on {until}"
    each = money(price["unit_amount"], price["currency"])
    options = "".join(
        f'<option value="{row["id"]}">'
        f"{escape(state.objects[row['product']]['name'])}, "
        f"{money(row['unit_amount'], row['currency'])} / {row['recurring']['interval']}"
        "</option>"
        for row in state.each("price", active=True, type="recurring")
        if row["id"] != price["id"]
    )
    change = ""
    if options:
        change = f"""<label for="to-{item["id"]}">Change to</label>
        <select id="to-{item["id"]}" name="price">{options}</select>
        <div class="acts">{button("change", "Change plan")}</div>"""
    act = button("resume", "Don’t cancel") if ends else button("cancel", "Cancel plan")
    return f"""<section><h2>{escape(name)}</h2>
    <p>{each} / {price["recurring"]["interval"]}, {subscription["status"]}, {when}.
    </p><form method="post">
    <input type="hidden" name="subscription" value="{subscription["id"]}">
    {change}<div class="acts">{act}</div></form></section>"""


def confirmation(state: State, session: Obj) -> str:
    """Return the page that confirms a change from one Price to another."""
    confirmation = session["flow"]["subscription_update_confirm"]
    item = state.objects[confirmation["subscription"]]["items"]["data"][0]
    before, after = item["price"], state.objects[confirmation["items"][0]["price"]]
    rows = "".join(
        f'<div class="row"><span>{word}: {escape(_name(state, price))}</span>'
        f"<span>{money(price['unit_amount'], price['currency'])}"
        f" / {price['recurring']['interval']}</span></div>"
        for word, price in (("Now", before), ("New", after))
    )
    return document(
        "Confirm your updates",
        f"""<section><h1>Confirm your updates</h1>{rows}
        <p class="dim">The rest of this period is charged or credited in proportion,
        now.</p><form method="post">{button("confirm", "Confirm", main=True)}
        <div class="acts">{button("back", "← Go back")}</div></form></section>""",
    )


def _name(state: State, price: Obj) -> str:
    return str(state.objects[price["product"]]["name"])


def invoice(state: State, found: Obj, lines: list[Obj]) -> str:
    rows = "".join(
        f'<div class="row"><span>{escape(line["description"])}</span>'
        f"<span>{money(line['amount'], line['currency'])}</span></div>"
        for line in lines
    )
    total = money(found["total"], found["currency"])
    return document(
        f"Invoice {found['number']}",
        f"""<section><h1>Invoice {escape(found["number"] or "")}</h1>
        <p class="dim">{found["status"]}, {day(found["created"])},
        {escape(found["customer_email"] or "")}</p>{rows}
        <div class="row"><strong>Total</strong><strong>{total}</strong></div>
        </section>""",
    )

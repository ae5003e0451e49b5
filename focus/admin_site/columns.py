"""Columns that many staff pages share: credits, money, times, labels and links.

Each function returns an attribute for a `ModelAdmin` class. The class names it in
`list_display` or `fields`, like a method of its own. A `path` is a dotted path from the
row (`amount_micro`, `wallet.account`).
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from focus.admin_site import shown

Column = Callable[[Any, Any], Any]


def text(path: str, title: str, spell: Callable[[Any], Any] = str) -> Column:
    """Return a column of the value at `path`, spelled by `spell`."""
    return _column(title, lambda row: spell(attrgetter(path)(row)))


def amount(path: str, title: str) -> Column:
    """Return a column of credits; the value at `path` is in micro-credits or None."""
    return text(path, title, shown.amount)


def time(path: str, title: str, *, sort_by: str | None = None) -> Column:
    """Return a column of moments in UTC; None is a dash.

    `sort_by` names the database column by which the list may sort.
    """
    return _column(
        f"{title} (UTC)", lambda row: shown.moment(attrgetter(path)(row)), sort_by
    )


def label(path: str, title: str, colours: Mapping[str, str]) -> Column:
    """Return a column of coloured labels; `colours` maps a value to unfold's colour."""

    def cell(page: Any, row: Any) -> str:
        return str(attrgetter(path)(row))

    labelled: Column = display(description=title, label=dict(colours))(cell)
    return labelled


def code(path: str, title: str, spell: Callable[[Any], str]) -> Column:
    """Return a column of the value at `path`, spelled by `spell`, in a fixed width."""

    def cell(row: Any) -> Any:
        value = spell(attrgetter(path)(row))
        return format_html('<code class="hash">{}</code>', value)

    return _column(title, cell)


def itself(title: str) -> Column:
    """Return a column of the row's own text, such as the hint of a key."""
    return _column(title, str)


def account(title: str = "account", path: str = "account") -> Column:
    """Return a column of accounts that link to their wallets."""

    def cell(row: Any) -> Any:
        key = attrgetter(f"{path}_id")(row)
        return link_to("wallet_wallet_of", key, attrgetter(path)(row))

    return _column(title, cell)


def job(path: str, title: str) -> Column:
    """Return a column of short job ids that link to the jobs; None is a dash."""
    return text(path, title, job_link)


def link_to(route: str, key: Any, says: Any) -> Any:
    """Return a link to the admin page `route` of the row with the id `key`."""
    return format_html(
        '<a class="to" href="{}">{}</a>', reverse(f"admin:{route}", args=[key]), says
    )


def search_link(route: str, says: str, **query: Any) -> Any:
    """Return a link to the admin list `route`, filtered by one query parameter."""
    [(name, value)] = query.items()
    return format_html(
        '<a class="to" href="{}?{}={}">{}</a>',
        reverse(f"admin:{route}"),
        name,
        value,
        says,
    )


def job_link(job_id: Any) -> Any:
    """Return a link that shows the first 8 characters of `job_id`; None is a dash."""
    if job_id is None:
        return "–"
    return format_html(
        '<a class="to id" href="{}" title="{}">{}</a>',
        reverse("admin:jobs_job_change", args=[job_id]),
        job_id,
        f"{job_id!s:.8}…",
    )


def _column(
    title: str, spell: Callable[[Any], Any], sort_by: str | None = None
) -> Column:
    @admin.display(description=title, ordering=sort_by)
    def cell(page: Any, row: Any) -> Any:
        return spell(row)

    return cell

"""The spelling of credits and times on staff pages."""

from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString

from focus.money import from_micro


def credits_of(micro: int) -> str:
    """Return the exact number of credits with thousands separators: 1,234.5"""
    return f"{from_micro(micro):,}"


def signed(micro: int) -> str:
    """Return the number of credits with a sign: +1,234.5"""
    return f"{from_micro(micro):+,}"


def amount(micro: int | None) -> SafeString:
    """Return a table cell of credits; zero is pale and None a dash."""
    kind = "minus" if micro and micro < 0 else "plain" if micro else "none"
    text = "–" if micro is None else credits_of(micro)
    return format_html('<span class="credits {}">{}</span>', kind, text)


def moment(at: datetime | None) -> str:
    """Return the time as `2026-01-31 12:00:00`, or a dash for None."""
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else "–"

"""How the staff's pages write credits and moments."""

from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString

from focus.money import from_micro


def credits_of(micro: int) -> str:
    """The exact number, grouped for the eye: 1,234.5"""
    return f"{from_micro(micro):,}"


def signed(micro: int) -> str:
    return f"{from_micro(micro):+,}"


def amount(micro: int | None) -> SafeString:
    """A cell of credits: figures of one width, and gone pale where there are none."""
    kind = "minus" if micro and micro < 0 else "plain" if micro else "none"
    told = "–" if micro is None else credits_of(micro)
    return format_html('<span class="credits {}">{}</span>', kind, told)


def moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else "–"

"""A wallet's balance over time as SVG shapes.

The line has steps, because a balance changes at once and not gradually.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from focus.admin_site import shown
from focus.money import MICRO
from wallet.statements import Point

WIDTH, HEIGHT = 880, 240
LEFT, RIGHT, TOP, BOTTOM = 76, 12, 14, 26


@dataclass(frozen=True)
class Mark:
    """A label on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Stretch:
    """A strip of the chart with a tooltip: the balance at that time."""

    x: float
    width: float
    y: float
    says: str


@dataclass(frozen=True)
class Chart:
    """The shapes that the template draws, in a box of WIDTH x HEIGHT units."""

    line: str
    area: str
    reserved: str
    rows: list[Mark]
    columns: list[Mark]
    stretches: list[Stretch]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    floor: int = HEIGHT - BOTTOM


def draw(points: Sequence[Point], *, until: datetime) -> Chart:
    """Draw steps through `points` (at least one); the last one lasts to `until`."""
    first = points[0].at
    span = max((until - first).total_seconds(), 1.0)
    levels = _levels(points)
    low, high = levels[0], levels[-1]

    def x(at: datetime) -> float:
        share = (at - first).total_seconds() / span
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(micro: int) -> float:
        share = (micro - low) / (high - low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    corners = [(x(point.at), y(point.credits_micro)) for point in points]
    reserved = [(x(point.at), y(point.reserved_micro)) for point in points]
    end = x(until)
    line = _stairs(corners, end)
    ends = [*(at for at, _ in corners[1:]), end]
    return Chart(
        line=line,
        area=f"{line} V{y(0)} H{corners[0][0]} Z",
        reserved=_stairs(reserved, end)
        if any(p.reserved_micro for p in points)
        else "",
        rows=[Mark(y(level), shown.credits_of(level)) for level in levels],
        columns=[Mark(x(at), label) for at, label in _dates(first, until)],
        stretches=[
            Stretch(at, max(0.0, round(after - at, 1)), height, _point_text(point))
            for point, (at, height), after in zip(points, corners, ends, strict=True)
        ],
        summary=(
            f"The balance went from {shown.credits_of(points[0].credits_micro)} to"
            f" {shown.credits_of(points[-1].credits_micro)} credits between"
            f" {first:%Y-%m-%d} and {until:%Y-%m-%d}."
        ),
    )


def _stairs(corners: list[tuple[float, float]], end: float) -> str:
    (start, height), *rest = corners
    steps = "".join(f" H{at} V{level}" for at, level in rest)
    return f"M{start} {height}{steps} H{end}"


def _levels(points: Sequence[Point]) -> list[int]:
    """Return round numbers from below the lowest point to above the highest, with 0."""
    values = [0]
    for point in points:
        values += [point.credits_micro, point.reserved_micro]
    spread = max(values) - min(values) or MICRO
    ten = 10 ** (len(str(spread)) - 1)
    round_steps = (ten // 5, ten // 2, ten, 2 * ten, 5 * ten)
    step = next(step for step in round_steps if spread <= 5 * step)
    low = min(values) // step
    high = -(-max(values) // step)
    return [number * step for number in range(low, max(high, low + 1) + 1)]


def _dates(
    first: datetime, until: datetime, parts: int = 5
) -> list[tuple[datetime, str]]:
    span = until - first
    form = "%b %Y"
    if span < timedelta(days=2):
        form = "%-d %b %H:%M"
    elif span < timedelta(days=400):
        form = "%-d %b"
    moments = [first + span * (2 * part + 1) / (2 * parts) for part in range(parts)]
    return [(at, at.strftime(form)) for at in moments]


def _point_text(point: Point) -> str:
    text = f"{point.at:%Y-%m-%d %H:%M} UTC: {shown.credits_of(point.credits_micro)}"
    if point.reserved_micro:
        text += f", {shown.credits_of(point.reserved_micro)} reserved"
    return text

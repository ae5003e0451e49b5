"""docs/examples/settle.md runs, and prints what it says it prints."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from wallet import invariants

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "settle.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES = re.compile(
    r"(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00)"
)


def freeze(text: str, known: dict[str, str]) -> str:
    """Replace each id and time by its kind and the number of its first appearance.

    So an id that must be the same in two places, or must differ, still is compared.
    """

    def name(match: re.Match[str]) -> str:
        return known.setdefault(match[0], f"<{match.lastgroup} {len(known) + 1}>")

    return VARIES.sub(name, text)


@pytest.mark.django_db
def test_the_example_of_settle_prints_its_stored_output() -> None:
    blocks = BLOCK.findall(EXAMPLE.read_text())
    assert [kind for kind, _ in blocks] == ["python", "text"] * 5
    names: dict[str, object] = {}
    stored: dict[str, str] = {}
    seen: dict[str, str] = {}
    for (_, code), (_, output) in zip(blocks[::2], blocks[1::2], strict=True):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, EXAMPLE.name, "exec"), names)
        assert freeze(printed.getvalue(), seen) == freeze(output, stored)
    assert invariants.violations() == []

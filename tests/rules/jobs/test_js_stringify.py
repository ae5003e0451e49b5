"""JSON bytes that do not change when a receiver parses and writes them again."""

import json
import random
import shutil
import struct
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.webhooks.js_stringify import js_stringify

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
ROUND_TRIP = """
const lines = require('fs').readFileSync(0, 'utf8').split('\\n').slice(0, -1);
lines.forEach((line, n) => {
  if (JSON.stringify(JSON.parse(line)) !== line) { console.log(n, line); }
});
console.log('read', lines.length);
"""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": {"d": 2, "c": 3}}, '{"a":{"c":3,"d":2},"b":1}'),
        ({"10": 1, "9": 2, "a": 3, "01": 4}, '{"9":2,"10":1,"01":4,"a":3}'),
        ({"4294967295": 1, "4294967294": 2, "-1": 3},
         '{"4294967294":2,"-1":3,"4294967295":1}'),
        ([55.0, Decimal("55.0"), Decimal("0.01"), -0.0, 0], "[55,55,0.01,0,0]"),
        ([1e21, 1e20, 123456789012345678901, 2**53 + 1],
         "[1e+21,100000000000000000000,123456789012345680000,9007199254740992]"),
        ([1e-6, 1e-7, 1.5e-7, 5e-324, 1.7976931348623157e308],
         "[0.000001,1e-7,1.5e-7,5e-324,1.7976931348623157e+308]"),
        ([float("nan"), float("inf"), Decimal("NaN"), 10**400, Decimal("1e400")],
         "[null,null,null,null,null]"),
        ([True, False, None], "[true,false,null]"),
        ("\"\\/\b\f\n\r\t", '"\\"\\\\/\\b\\f\\n\\r\\t"'),
        ("\x00\x1f\x7f\u2028é😀", '"\\u0000\\u001f\x7f\u2028é😀"'),
        ("\ud83d\ude00 \ude00\ud83d", '"😀 \\ude00\\ud83d"'),
        ({1: (2,), "x": {3}}, '{"1":[2],"x":"{3}"}'),
    ],
)  # fmt: skip
def test_values_become_the_text_that_javascript_writes(value: Any, text: str) -> None:
    assert js_stringify(value).decode() == text


TEXT = st.text(st.characters(codec="utf-8"))
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False).filter(
        lambda x: not 0 < abs(x) < 1e-4
    )
    | TEXT,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(TEXT.filter(lambda key: not key.isdigit()), inner)
    ),
)


@given(PLAIN)
def test_sorted_python_json_has_the_same_bytes(value: Any) -> None:
    told = js_stringify(value)
    again = json.dumps(
        json.loads(told), separators=(",", ":"), sort_keys=True, ensure_ascii=False
    )
    assert again.encode() == told


def _number(dice: random.Random) -> Any:
    (any_double,) = struct.unpack("d", dice.randbytes(8))
    return dice.choice(
        [
            any_double,
            dice.uniform(-1, 1) * 10.0 ** dice.randint(-12, 25),
            float(f"{dice.randint(1, 99)}e{dice.randint(-10, 24)}"),
            dice.randint(-(2**70), 2**70),
            Decimal(dice.randint(0, 10**12)).scaleb(-6),
            dice.randint(-9, 9),
        ]
    )


def _text(dice: random.Random) -> str:
    letters = [
        chr(dice.choice([dice.randint(0, 0x7F), dice.randint(0, 0x10FFFF)]))
        for _ in range(dice.randint(0, 6))
    ]
    return "".join(letters)


def _key(dice: random.Random) -> str:
    return dice.choice(
        [_text(dice), str(dice.randint(0, 2**33)), str(dice.randint(0, 20)),
         f"0{dice.randint(0, 9)}", "__proto__", "constructor"]
    )  # fmt: skip


def _value(dice: random.Random, levels: int = 4) -> Any:
    kind = dice.randint(0, 6 if levels else 4)
    if kind < 2:
        return _number(dice)
    if kind < 4:
        return _text(dice)
    if kind == 4:
        return dice.choice([None, True, False])
    size = range(dice.randint(0, 5))
    if kind == 5:
        return [_value(dice, levels - 1) for _ in size]
    return {_key(dice): _value(dice, levels - 1) for _ in size}


def _through_node(values: list[Any], tmp_path: Path) -> str:
    script = tmp_path / "round_trip.js"
    script.write_text(ROUND_TRIP)
    lines = b"".join(js_stringify(value) + b"\n" for value in values)
    run = subprocess.run(
        [str(NODE), script], input=lines, capture_output=True, check=True
    )
    return run.stdout.decode().strip()


@needs_node
def test_javascript_writes_the_same_bytes(tmp_path: Path) -> None:
    dice = random.Random(7)
    values = [{"data": _value(dice)} for _ in range(1000)]
    assert _through_node(values, tmp_path) == "read 1000"


@needs_node
@pytest.mark.slow
def test_javascript_writes_the_same_bytes_of_very_many(tmp_path: Path) -> None:
    dice = random.Random()
    values = [{"data": _value(dice)} for _ in range(25_000)]
    assert _through_node(values, tmp_path) == "read 25000"

"""Where the emulator refuses to run, and what a restart leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.launcher import stripe as chosen
from tests.devtools.test_stripe_walks import pack
from tests.stripe import emulator


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"FOCUS_TESTING": "", "FOCUS_VAR": "/nonexistent"}, "developer's settings"),
        ({"STRIPE_SECRET_KEY": "sk_live_1"}, "a live key"),
        ({"STRIPE_SECRET_KEY": "rk_live_1"}, "a live key"),
    ],
)
def test_it_refuses_to_run_beside_real_money(
    environment: dict[str, str], said: str
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "devtools.stripe_emulator", "--port", "1"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert said in run.stderr


def test_a_restart_keeps_what_there_was(tmp_path: Path) -> None:
    kept = ("--file", str(tmp_path / "stripe.json"))
    with emulator(tmp_path, *kept) as before:
        session = before.client.v1.checkout.sessions.create(
            pack(), {"idempotency_key": "k"}
        )
    (tmp_path / "stripe.log").unlink()
    with emulator(tmp_path, *kept) as after:  # the first one was killed
        assert after.pay(session.id)["error"] is None
        sessions = after.client.v1.checkout.sessions
        assert sessions.retrieve(session.id).payment_status == "paid"
        assert sessions.create(pack(), {"idempotency_key": "k"}).id == session.id
    assert (tmp_path / "stripe.json").stat().st_mode & 0o077 == 0


def test_a_key_of_ones_own_keeps_the_emulator_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("STRIPE_SECRET_KEY", "STRIPE_SECRET_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    ours = chosen.settled({"SECRET_KEY": "x"}, 8000)
    assert ours["STRIPE_API_BASE"] == "http://localhost:12000"
    assert chosen.settled(ours, 9000)["STRIPE_API_BASE"] == "http://localhost:13000"
    by_hand = {**ours, "STRIPE_SECRET_KEY": "sk_test_real"}
    assert chosen.settled(by_hand, 8000) == {
        "SECRET_KEY": "x",
        "STRIPE_SECRET_KEY": "sk_test_real",
    }
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_real")
    assert chosen.settled(ours, 8000) == {"SECRET_KEY": "x"}
    assert chosen.environment(ours) == {}

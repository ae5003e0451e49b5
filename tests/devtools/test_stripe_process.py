"""The emulator's process: where it refuses to run, and its state after a restart."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.launcher import stripe as chosen
from devtools.launcher.say import Trouble
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
def test_it_refuses_to_run_in_production_or_with_a_live_key(
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


def test_a_restart_keeps_objects_and_idempotency_keys(tmp_path: Path) -> None:
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


def test_a_stripe_key_of_the_developer_replaces_the_emulator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("STRIPE_SECRET_KEY", "STRIPE_SECRET_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    ours = chosen.with_emulator({"SECRET_KEY": "x"}, 8000)
    assert ours["STRIPE_API_BASE"] == "http://localhost:12000"
    assert (
        chosen.with_emulator(ours, 9000)["STRIPE_API_BASE"] == "http://localhost:13000"
    )
    by_hand = {**ours, "STRIPE_SECRET_KEY": "sk_test_real"}
    assert chosen.with_emulator(by_hand, 8000) == {
        "SECRET_KEY": "x",
        "STRIPE_SECRET_KEY": "sk_test_real",
    }
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_real")
    assert chosen.with_emulator(ours, 8000) == {"SECRET_KEY": "x"}
    assert chosen.environment(ours) == {}


class TestSecretsOfTheDevelopersOwn:
    """STRIPE_WEBHOOK_SECRET without a key is used. A key without it is refused."""

    @pytest.fixture(autouse=True)
    def _bare_shell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(f"{name}_FILE", raising=False)

    def secrets(self, known: dict[str, str]) -> str:
        return chosen.environment(chosen.with_emulator(known, 8000))[
            "STRIPE_WEBHOOK_SECRET"
        ]

    def test_none(self) -> None:
        assert self.secrets({}) == "whsec_emulator"

    def test_in_the_shell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", "whsec_mine")
        assert self.secrets({}) == "whsec_mine,whsec_emulator"

    def test_in_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("whsec_mine\n")
        monkeypatch.setenv("STRIPE_WEBHOOK_SECRET_FILE", str(tmp_path / "secret"))
        assert self.secrets({}) == "whsec_mine,whsec_emulator"
        variables = chosen.environment(chosen.with_emulator({}, 8000))
        assert variables["STRIPE_WEBHOOK_SECRET_FILE"] == ""

    def test_in_var_env_it_stays_there(self) -> None:
        once = chosen.with_emulator({"STRIPE_WEBHOOK_SECRET": "whsec_mine"}, 8000)
        again = chosen.with_emulator(once, 8000)
        assert again["STRIPE_WEBHOOK_SECRET"] == "whsec_mine,whsec_emulator"
        real = chosen.with_emulator({**again, "STRIPE_SECRET_KEY": "sk_test_1"}, 8000)
        assert real["STRIPE_WEBHOOK_SECRET"] == "whsec_mine"

    def test_a_key_without_a_webhook_secret_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chosen.check({})
        with pytest.raises(Trouble, match="without STRIPE_WEBHOOK_SECRET"):
            chosen.check({"STRIPE_SECRET_KEY": "sk_test_1"})
        monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_1")
        # Stripe does not sign with the emulator's secret.
        with pytest.raises(Trouble, match="without STRIPE_WEBHOOK_SECRET"):
            chosen.check({"STRIPE_WEBHOOK_SECRET": "whsec_emulator"})
        monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", "whsec_mine")
        chosen.check({})

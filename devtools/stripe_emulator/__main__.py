"""python -m devtools.stripe_emulator: run the emulator, in local mode only."""

import argparse
import os
import signal
import sys
from pathlib import Path

from .api import Api
from .deliveries import Deliverer
from .server import Server
from .spec.document import version
from .state import State

ROOT = Path(__file__).resolve().parents[2]


def reason_not_to_run(environment: dict[str, str]) -> str | None:
    """Return why the emulator must not run: no local mode, or a live key; else None."""
    var = Path(environment.get("FOCUS_VAR") or ROOT / "var")
    if not (var / "env").exists():
        return "these are not a developer's settings (./dev run makes var/env)"
    key = environment.get("STRIPE_SECRET_KEY", "")
    if key.startswith(("sk_live_", "rk_live_")):
        return "STRIPE_SECRET_KEY is a live key"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="stripe_emulator")
    parser.add_argument("--port", type=int, default=12111)
    parser.add_argument("--file", type=Path, help="the file that keeps its objects")
    parser.add_argument("--webhook-url", default="")
    parser.add_argument(
        "--check", action="store_true", help="check responses by Stripe's document"
    )
    options = parser.parse_args()
    if reason := reason_not_to_run(dict(os.environ)):
        sys.stderr.write(f"stripe_emulator: will not start: {reason}.\n")
        return 2
    secrets = os.environ.get("STRIPE_WEBHOOK_SECRET", "whsec_emulator").split(",")
    base_url = f"http://localhost:{options.port}"
    state = State(base_url=base_url, file=options.file)
    deliverer = Deliverer(state, options.webhook_url, secrets)
    server = Server(options.port, state, Api(state, check=options.check), deliverer)
    deliverer.start()

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    sys.stdout.write(f"Stripe emulator (API {version()}) on {base_url}/_emulator/\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        deliverer.stop()
        with state.lock:
            state.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())

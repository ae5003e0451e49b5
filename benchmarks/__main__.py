"""`./dev bench [--seconds N] [--clients N] [--wallets N]`: ratios, in one run.

`./dev bench webhooks` measures webhooks instead, and `./dev bench media` hosted work.
"""

import argparse
import os
import sys

import django

from benchmarks import serving


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    if sys.argv[1:2] == ["webhooks"]:
        from benchmarks import webhooks

        webhooks.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["media"]:
        from benchmarks import media

        media.main(sys.argv[2:])
        return
    options = _options()
    django.setup()
    from benchmarks import load

    people = _prepare(options.wallets)
    hot = people[:1]
    url, app_id = os.environ["DATABASE_URL"], _app_id()
    table = Table(options)

    def measure(name: str, worker, *fixed) -> None:
        table.add(
            name,
            *[
                load.run(
                    worker,
                    [(*fixed, crowd)] * options.clients,
                    seconds=options.seconds,
                )
                for crowd in _crowds(worker is load.sql_pairs, people, hot)
            ],
        )

    measure("(a) the SQL functions straight", load.sql_pairs, url, app_id)
    for server in serving.SERVERS:
        with serving.web(server, threads=options.threads) as port:
            measure(f"Focus on {server}", load.http_pairs, port, "/api")
            measure(
                f"(b) select_for_update, {server}", load.http_pairs, port, "/baseline"
            )
            for name, path in FLOORS.items():
                twice = [(port, path, people[0][1])] * options.clients
                floor = load.run(load.http_twice, twice, seconds=options.seconds / 2)
                table.add(f"{name}, {server}", floor, floor)
    table.show()
    _prove()


FLOORS = {
    "floor: a view that does nothing": "/baseline/bare",
    "floor: and DRF, middleware, JSON": "/baseline/nothing",
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="per measurement")
    parser.add_argument("--clients", type=int, default=8, help="connections at once")
    parser.add_argument("--wallets", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=4, help="per web worker")
    return parser.parse_args()


def _prepare(wallets: int) -> list[tuple[str, str]]:
    """Create users with credits in both kinds of wallet; returns ids and tokens."""
    from django.core.management import call_command

    from accounts.credentials import scopes, tokens
    from accounts.models import App, User
    from benchmarks.models import BaselineWallet
    from focus.money import MICRO
    from wallet import ledger

    call_command("migrate", verbosity=0)
    # The baseline's tables have no migrations, and refer to tables that have.
    call_command("migrate", run_syncdb=True, verbosity=0)
    App.objects.create(slug="video", name="Video")
    made = []
    for number in range(wallets):
        user = User.objects.create(email=f"bench{number}@example.com")
        ledger.grant(
            account_id=user.pk,
            amount_micro=10**9 * MICRO,
            source="promo",
            actor="bench",
            key=f"bench:{number}",
        )
        BaselineWallet.objects.create(account=user, balance_micro=10**9 * MICRO)
        token = tokens.issue(user=user, name="bench", scopes=scopes.DEFAULT)
        made.append((str(user.pk), token.secret))
        if sys.stderr.isatty():
            print(f"\rwallets {number + 1}/{wallets}", end="", file=sys.stderr)
    return made


def _app_id() -> str:
    from accounts.models import App

    return str(App.objects.get(slug="video").pk)


def _crowds(straight: bool, *crowds: list[tuple[str, str]]) -> list[list[str]]:
    """Return the accounts' ids for SQL, or their tokens for HTTP."""
    return [[person[0 if straight else 1] for person in crowd] for crowd in crowds]


class Table:
    """Collects results and prints them beside (a) and (b)."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rows: dict[str, tuple] = {}

    def add(self, name: str, *results) -> None:
        self.rows[name] = results
        rates = " ".join(f"{result.rate:7.0f}/s" for result in results)
        print(f"{name:36} {rates}", file=sys.stderr, flush=True)

    def show(self) -> None:
        options = self.options
        print(
            f"\nreserve 5, settle 3, as pairs: {options.clients} clients,"
            f" {options.seconds:g} s each, {os.cpu_count()} cores shared with the"
            " clients and PostgreSQL, every commit on disk\n"
        )
        for place, title in enumerate((f"{options.wallets} wallets", "one hot wallet")):
            limit = self.rows["(a) the SQL functions straight"][place].rate
            print(f"{title:36} pairs/s   p50 ms   p99 ms   of (a)   of (b)")
            for name, results in self.rows.items():
                result = results[place]
                baseline = self.rows.get(f"(b) select_for_update, {name.split()[-1]}")
                of_b = f"{result.rate / baseline[place].rate:8.2f}" if baseline else ""
                print(
                    f"{name:36} {result.rate:7.0f} {result.p50:8.2f} {result.p99:8.2f}"
                    f" {result.rate / limit:8.2f} {of_b}"
                )
            print()


def _prove() -> None:
    from wallet import invariants
    from wallet.models import Entry

    broken = invariants.violations()
    print(f"{Entry.objects.count()} entries booked; invariants broken: {len(broken)}")
    if broken:
        raise SystemExit("\n".join(map(str, broken)))


if __name__ == "__main__":
    main()

"""``kalshi-bus probe``: asks for consent, tests the exchange, and reports. docs/probe.md."""

import argparse
import os
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

from bus.clock import Rng, SystemClock
from bus.process import logs
from bus.process.lifecycle import Stop, quietly, refuse
from bus.process.locks import hold_role, private_dir
from bus.process.programs import name_of
from bus.process.settings import Settings, money_e6
from markets.errors import SettingsError, StartupError

from .run import Wanted, probe


def dollars(text: str) -> int:
    """Read an amount of the command line as micro-dollars."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= 1_000_000_000 or amount != round(amount, 6):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected dollars, such as 20 or 2.50")
    return money_e6(amount)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    root = argparse.ArgumentParser(
        prog=name_of("publisher.orders.probe"),
        description="Tries with small orders what the exchange does where nobody says it, and what follows.",
    )
    root.add_argument("--only", default="", metavar="NAME,...", help="ask these questions only")
    root.add_argument("--market", metavar="TICKER", help="ask in this market")
    root.add_argument(
        "--most",
        type=dollars,
        metavar="DOLLARS",
        help="most that all orders may cost together (20; sim: any)",
    )
    root.add_argument("--yes", action="store_true", help="do not ask first; on the simulated exchange alone")
    return root


def wanted(arguments: list[str] | None = None) -> Wanted:
    """Read the command line; exits with 2 and one clear line if it is wrong."""
    found = parser().parse_args(arguments)
    only = tuple(name.strip() for name in found.only.split(",") if name.strip())
    return Wanted(only=only, market=found.market, most_e6=found.most, yes=found.yes)


def confirmed() -> bool:
    """Ask a person at a terminal."""
    if not sys.stdin.isatty():
        print("a person must type yes: this is no terminal", file=sys.stderr)
        return False
    try:
        return input("Type yes to begin: ").strip() == "yes"
    except EOFError:
        return False


def run(arguments: Wanted) -> int:
    """Run a probe by the settings; return the exit code."""
    stop = Stop()
    try:
        settings = Settings.load(os.environ, Path.cwd())
        logs.hide(settings.api_key_id)
        logs.configure("probe", "error", sys.stderr)
        private_dir(settings.run_dir)
        with hold_role(settings.run_dir, "probe"), stop.on_signals():
            return probe(
                settings,
                arguments,
                stop,
                SystemClock(),
                Rng(),
                confirmed,
                lambda line: print(line, flush=True),
            )
    except (SettingsError, StartupError) as error:
        return refuse("probe", error)
    finally:
        stop.close()


if __name__ == "__main__":
    sys.exit(quietly(lambda: run(wanted())))

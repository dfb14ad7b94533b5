"""Command line of the simulator."""

import argparse
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from simulator.front.limits import TIERS

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Settings of one simulator. `tier` "none" switches the rate limits off.

    While requests change it, the exchange is saved every `save_s`.
    """

    port: int
    markets: int
    seed: int
    catalogue: Path | None
    faults: Path | None
    tier: str
    keys: Path
    accounts: int = 1
    cash_e6: int = 10_000_000_000
    save_s: float = 120.0


def _within(kind: Callable[[str], T], text: str, bounds: tuple[T, T], expected: str) -> T:
    with suppress(ValueError):
        if bounds[0] <= (value := kind(text)) <= bounds[1]:
            return value
    raise argparse.ArgumentTypeError(f"{text}: expected {expected}")


def _port(text: str) -> int:
    return _within(int, text, (0, 65535), "a port from 0 to 65535 (0 picks a free one)")


def _count(text: str) -> int:
    return _within(int, text, (1, 1_000_000), "a number of markets from 1 to 1000000")


def _accounts(text: str) -> int:
    return _within(int, text, (1, 100), "a number of accounts from 1 to 100")


def _cash(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,2})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text}: expected dollars, such as 10000 or 250.50")
    whole, _, cents = text.partition(".")
    return int(whole) * 1_000_000 + int(cents.ljust(2, "0")) * 10_000


def _seconds(text: str) -> float:
    return _within(float, text, (0.1, 86_400.0), "seconds from 0.1 to 86400")


def parse(arguments: list[str] | None = None) -> SimulatorOptions:
    """Read the command line; exits with status 2 and one clear line if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="A simulated exchange that speaks Kalshi's Trade API v2 on 127.0.0.1.",
    )
    parser.add_argument("--port", type=_port, default=5003, help="port of REST and WebSocket (default 5003)")
    parser.add_argument(
        "--markets", type=_count, default=1500, help="markets to begin with, about (default 1500)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of everything random (default 1)")
    parser.add_argument(
        "--catalogue", type=Path, help="directory with a catalogue.json[.gz] of recorded payloads"
    )
    parser.add_argument("--faults", type=Path, help="file with faults to inject (see docs/simulator.md)")
    parser.add_argument(
        "--tier", choices=[*TIERS, "none"], default="basic", help="rate limits (default basic)"
    )
    parser.add_argument("--keys", type=Path, help="directory of the key pair (default: the run directory)")
    parser.add_argument(
        "--accounts", type=_accounts, default=1, help="accounts, each with a key pair of its own (default 1)"
    )
    parser.add_argument(
        "--cash", type=_cash, default=10_000_000_000, help="dollars of an account on every shard (10000)"
    )
    parser.add_argument(
        "--save-every", type=_seconds, default=120.0, help="seconds between saved states, while used (120)"
    )
    known = parser.parse_args(arguments)
    keys = known.keys or Path(os.environ.get("KALSHI_BUS_RUN_DIR") or ".run")
    return SimulatorOptions(
        known.port,
        known.markets,
        known.seed,
        known.catalogue,
        known.faults,
        known.tier,
        keys,
        known.accounts,
        known.cash,
        known.save_every,
    )

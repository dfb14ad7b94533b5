"""A simulator that is killed at random moments while orders flow, and what it must know afterwards."""

import contextlib
import threading
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import requests

from tests.simulator.served import Venue
from tests.support import Runner

ORDERS = "/portfolio/events/orders"
MARKETS = ("--markets", "100", "--tier", "none", "--save-every", "0.3")
CASH = Decimal(10_000)
FAULTS = (
    {"fault": "request_twice"},
    {"fault": "request_copied", "ms": 30},
    {"fault": "request_late", "ms": 20},
    {"fault": "error_with_effect"},
)
"""What is carried out late, twice or unsaid is written down like all else."""


class Account:
    """An account's client: sends orders until the exchange is gone, and remembers what it was answered."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.number = 0
        self.answered: dict[str, dict[str, Any]] = {}
        self.cancelled: set[str] = set()
        self.fills: dict[str, dict[str, Any]] = {}
        self.exchange_id = ""

    def trade(self, venue: Venue) -> None:
        """Place and cancel orders until the exchange does not answer any more."""
        listed = venue.get("/markets?limit=1000&status=open")["markets"]
        quoted = [m for m in listed if m["yes_bid_size_fp"] != "0.00" and m["yes_ask_size_fp"] != "0.00"]
        while True:
            market = self.random.choice(quoted)
            # One side in each market, so that what was paid is what its fills say.
            bid = sum(market["ticker"].encode()) % 2 == 0
            takes = self.random.random() < 0.6
            self.number += 1
            order = {
                "ticker": market["ticker"],
                "client_order_id": f"c{self.number}",
                "side": "bid" if bid else "ask",
                "count": f"{self.random.randint(1, 300) / 100:.2f}",
                "price": "0.9900" if bid == takes else "0.0100",
                "time_in_force": "immediate_or_cancel" if takes else "good_till_canceled",
                "self_trade_prevention_type": "taker_at_cross",
            }
            answer = venue.private("POST", ORDERS, order)
            if answer.status_code == 201:
                placed = answer.json()
                self.answered[placed["order_id"]] = {**order, **placed}
                if not takes and self.random.random() < 0.5:
                    path = f"{ORDERS}/{placed['order_id']}?market_ticker={market['ticker']}"
                    if venue.private("DELETE", path).status_code == 200:
                        self.cancelled.add(placed["order_id"])

    def look(self, venue: Venue) -> None:
        """Check what the exchange knows against all that was answered, at any time."""
        books = venue.account()
        assert self.exchange_id in ("", books["exchange_id"])
        self.exchange_id = books["exchange_id"]
        orders = walk(venue, "orders")
        by_id = {order["order_id"]: order for order in orders}
        own = [order["client_order_id"] for order in orders]
        assert len(by_id) == len(orders) == len(set(own))
        assert set(own) <= {f"c{number}" for number in range(1, self.number + 1)}
        for order_id, told in self.answered.items():
            order = by_id[order_id]
            assert order["client_order_id"] == told["client_order_id"]
            filled = Decimal(order["fill_count_fp"])
            assert filled >= Decimal(told["fill_count"])
            assert filled == Decimal(told["fill_count"]) or told["time_in_force"] == "good_till_canceled"
            assert order_id not in self.cancelled or order["status"] == "canceled"
        fills = {fill["trade_id"]: fill for fill in walk(venue, "fills")}
        assert {trade_id: fills[trade_id] for trade_id in self.fills} == self.fills
        self.fills = fills
        self._add_up(venue, list(fills.values()), by_id, books)

    def _add_up(
        self, venue: Venue, fills: list[dict[str, Any]], orders: dict[str, Any], books: dict[str, Any]
    ) -> None:
        """Check cash, positions and orders against the fills alone, and that no money came or went."""
        spent, held, filled = Decimal(0), dict[str, Decimal](), dict[str, Decimal]()
        for fill in fills:
            count = Decimal(fill["count_fp"])
            bid = fill["book_side"] == "bid"
            price = Decimal(fill["yes_price_dollars" if bid else "no_price_dollars"])
            spent += price * count + Decimal(fill["fee_cost"])
            held[fill["ticker"]] = held.get(fill["ticker"], Decimal(0)) + (count if bid else -count)
            filled[fill["order_id"]] = filled.get(fill["order_id"], Decimal(0)) + count
        for order_id, count in filled.items():
            assert Decimal(orders[order_id]["fill_count_fp"]) == count
        settled = {row["ticker"]: row for row in walk(venue, "settlements")}
        for row in settled.values():
            spent -= Decimal(row["revenue"]) / 100
        positions = {row["ticker"]: Decimal(row["position_fp"]) for row in walk(venue, "market_positions")}
        assert positions == {ticker: count for ticker, count in held.items() if ticker not in settled}
        balance = Decimal(venue.private("GET", "/portfolio/balance").json()["balance_dollars"])
        assert balance == 4 * CASH - spent
        owned = [holder["cash_e6"] for holder in (*books["accounts"], books["crowd"])]
        cash_e6 = sum(sum(purses.values()) for purses in owned)
        have_e6 = cash_e6 + books["fees_e6"] + books["pool_e6"] + books["settlement_roundings_e6"]
        assert have_e6 == books["deposits_e6"] + books["returned_e6"] + books["shortfall_e6"]


def walk(venue: Venue, name: str) -> list[dict[str, Any]]:
    """Return all rows of one of the account's lists."""
    path = "positions" if name == "market_positions" else name
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = venue.private("GET", f"/portfolio/{path}?limit=1000&cursor={cursor}").json()
        found += page[name]
        cursor = page["cursor"]
        if not cursor:
            return found


def kill_and_look(folder: Path, seed: int, kills: int) -> int:
    """Kill a simulator so many times; return how many orders it had answered."""
    random = Random(seed)
    runner = Runner(folder)
    account = Account(random)
    try:
        for _ in range(kills):
            venue = started(runner)
            account.look(venue)
            venue.faults(orders=[{**fault, "times": None, "probability": 0.2} for fault in FAULTS])
            killer = threading.Timer(random.uniform(0.02, 0.5), venue.process.popen.kill)
            killer.start()
            with contextlib.suppress(requests.ConnectionError):
                account.trade(venue)
            killer.join()
            venue.process.wait()
        account.look(started(runner))
    except BaseException:
        runner.close()  # and show what they logged
        raise
    for process in runner.processes:
        process.kill()
    return len(account.answered)


def started(runner: Runner) -> Venue:
    venue = Venue(runner, *MARKETS)
    requests.post(venue.root + "/sim/switches", json={"read_lag_ms": 0}, timeout=10)
    return venue

"""An exchange that lives for days, with a user who trades, and its books looked at after every step."""

import gc
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from random import Random
from typing import Final

from simulator.floor.exchange import Exchange
from simulator.floor.model import ACTIVE, Market
from simulator.matching.orders import ASK, BID, GTC, IOC, Amendment, NewOrder, Order, Refusal, Side
from simulator.universe.templates import Recorded

from .venue import START_MS

STEP_MS: Final = 15_000
HOUR_STEPS: Final = 240
CASH_E6: Final = 1_000_000_000_000
USER: Final = 1


@dataclass(slots=True)
class Fifth:
    """What was said and what came, of markets whose stated probability was in one fifth."""

    count: int = 0
    said: float = 0.0
    variance: float = 0.0
    came: float = 0.0

    def add(self, p: float, value: float) -> None:
        self.count += 1
        self.said += p
        self.variance += p * (1 - p)
        self.came += value

    @property
    def z(self) -> float:
        """How far what came is from what was said, in standard deviations."""
        return (self.came - self.said) / sqrt(self.variance) if self.variance else 0.0


@dataclass(slots=True)
class Seen:
    """What a life has shown.

    Attributes:
        did: how often the user did what, and how its positions ended.
        fifths: (kind of group, fifth of the stated probability) -> what came of it.
    """

    steps: int = 0
    did: Counter[str] = field(default_factory=Counter)
    fifths: dict[tuple[str, int], Fifth] = field(default_factory=dict)


class Life:
    """Leads an exchange and its user through time.

    Args:
        accounts: how many users trade, by turns.
    """

    def __init__(self, recorded: Recorded, markets: int, seed: int, accounts: int = 1) -> None:
        self.exchange = Exchange(recorded, markets, seed, START_MS, cash_e6=CASH_E6)
        self.exchange.switches.collateral_return = True
        for account in range(1, accounts + 1):
            self.exchange.open_account(account)
        self.seen = Seen()
        self._accounts = accounts
        self._rng = Random(f"{seed}:user")
        self._said: dict[int, tuple[Market, float]] = {}
        self._settled = 0
        gc.collect()
        gc.freeze()

    def step(self) -> None:
        """Live 15 seconds; the user does something; nothing may be lost of the cash of all.

        Raises:
            LedgerError: something was lost.
        """
        exchange, seen = self.exchange, self.seen
        exchange.advance(exchange.now_ms + STEP_MS)
        exchange.ledger.check()
        self._act(1 + seen.steps % self._accounts)
        exchange.ledger.check()
        self._listen()
        seen.steps += 1
        if seen.steps % HOUR_STEPS == 0:
            exchange.ledger.audit()
            self._tell()

    def _market(self) -> Market | None:
        """Return a market to trade: of a few, the one that closes first."""
        rng, groups = self._rng, self.exchange.listings.groups
        found = []
        for _ in range(6):
            event = rng.choice(rng.choice(groups).events)
            market = rng.choice(event.markets)
            if market.status == ACTIVE and market.bid_e2 and market.ask_e2:
                found.append(market)
        return min(found, key=lambda market: market.event.expected_ms, default=None)

    def _act(self, account: int) -> None:
        exchange, rng, did = self.exchange, self._rng, self.seen.did
        now_ms, matching = exchange.now_ms, exchange.matching
        resting = matching.resting(account)
        choice = rng.random()
        if resting and (choice < 0.3 or len(resting) > 60):
            order = rng.choice(resting)
            if choice < 0.1:
                did["decreased"] += 1
                matching.decrease(account, order.order_id, max(1, order.remaining_e2 // 2), None, now_ms)
            elif choice < 0.2:
                did["amended"] += self._amend(order)
            else:
                did["cancelled"] += not isinstance(matching.cancel(account, order.order_id, now_ms), Refusal)
            return
        market = self._market()
        if market is None:
            return
        side: Side = rng.choice([BID, ASK])
        facing, own = (market.ask_e4, market.bid_e4) if side == BID else (market.bid_e4, market.ask_e4)
        takes = rng.random() < 0.5
        outcome = matching.place(
            NewOrder(
                party=(account, 0),
                instrument=market,
                side=side,
                price_e4=facing if takes else own,
                count_e2=rng.randint(1, 40) * 100 if rng.random() < 0.8 else rng.randint(1, 4_000),
                time_in_force=IOC if takes else GTC,
                self_trade="maker",
                expires_ms=None if takes or rng.random() < 0.5 else now_ms + rng.randint(1, 7_200) * 1_000,
            ),
            now_ms,
        )
        if isinstance(outcome, Refusal):
            did[f"refused: {outcome.message}"] += 1
        else:
            did["placed"] += 1

    def _amend(self, order: Order) -> bool:
        exchange = self.exchange
        market = exchange.markets.get(order.ticker)
        if market is None:
            return False
        quote = (market.bid_e4, market.ask_e4)
        price_e4 = self._rng.choice(
            quote if all(0 < price < 10_000 for price in quote) else (order.price_e4,)
        )
        wish = Amendment(order.ticker, order.side, price_e4, order.filled_e2 + order.remaining_e2 + 100)
        return not isinstance(
            exchange.matching.amend(order.party[0], order.order_id, wish, exchange.now_ms), Refusal
        )

    def _listen(self) -> None:
        """Note what is said of a market, now and then one of each group."""
        group = self._rng.choice(self.exchange.listings.groups)
        key = id(group)
        if key in self._said or self._rng.random() < 0.5:
            return
        market = self._rng.choice(self._rng.choice(group.events).markets)
        if market.status == ACTIVE and not group.pulled:
            self._said[key] = (market, market.p)

    def _tell(self) -> None:
        """Count what has come of what was said, and how the user's positions ended."""
        for key, (market, p) in list(self._said.items()):
            if market.value_e4 is not None:
                del self._said[key]
                if not market.event.group.void:
                    fifth = (market.event.group.kind, min(int(5 * p), 4))
                    self.seen.fifths.setdefault(fifth, Fifth()).add(p, market.value_e4 / 10_000)

    def kinds(self) -> dict[str, int]:
        """Return how many there are of what there are many of."""
        exchange = self.exchange
        ledger, matching = exchange.ledger.holdings, exchange.matching
        records = [market.record for market in exchange.markets.values() if market.record is not None]
        return {
            "markets": len(exchange.markets),
            "series": len(exchange.series),
            "plans": len(exchange.agenda),
            "trades": len(exchange.trades),
            "minutes": sum(len(record.minutes) for record in records),
            "hours": sum(len(record.hours) + len(record.days) for record in records),
            "orders": sum(map(len, matching.orders.values())) + sum(map(len, matching.archived.values())),
            "positions": sum(len(holder.positions) for holder in ledger.holders.values()),
            "objects": len(gc.get_objects()),
        }


def resident_mb() -> int:
    """Return how much memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def calibration(fifths: dict[tuple[str, int], Fifth]) -> list[str]:
    """Return the rows of a table: by kind of group, all and by fifth, how many, said, came and z."""
    rows = [
        "| kind | groups | said | came | z | z by fifth of the stated probability |",
        "|---|---|---|---|---|---|",
    ]
    for kind in sorted({kind for kind, _ in fifths}):
        own = {fifth: found for (of, fifth), found in fifths.items() if of == kind}
        whole = Fifth(
            sum(f.count for f in own.values()),
            sum(f.said for f in own.values()),
            sum(f.variance for f in own.values()),
            sum(f.came for f in own.values()),
        )
        each = ", ".join(f"{own[i].z:+.1f}" if i in own else "-" for i in range(5))
        rows.append(
            f"| {kind} | {whole.count} | {whole.said:.1f} | {whole.came:.1f} | {whole.z:+.1f} | {each} |"
        )
    return rows


def live(life: Life, hours: float, each_hour: Callable[[], None] = lambda: None) -> int:
    """Live so many hours; return how many steps."""
    steps = int(hours * HOUR_STEPS)
    for number in range(steps):
        life.step()
        if number % HOUR_STEPS == HOUR_STEPS - 1:
            each_hour()
    return steps

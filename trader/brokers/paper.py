"""The paper broker: fills an order against the book as it is when the order would have arrived. Pure.

Immediate or cancel: every level up to the limit is taken, as far as it shows anything, and the rest
cancelled. Each level is a fill with its fee; an order has one fee accumulator, as at the exchange. Nobody
else sees our orders, so what they took stays on display: it is remembered as taken until the level goes
away or shrinks.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from markets.book import asks
from markets.fees import OrderFees, fill_fee
from markets.opportunities import MarketView, ScanLimits
from markets.opportunities.legs import Ladder, ladder, top
from markets.orders import Fill, Intent
from markets.records import Status
from trader.risk import FUTURE_MS

COMPLETE: Final = "complete"
NO_DEPTH: Final = "no_depth"

LevelKey = tuple[str, str, int]
"""(ticker, side, price_e4) of a level of asks."""


class Outcome(msgspec.Struct, frozen=True):
    """How an order ended."""

    number: int
    fills: tuple[Fill, ...]
    reason: str


class PaperBroker:
    """Holds orders on their way, and what past ones took.

    Args:
        latency_ms: from `place` to arrival.
        leg_age_ms: prices older than this fill nothing.
        taken: contracts taken of each level before, from the journal.
    """

    def __init__(
        self,
        latency_ms: int,
        leg_age_ms: int,
        scan: ScanLimits,
        taken: Iterable[tuple[LevelKey, int]] = (),
    ) -> None:
        self._latency_ms = latency_ms
        self._leg_age_ms = leg_age_ms
        self._scan = scan
        self._pending: list[tuple[int, Intent]] = []
        self._taken: dict[str, dict[tuple[str, int], int]] = {}
        for (ticker, side, price_e4), count_e2 in taken:
            self._take(ticker, side, price_e4, count_e2)

    @property
    def next_ms(self) -> int | None:
        """When the next order arrives, by the steady clock; None without one."""
        return self._pending[0][0] if self._pending else None

    @property
    def watched(self) -> list[str]:
        """Tickers of the markets that `observe` is to be told of when they change."""
        return list(self._taken)

    def place(self, intent: Intent, steady_ms: int) -> None:
        """Send an order on its way."""
        self._pending.append((steady_ms + self._latency_ms, intent))

    def observe(self, one: MarketView) -> None:
        """Look at a market that has changed: forget what was taken of levels that are gone or shrank."""
        levels = self._taken.get(one.market.ticker)
        if levels is None:
            return
        for (side, price_e4), taken_e2 in list(levels.items()):
            seen = ladder(one, side, self._scan)
            shown = dict(seen.levels)
            if price_e4 in shown:
                levels[side, price_e4] = min(taken_e2, shown[price_e4])
            elif self._shows(one, side, seen, price_e4):
                del levels[side, price_e4]
        if not levels:
            del self._taken[one.market.ticker]

    def arrive(
        self,
        now_ms: int,
        steady_ms: int,
        market: Callable[[str], MarketView | None],
        refuse: str | None,
        floor_ms: int = 0,
    ) -> list[Outcome]:
        """Carry out the orders that are due; return how each ended.

        Args:
            market: the live market of a ticker, None if it is not known.
            refuse: why nothing may be filled now, None if it may.
            floor_ms: prices seen before this fill nothing.
        """
        due = [intent for due_ms, intent in self._pending if due_ms <= steady_ms]
        if not due:
            return []
        self._pending = [entry for entry in self._pending if entry[0] > steady_ms]
        outcomes = []
        for intent in due:
            one = market(intent.ticker)
            reason = refuse or self._refusal(intent, one, now_ms, floor_ms)
            if reason is not None or one is None:
                outcomes.append(Outcome(intent.number, (), reason or "market_unknown"))
            else:
                outcomes.append(self._fill(intent, one, now_ms))
        return outcomes

    def _refusal(self, intent: Intent, one: MarketView | None, now_ms: int, floor_ms: int) -> str | None:
        if one is None:
            return "market_unknown"
        if now_ms > intent.valid_until_ms:
            return "expired"
        if one.quote.status is not Status.ACTIVE or not one.market.open_ms <= now_ms < one.market.close_ms:
            return "not_active"
        if one.suspect or top(one).crossed:
            return "suspect"
        seen_ms = ladder(one, intent.side, self._scan).as_of_ms
        if not floor_ms <= seen_ms or now_ms - seen_ms > self._leg_age_ms or seen_ms - now_ms > FUTURE_MS:
            return "stale"
        return None

    def _fill(self, intent: Intent, one: MarketView, now_ms: int) -> Outcome:
        fees, fills, left_e2, left_e6 = OrderFees(), [], intent.count_e2, intent.reserve_e6
        for price_e4, shown_e2 in ladder(one, intent.side, self._scan).levels:
            if price_e4 > intent.price_e4 or not left_e2:
                break
            taken_e2 = self._taken.get(intent.ticker, {}).get((intent.side, price_e4), 0)
            count_e2 = min(left_e2, shown_e2 - taken_e2)
            if count_e2 <= 0:
                continue
            fee = fees.add(fill_fee(intent.fees, price_e4, count_e2, time_ms=now_ms))
            left_e6 -= price_e4 * count_e2 + fee.total_e6
            if left_e6 < 0:  # an order never costs more than was held for it
                break
            fills.append(Fill(price_e4, count_e2, fee.total_e6, shown_e2, now_ms))
            left_e2 -= count_e2
            self._take(intent.ticker, intent.side, price_e4, count_e2)
        return Outcome(intent.number, tuple(fills), NO_DEPTH if left_e2 else COMPLETE)

    def _take(self, ticker: str, side: str, price_e4: int, count_e2: int) -> None:
        levels = self._taken.setdefault(ticker, {})
        levels[side, price_e4] = levels.get((side, price_e4), 0) + count_e2

    @staticmethod
    def _shows(one: MarketView, side: str, seen: Ladder, price_e4: int) -> bool:
        """Whether such a level would be seen: in a book always, in a quote only if it were the best."""
        if one.book is not None and seen.levels == asks(one.book, side):
            return True
        return not seen.levels or price_e4 < seen.levels[0][0]

"""The paper broker: fills an order against the book as it is when the order would have arrived. Pure.

Immediate or cancel: every level up to the limit is taken, as far as it shows anything, and the rest
cancelled. Each level is a fill with its fee; an order has one fee accumulator, as at the exchange. Nobody
else sees our orders, so what they took stays on display: it is remembered as taken until the level goes
away or shrinks.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from bus.trading import reasons
from markets.fees import OrderFees, fill_fee
from markets.opportunities import MarketView, ScanLimits
from markets.opportunities.legs import ladder, top
from markets.orders import AnyOrderEvent, Ended, Fill, Filled, Intent
from markets.records import Status
from markets.timing import is_open
from trader.engine.inputs import Present
from trader.engine.risk import FUTURE_MS
from trader.engine.taken import observe

from .base import LevelKey, Markets, OpenOrder


class PaperBroker:
    """Holds orders on their way, and what past ones took. Nothing rests: what does not fill at once ends.

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
        self._cancelled: set[int] = set()
        self._taken: dict[str, dict[tuple[str, int], int]] = {}
        for (ticker, side, price_e4), count_e2 in taken:
            self._take(ticker, side, price_e4, count_e2)

    @property
    def next_ms(self) -> int | None:
        """When the next order arrives, by the steady clock; None without one."""
        return self._pending[0][0] if self._pending else None

    @property
    def taken(self) -> tuple[tuple[LevelKey, int], ...]:
        """Contracts taken of each level that is still there, as the constructor takes them."""
        return tuple(
            ((ticker, side, price_e4), count_e2)
            for ticker, levels in self._taken.items()
            for (side, price_e4), count_e2 in levels.items()
        )

    @property
    def watched(self) -> AbstractSet[str]:
        """Tickers of the markets of which something was taken."""
        return self._taken.keys()

    def place(self, intent: Intent, present: Present) -> None:
        """Send an order on its way."""
        self._pending.append((present.steady_ms + self._latency_ms, intent))

    def cancel(self, number: int, present: Present) -> None:
        """End an order that has not arrived, when it does."""
        if any(intent.number == number for _, intent in self._pending):
            self._cancelled.add(number)

    def amend(self, number: int, price_e4: int, count_e2: int, present: Present) -> None:
        """Change nothing: nothing rests."""

    def carry_out(self) -> None:
        """Wait for nothing: each order is on its way already."""

    @property
    def heard(self) -> int:
        """There is no gateway."""
        return 0

    def recover(self, standing: Sequence[OpenOrder]) -> list[AnyOrderEvent]:
        """Return that open orders have not arrived: the paper broker that they were sent to is gone."""
        return [Ended(order.intent.number, reasons.RESTARTED) for order in standing]

    def observe(self, market: MarketView) -> None:
        """Look at a market that has changed: forget what was taken of levels that are gone or shrank."""
        levels = self._taken.get(market.market.ticker)
        if levels is None:
            return
        observe(levels, market, self._scan)
        if not levels:
            del self._taken[market.market.ticker]

    def due(
        self, present: Present, market: Markets, refuse: str | None, floor_ms: int
    ) -> list[AnyOrderEvent]:
        """Carry out the orders that arrive by `present`; return their fills and how each ended."""
        now_ms, steady_ms = present
        arrived = [intent for due_ms, intent in self._pending if due_ms <= steady_ms]
        if not arrived:
            return []
        self._pending = [entry for entry in self._pending if entry[0] > steady_ms]
        events: list[AnyOrderEvent] = []
        for intent in arrived:
            view = market(intent.ticker)
            reason = refuse or self._refusal(intent, view, now_ms, floor_ms)
            if reason is not None or view is None:
                events.append(Ended(intent.number, reason or reasons.MARKET_UNKNOWN))
            else:
                events += self._fill(intent, view, now_ms)
        return events

    def _refusal(self, intent: Intent, view: MarketView | None, now_ms: int, floor_ms: int) -> str | None:
        if intent.number in self._cancelled:
            self._cancelled.discard(intent.number)
            return reasons.CANCELLED
        if view is None:
            return reasons.MARKET_UNKNOWN
        if now_ms > intent.valid_until_ms:
            return reasons.EXPIRED
        if view.quote.status is not Status.ACTIVE or not is_open(view.market, now_ms):
            return reasons.NOT_ACTIVE
        if view.suspect or top(view).crossed:
            return reasons.SUSPECT
        seen_ms = ladder(view, intent.side, self._scan).as_of_ms
        if not floor_ms <= seen_ms or now_ms - seen_ms > self._leg_age_ms or seen_ms - now_ms > FUTURE_MS:
            return reasons.STALE
        return None

    def _fill(self, intent: Intent, view: MarketView, now_ms: int) -> list[AnyOrderEvent]:
        fees, left_e2, left_e6 = OrderFees(), intent.count_e2, intent.reserve_e6
        events: list[AnyOrderEvent] = []
        for price_e4, shown_e2 in ladder(view, intent.side, self._scan).levels:
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
            fill = Fill(price_e4, count_e2, fee.total_e6, shown_e2, now_ms)
            events.append(Filled(intent.number, fill))
            left_e2 -= count_e2
            self._take(intent.ticker, intent.side, price_e4, count_e2)
        events.append(Ended(intent.number, reasons.NOTHING_LEFT if left_e2 else reasons.COMPLETE))
        return events

    def _take(self, ticker: str, side: str, price_e4: int, count_e2: int) -> None:
        levels = self._taken.setdefault(ticker, {})
        levels[side, price_e4] = levels.get((side, price_e4), 0) + count_e2

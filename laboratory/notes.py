"""The journal of a run, in memory, which keeps what a report needs."""

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from markets.book import YES
from markets.orders import Fill, Intent, Settlement
from markets.records import Market, Quote
from markets.texts import one_line
from markets.units import MINUTE_MS, PRICE_ONE_E4, opposite
from trader.engine.outputs import Amended, AnyOutput, Refused
from trader.ledger.ledger import JOINED
from trader.promised import Promised

from .memory_journal import MemoryJournal
from .outcome import Markout, Outcome, Trade, span
from .statistics import DAY_MS

MARKOUT_MINUTES: Final = (1, 10, 60)
ORDER_TIMES: Final = 200
FAILURES_MAX: Final = 100


class _Held:
    """What a trade bought in one market of an event, YES and NO, and its value once known."""

    def __init__(self, event_ticker: str) -> None:
        self.event_ticker = event_ticker
        self.bought_e2 = {"yes": 0, "no": 0}
        self.value_e4: int | None = None

    @property
    def net_e2(self) -> int:
        return self.bought_e2["yes"] - self.bought_e2["no"]

    def paid_e6(self) -> int:
        """Return the certain payout: its value once known, before that a dollar for each pair."""
        if self.value_e4 is None:
            return min(self.bought_e2.values()) * PRICE_ONE_E4
        return self.bought_e2["yes"] * self.value_e4 + self.bought_e2["no"] * opposite(self.value_e4)


def worth_of(market: Market | None, quote: Quote | None) -> float | None:
    """Return what YES is worth, in 1/10,000 dollar: its value once decided, before that the midpoint.

    Where nobody bids it may be worth nothing, where nobody asks a dollar, and the midpoint is between that
    and the other side. Otherwise those that fell or rose the most would be left out. None if nobody quotes
    at all, or the market is not known.
    """
    if market is not None and market.settlement_value_e4 is not None:
        return market.settlement_value_e4
    if quote is None:
        return None
    bid_e4, ask_e4 = quote.yes_bid_e4, quote.yes_ask_e4 or PRICE_ONE_E4
    return (bid_e4 + ask_e4) / 2 if bid_e4 or ask_e4 < PRICE_ONE_E4 else None


class Notes(MemoryJournal):
    """The journal of a run, which records what a report needs.

    Args:
        start_e6: starting cash.
        outcome: is filled in.
        odd: returns whether an event was settled without whole winners.

    Attributes:
        now_ms: set by the caller.
        values: the value of YES in each settled market.
    """

    def __init__(
        self, start_e6: int, outcome: Outcome, now_ms: int, odd: Callable[[str], bool] = lambda _event: False
    ) -> None:
        super().__init__(start_e6)
        self.now_ms = now_ms
        self.outcome = outcome
        outcome.start_e6, outcome.began_ms = start_e6, now_ms
        self.values: dict[str, int] = {}
        self._odd = odd
        self._odd_events: set[str] = set()
        self._refused: Counter[str] = Counter()
        self._placed_ms: dict[int, int] = {}
        self._wanted_e2: dict[int, int] = {}
        self._filled_e2: dict[int, int] = {}
        self._order_ms: list[int] = []
        self._open: Counter[int] = Counter()
        self._trades: dict[int, Trade] = {}
        self._promised: dict[int, Promised] = {}
        self._held: dict[int, dict[str, _Held]] = {}
        self._of_market: dict[str, set[int]] = {}
        self._markouts: list[tuple[int, int, str, str, int, str, int, int]] = []
        self._serial = 0

    # -- decisions, and what came of them

    def fail(self, line: str) -> None:
        """Note an error on one line, with the run's own time."""
        failures = self.outcome.failures
        if len(failures) < FAILURES_MAX:
            failures.append(f"after {span((self.now_ms - self.outcome.began_ms) / DAY_MS)}: {one_line(line)}")

    def placed(self, intent: Intent) -> None:
        """See MemoryJournal."""
        # What is due by time is decided as of then, between two steps of the clock.
        self._placed_ms[intent.number] = intent.created_ms
        self.outcome.orders += 1
        self._want(intent.number, intent.count_e2)
        trade = self._trades.get(intent.trade)
        if trade is None:
            belief = None if intent.probability is None else round(intent.probability * 1e6)
            trade = self._trades[intent.trade] = Trade(
                number=intent.trade,
                strategy=intent.strategy,
                kind=intent.kind,
                source=intent.source,
                series=intent.series_ticker,
                event=intent.event_ticker,
                at_ms=self.now_ms,
                legs=[],
                belief=belief,
            )
            self._held[intent.trade], self._promised[intent.trade] = {}, Promised()
            self.outcome.trades.append(trade)
        self._promised[intent.trade].placed(intent)
        if intent.attempt == 0:
            trade.legs.append((intent.ticker, intent.side, intent.count_e2))
        elif intent.attempt == JOINED:
            trade.joined += 1
        else:
            trade.evened += 1
        trade.orders += 1
        trade.got_e6 = None  # one that held nothing any more may hold something again
        self._open[intent.trade] += 1
        self._held[intent.trade].setdefault(intent.ticker, _Held(intent.event_ticker))
        self._of_market.setdefault(intent.ticker, set()).add(intent.trade)

    def ended(self, intent: Intent) -> None:
        """See MemoryJournal."""
        trade = self._trades[intent.trade]
        self._order_ms.append(self.now_ms - self._placed_ms.pop(intent.number))
        self._filled_e2.pop(intent.number, None)
        del self._wanted_e2[intent.number]
        self._open[intent.trade] -= 1
        if not self._open[intent.trade]:
            if not trade.first or trade.joined:
                trade.first = self._first(trade)
            self._close(trade)

    def filled(self, intent: Intent, fill: Fill) -> None:
        """See MemoryJournal."""
        outcome, trade = self.outcome, self._trades[intent.trade]
        outcome.fills += 1
        outcome.got_e2 += fill.count_e2
        outcome.fees_e6 += fill.fee_e6
        self._held[trade.number][intent.ticker].bought_e2[intent.side] += fill.count_e2
        promised, before_e2 = self._promised[trade.number], self._filled_e2.get(intent.number, 0)
        self._filled_e2[intent.number] = after_e2 = before_e2 + fill.count_e2
        promised.filled(intent, before_e2, after_e2)
        trade.promised_e6 = promised.e6
        trade.cost_e6 += fill.cost_e6
        trade.fees_e6 += fill.fee_e6
        for minutes in MARKOUT_MINUTES:
            self._serial += 1
            due_ms = self.now_ms + minutes * MINUTE_MS
            what = (intent.ticker, intent.side, fill.price_e4, trade.strategy, minutes, fill.count_e2)
            heapq.heappush(self._markouts, (due_ms, self._serial, *what))

    def _first(self, trade: Trade) -> str:
        held = self._held[trade.number]
        if trade.joined:  # its quotes are no basket
            return "even" if any(any(one.bought_e2.values()) for one in held.values()) else "nothing"
        legs = [(held[ticker].bought_e2[side], wanted_e2) for ticker, side, wanted_e2 in trade.legs]
        if not any(got_e2 for got_e2, _ in legs):
            return "nothing"
        got_e2, of_e2 = legs[0]  # of some baskets fewer are wanted of one leg than of the others
        return "even" if all(got * of_e2 == got_e2 * wanted for got, wanted in legs) else "missed"

    def other(self, output: AnyOutput) -> None:
        """See MemoryJournal."""
        match output:
            case Refused():
                self._refused[output.reason] += 1
            case Amended(refused=False):
                self._want(output.number, output.count_e2)

    def _want(self, number: int, count_e2: int) -> None:
        """Count the contracts that an order asks for: as it was placed, or was last amended."""
        self.outcome.wanted_e2 += count_e2 - self._wanted_e2.get(number, 0)
        self._wanted_e2[number] = count_e2

    def taken_back(self, settlement: Settlement) -> None:
        """See MemoryJournal."""
        self._withhold(settlement, -settlement.fee_e6)

    def settled(self, settlement: Settlement) -> None:
        """See MemoryJournal."""
        self._withhold(settlement, settlement.fee_e6)
        self.values[settlement.ticker] = settlement.value_e4
        event_ticker = settlement.event_ticker
        (self._odd_events.add if self._odd(event_ticker) else self._odd_events.discard)(event_ticker)
        for number in self._of_market.get(settlement.ticker, ()):
            trade = self._trades[number]
            held = self._held[number]
            held[settlement.ticker].value_e4 = settlement.value_e4
            trade.odd = any(one.event_ticker in self._odd_events for one in held.values())
            self._judge_belief(trade, settlement)
            self._close(trade)

    def _judge_belief(self, trade: Trade, settlement: Settlement) -> None:
        """Record what a contract paid that was believed in; not of a trade that has none of it any more."""
        if trade.belief is None or len(trade.legs) != 1 or len(self._held[trade.number]) != 1:
            return
        ((_, side, _),) = trade.legs
        value_e4, net_e2 = settlement.value_e4, self._held[trade.number][settlement.ticker].net_e2
        held_e2, paid_e4 = (net_e2, value_e4) if side == YES else (-net_e2, opposite(value_e4))
        trade.outcome_e4 = paid_e4 if held_e2 > 0 else None

    def _withhold(self, settlement: Settlement, fee_e6: int) -> None:
        """Book what was withheld to pay whole cents; the first trade on the side that was paid bears it."""
        self.outcome.fees_e6 += fee_e6
        sign = 1 if settlement.side == YES else -1
        for number in sorted(self._of_market.get(settlement.ticker, ())):
            if self._held[number][settlement.ticker].net_e2 * sign > 0:
                self._trades[number].fees_e6 += fee_e6
                return

    def _close(self, trade: Trade) -> None:
        """Record what a trade got once nothing of it is open."""
        held = self._held[trade.number]
        if self._open[trade.number] or any(one.value_e4 is None and one.net_e2 for one in held.values()):
            return
        trade.got_e6 = sum(one.paid_e6() for one in held.values()) - trade.cost_e6 - trade.fees_e6

    # -- time

    def pass_time(self, worth_e4: Callable[[str], float | None]) -> None:
        """Record the markouts that are due.

        Args:
            worth_e4: what YES of a market is worth now (`worth_of`).
        """
        while self._markouts and self._markouts[0][0] <= self.now_ms:
            _, _, ticker, side, price_e4, strategy, minutes, count_e2 = heapq.heappop(self._markouts)
            yes_e4 = self.values.get(ticker)
            now_e4 = worth_e4(ticker) if yes_e4 is None else yes_e4
            if now_e4 is not None:
                now_e4 = (now_e4 if side == YES else PRICE_ONE_E4 - now_e4) - price_e4
            self.outcome.markouts.append(Markout(strategy, minutes, count_e2, now_e4))

    def end(self, least_e6: Mapping[tuple[int, str], int]) -> None:
        """Value open trades, so that all trades together are worth the equity at floor.

        Args:
            least_e6: what each lot counts at floor, by trade and market.
        """
        outcome = self.outcome
        for trade in outcome.trades:
            if trade.got_e6 is None:
                held = self._held[trade.number]
                worth_e6 = sum(one.paid_e6() for one in held.values())
                worth_e6 += sum(least_e6.get((trade.number, ticker), 0) for ticker in held)
                trade.worth_e6 = worth_e6 - trade.cost_e6 - trade.fees_e6
        outcome.refused = dict(self._refused)
        times = sorted(self._order_ms)
        step = max(1, len(times) // ORDER_TIMES)
        outcome.order_ms = times[::step]

"""A run against a simulated exchange in the same process, whose own matching fills the orders.

Time moves in steps of half a second: what happens within a step is seen at its end. Orders arrive exactly
after their latency.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from bus.clock import ManualClock
from bus.process.settings import money_e6
from markets.units import HOUR_MS, PRICE_ONE_E4, opposite
from simulator.floor.exchange import Exchange
from simulator.floor.halts import Activity
from simulator.floor.record import Keeping, Memory
from simulator.matching.engine import LIVE_KEPT_MS
from simulator.matching.kept import Kept
from simulator.universe.templates import load
from trader.brokers.base import Broker

from .feed import ExchangeFeed
from .matching import ACCOUNT, PARTY, MatchingBroker
from .notes import Notes
from .outcome import Outcome, Plan
from .stand import STEP_MS, Progress, Stand, point_ms, settings_of

START_MS: Final = 1_790_000_000_000
CENT_E6: Final = 10_000
SPARE_E6: Final = 1_000_000_000_000
"""What the account has on each shard besides its cash. It stands for transfers between shards: in paper mode
the trader counts its cash as one sum, and on a shard that ran dry every further order would be refused.
"""

MEMORY: Final = Memory(Keeping(minutes=3, hours=26), trades=100, settled_ms=2 * HOUR_MS)
"""Nothing asks a run's exchange for its history, so it keeps only figures of a day ago, and the listings."""

OF_A_DAY: Final = Memory(Keeping(minutes=0, hours=0), trades=100, settled_ms=2 * HOUR_MS)
"""The same in a run of at most a day: what stood a day ago was before it began."""


def usual_activity() -> Activity:
    """Return how busy and how unkind the exchange of a run is if its plan does not say.

    Bursts test transports: of thousands of frames in a second, a run would see only the last ones.
    """
    return Activity(bursts=False)


class Simulated:
    """One run.

    Args:
        folder: an empty one for the files that the trader keeps beside its journal.
        around: may wrap the broker that the trader is given.
        trades: whether public trades are heard: by them a paper broker knows how far a queue has moved on.

    Raises:
        StartupError: a setting, a switch of the exchange or a strategy of the plan cannot be used.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        around: Callable[[MatchingBroker], Broker] = lambda broker: broker,
        *,
        trades: bool = False,
    ) -> None:
        settings = settings_of(plan, folder)
        activity = usual_activity()
        activity.rivals = plan.rivals
        for name, value in plan.exchange.items():
            setattr(activity, name, type(getattr(activity, name))(value))
        self._plan = plan
        self._clock = ManualClock(START_MS)
        memory = OF_A_DAY if plan.hours <= 24 else MEMORY
        self.exchange = Exchange(load(None), plan.markets, plan.seed, START_MS, activity, memory=memory)
        self.exchange.herald.detailed = False  # the feed reads whole books
        self.feed = ExchangeFeed(self.exchange, self._clock, trades=trades)
        shards = self.exchange.halts.shards
        self._spare_e6 = SPARE_E6 * len(shards)
        self.exchange.ledger.open(ACCOUNT, money_e6(settings.paper_cash) // len(shards) + SPARE_E6)
        self.exchange.matching.open(ACCOUNT)
        self._notes = Notes(self.cash_e6(), Outcome(plan=plan), START_MS, self._odd)
        matching = MatchingBroker(self.exchange, plan.latency_ms)
        self.exchange.matching.listeners.append(matching)
        self.broker = around(matching)
        self.stand = Stand(
            plan, settings, self._clock, self.feed, self._notes, lambda: self.broker, self.feed.wish
        )

    def _odd(self, event_ticker: str) -> bool:
        event = self.exchange.events.get(event_ticker)
        whole = (None, 0, PRICE_ONE_E4)
        return event is not None and (
            event.group.void or any(market.value_e4 not in whole for market in event.markets)
        )

    def run(self, progress: Progress = lambda _done: None) -> Outcome:
        """Carry out the plan; return the outcome."""
        stand = self.stand
        steps = max(1, round(self._plan.hours * HOUR_MS / STEP_MS))
        every = point_ms(steps * STEP_MS) // STEP_MS
        for number in range(1, steps + 1):
            self.step()
            if number % every == 0 or number == steps:
                stand.point()
                self.forget()
            progress(number / steps)
        stand.end()
        stand.outcome.differs = self.differences()
        return stand.outcome

    def step(self) -> None:
        """Let half a second pass."""
        clock, stand = self._clock, self.stand
        ends_ms = clock.now_ms() + STEP_MS
        while (due_ms := stand.due_ms) < ends_ms:
            clock.advance(max(0, due_ms - clock.now_ms()))
            self.exchange.advance(clock.now_ms())
            stand.turn()
        clock.advance(ends_ms - clock.now_ms())
        self.feed.advance(ends_ms)
        stand.turn()
        stand.markouts()

    def forget(self) -> None:
        """Drop what the exchange keeps of the account for its lists: in a run nobody reads them."""
        exchange = self.exchange
        exchange.matching.forget(self._clock.now_ms() + LIVE_KEPT_MS)
        exchange.matching.archived[ACCOUNT].clear()
        account = exchange.ledger.holdings.accounts[ACCOUNT]
        account.fills, account.settlements, account.transfers = Kept(), Kept(), Kept()
        for holder in account.holders.values():
            holder.settled = Kept()

    def cash_e6(self) -> int:
        """Return the account's cash at the exchange, over all shards, without what it has to spare."""
        purses = self.exchange.ledger.holdings.holders[PARTY].purses
        return sum(purse.cash_e6 for purse in purses.values()) - self._spare_e6

    def differences(self) -> list[str]:
        """Return where ledger and exchange differ, not counting markets that one has settled earlier."""
        ledger, found, unpaid_e6 = self.stand.worker.engine.ledger, list[str](), 0
        positions = self.exchange.ledger.holdings.holders[PARTY].positions
        ours = {ticker: position.signed_e2 for ticker, position in ledger.positions.items()}
        theirs = {ticker: position.count_e2 for ticker, position in positions.items() if position.count_e2}
        for ticker in sorted(ours.keys() | theirs.keys()):
            mine, other = ours.get(ticker, 0), theirs.get(ticker, 0)
            value_e4 = self._notes.values.get(ticker)
            if mine == other:
                continue
            if not mine and value_e4 is not None:  # determined and booked here; the exchange pays later
                each_e4 = value_e4 if other > 0 else opposite(value_e4)
                unpaid_e6 += abs(other) * each_e4 // CENT_E6 * CENT_E6
            else:
                found.append(f"{ticker}: {mine / 100:g} contracts here, {other / 100:g} at the exchange")
        cash_e6 = self.cash_e6() + unpaid_e6
        if not found and cash_e6 != ledger.cash_e6:
            found.append(f"cash: {ledger.cash_e6 / 1e6:.6f} here, {cash_e6 / 1e6:.6f} at the exchange")
        return found

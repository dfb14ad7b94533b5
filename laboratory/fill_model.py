"""The error of the fill model used for recordings, compared with the exchange's own matching.

Order by order: the trader trades at the exchange, and each of its orders also goes to a paper broker that
sees the same markets at the same moments. The paper broker's fills are not reported, so both get the same
orders; whatever follows a fill, such as evening out after a missed leg, follows the exchange's. Both also see
how our orders change the market: after an order has taken a level, the paper broker sees that it is gone.

Both ways: the same day a second time, with the trader on paper from the start. As in a recording, the
exchange does not know of the trader; the day's profit is what a report on its recording would show. After the
first fill at the exchange the two days also differ by chance, so only sums over many orders can be compared.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import msgspec

from bus.process.settings import Settings
from bus.scan.membership import scan_limits
from markets.opportunities import MarketView
from markets.orders import Amended, AnyOrderEvent, Filled, Intent
from markets.records import Trade
from markets.units import PRICE_ONE_E4, opposite
from simulator.floor.model import Market
from trader.brokers.base import Broker, Markets, OpenOrder, QueuePlace
from trader.brokers.paper import PaperBroker
from trader.engine.inputs import Present
from trader.worker import risk_limits

from .matching import MatchingBroker
from .outcome import Outcome, Plan
from .runs import carrying_out, seldom_collected
from .simulated import Simulated
from .stand import STEP_MS, Progress, settings_of
from .statistics import Estimate, estimate, promise

GROUPS: Final = ("taking", "evening out", "resting")


class Pair(msgspec.Struct):
    """What an order got from each: contracts, and their cost with fees.

    Attributes:
        worth_e4: of one contract at the end of the run: its value if decided, else its true probability.
    """

    group: str
    wanted_e2: int
    got_e2: int = 0
    cost_e6: int = 0
    model_e2: int = 0
    model_cost_e6: int = 0
    worth_e4: int = 0

    @property
    def profit_e6(self) -> int:
        """What the order earned at the exchange."""
        return self.got_e2 * self.worth_e4 - self.cost_e6

    @property
    def model_profit_e6(self) -> int:
        """What the order earned according to the model."""
        return self.model_e2 * self.worth_e4 - self.model_cost_e6


def _group(intent: Intent) -> str:
    if intent.time_in_force == "gtc":
        return "resting"
    return "evening out" if intent.attempt else "taking"


class Shadowed:
    """The broker of a simulated run, and a model given the same orders, whose fills are not reported."""

    def __init__(self, broker: MatchingBroker, shadow: PaperBroker) -> None:
        self._pairs: dict[int, Pair] = {}
        self._traded: dict[int, tuple[Market | None, str]] = {}
        self._broker = broker
        self._shadow = shadow

    @property
    def next_ms(self) -> int | None:
        return self._broker.next_ms

    @property
    def heard(self) -> int:
        return self._broker.heard

    @property
    def queued(self) -> Mapping[int, QueuePlace]:
        return self._shadow.queued

    @property
    def watched(self) -> AbstractSet[str]:
        return self._shadow.watched

    def place(self, intent: Intent, present: Present) -> None:
        self._pairs[intent.number] = Pair(_group(intent), intent.count_e2)
        self._traded[intent.number] = self._broker.exchange.markets.get(intent.ticker), intent.side
        self._broker.place(intent, present)
        self._shadow.place(intent, present)

    def cancel(self, number: int, present: Present) -> None:
        self._broker.cancel(number, present)
        self._shadow.cancel(number, present)

    def amend(self, number: int, price_e4: int, count_e2: int, present: Present) -> None:
        self._broker.amend(number, price_e4, count_e2, present)
        self._shadow.amend(number, price_e4, count_e2, present)

    def carry_out(self) -> None:
        self._broker.carry_out()

    def observe(self, market: MarketView, present: Present) -> None:
        self._shadow.observe(market, present)

    def traded(self, trade: Trade, present: Present) -> None:
        self._shadow.traded(trade, present)

    def recover(self, standing: Sequence[OpenOrder]) -> Sequence[AnyOrderEvent]:
        return self._broker.recover(standing)

    def due(
        self, present: Present, market: Markets, refuse: str | None, floor_ms: int
    ) -> Sequence[AnyOrderEvent]:
        # The model first: as in a recording, it must see the book before our order changes it.
        for event in self._shadow.due(present, market, refuse, floor_ms):
            if isinstance(event, Filled):
                pair = self._pairs[event.number]
                pair.model_e2 += event.fill.count_e2
                pair.model_cost_e6 += event.fill.cost_e6 + event.fill.fee_e6
        heard = self._broker.due(present, market, refuse, floor_ms)
        for event in heard:
            if isinstance(event, Filled):
                pair = self._pairs[event.number]
                pair.got_e2 += event.fill.count_e2
                pair.cost_e6 += event.fill.cost_e6 + event.fill.fee_e6
            elif isinstance(event, Amended):
                self._pairs[event.number].wanted_e2 = event.count_e2
        return heard

    def pairs(self) -> list[Pair]:
        """Return the orders with the present worth of their contracts."""
        for number, (market, side) in self._traded.items():
            if market is not None:
                known_e4 = market.value_e4
                yes_e4 = round(market.p * PRICE_ONE_E4) if known_e4 is None else known_e4
                self._pairs[number].worth_e4 = yes_e4 if side == "yes" else opposite(yes_e4)
        return list(self._pairs.values())


class _Heard(Simulated):
    """A run in which everything that happens before an order arrives is also received before it arrives.

    This is as in a recording, where each message has its own time. Other runs receive at the end of a step,
    so the paper broker would fill at prices up to a step old. Public trades are received too.
    """

    def __init__(self, plan: Plan, folder: Path, around: Callable[[MatchingBroker], Broker]) -> None:
        super().__init__(plan, folder, around, trades=True)

    def step(self) -> None:
        """Advance by one step."""
        clock, stand = self._clock, self.stand
        ends_ms = clock.now_ms() + STEP_MS
        while (due_ms := stand.due_ms) <= ends_ms:
            self._hear(due_ms - 1)
            clock.advance(max(0, due_ms - clock.now_ms()))
            self.exchange.advance(clock.now_ms())
            stand.turn()
        self._hear(ends_ms)
        stand.markouts()

    def _hear(self, until_ms: int) -> None:
        now_ms = self._clock.now_ms()
        if until_ms > now_ms:
            self._clock.advance(until_ms - now_ms)
            self.feed.advance(until_ms)
            self.stand.turn()


def _on_paper(plan: Plan, settings: Settings) -> PaperBroker:
    return PaperBroker(plan.latency_ms, risk_limits(settings).leg_age_ms, scan_limits(settings))


class AtExchange(msgspec.Struct):
    """A simulated day with orders at the exchange, and what each got there and from the model."""

    outcome: Outcome
    pairs: list[Pair]


class BothWays(msgspec.Struct):
    """A simulated day with orders at the exchange, and on paper."""

    exchange: AtExchange
    paper: Outcome


def at_exchange(plan: Plan, progress: Progress, within: Path | None = None) -> AtExchange:
    """Carry out a simulated plan at the exchange, and ask the model about each order.

    Raises:
        KalshiBusError: a setting or strategy of the plan cannot be used, or see `carrying_out`.
    """
    with carrying_out(plan, within) as folder, seldom_collected():
        settings = settings_of(plan, folder)
        run = _Heard(plan, folder, lambda broker: Shadowed(broker, _on_paper(plan, settings)))
        outcome = run.run(progress)
        assert isinstance(run.broker, Shadowed)
        return AtExchange(outcome, run.broker.pairs())


def on_paper(plan: Plan, progress: Progress, within: Path | None = None) -> Outcome:
    """Carry out a simulated plan on paper.

    Raises:
        KalshiBusError: a setting or strategy of the plan cannot be used, or see `carrying_out`.
    """
    with carrying_out(plan, within) as folder, seldom_collected():
        settings = settings_of(plan, folder)
        outcome = _Heard(plan, folder, lambda _broker: _on_paper(plan, settings)).run(progress)
        outcome.differs.clear()  # the account at the exchange has none of its positions
        return outcome


class FillError(msgspec.Struct, frozen=True):
    """How far the model is from the exchange, in parts of 1.

    Attributes:
        cents: how much more the model paid per contract, over orders that both filled at least in part.
        profit_e6, model_profit_e6: profit of the orders, with contracts at their final worth.
    """

    orders: int
    same: float
    model_more: float
    model_less: float
    filled: float
    model_filled: float
    cents: float
    profit_e6: int
    model_profit_e6: int


def error_of(pairs: Sequence[Pair]) -> FillError:
    """Return the error over orders."""
    count, wanted = max(1, len(pairs)), max(1, sum(pair.wanted_e2 for pair in pairs))
    both = [pair for pair in pairs if pair.got_e2 and pair.model_e2]
    common_e2 = sum(min(pair.got_e2, pair.model_e2) for pair in both)
    dearer = sum(
        (pair.model_cost_e6 / pair.model_e2 - pair.cost_e6 / pair.got_e2) * min(pair.got_e2, pair.model_e2)
        for pair in both
    )
    return FillError(
        orders=len(pairs),
        same=sum(pair.got_e2 == pair.model_e2 for pair in pairs) / count,
        model_more=sum(pair.model_e2 > pair.got_e2 for pair in pairs) / count,
        model_less=sum(pair.model_e2 < pair.got_e2 for pair in pairs) / count,
        filled=sum(pair.got_e2 for pair in pairs) / wanted,
        model_filled=sum(pair.model_e2 for pair in pairs) / wanted,
        cents=dearer / 100 / common_e2 if common_e2 else 0.0,
        profit_e6=sum(pair.profit_e6 for pair in pairs),
        model_profit_e6=sum(pair.model_profit_e6 for pair in pairs),
    )


def table(runs: Sequence[BothWays]) -> str:
    """Return the errors as text: by kind of order, then for whole days."""
    heads = f"{'orders':<12} {'count':>6} {'same fill':>10} {'model more':>11} {'model less':>11}"
    more = f"{'filled':>8} {'by model':>9} {'c/contract':>11} {'earned':>9} {'by model':>9}"
    lines = [f"{heads} {more}"]
    for name in GROUPS:
        found = error_of([pair for run in runs for pair in run.exchange.pairs if pair.group == name])
        if found.orders:
            counts = f"{name:<12} {found.orders:>6} {found.same:>10.1%} {found.model_more:>11.1%}"
            parts = f"{found.model_less:>11.1%} {found.filled:>8.1%} {found.model_filled:>9.1%}"
            money = f"{found.profit_e6 / 1e6:>9.2f} {found.model_profit_e6 / 1e6:>9.2f}"
            lines.append(f"{counts} {parts} {found.cents:>+11.3f} {money}")
    lines += ["", _days(runs)]
    return "\n".join(lines)


def _days(runs: Sequence[BothWays]) -> str:
    """Return the profit of the days each way, and the difference."""
    heads = f"{'way':<12} {'trades':>6} {'orders':>7} {'filled':>8} {'even':>6} {'missed':>7}"
    lines = [f"{heads} {'nothing':>8} {'profit a day':>13} {'95 %':>9}"]
    ways = {"exchange": [run.exchange.outcome for run in runs], "paper": [run.paper for run in runs]}
    for name, outcomes in ways.items():
        sums = promise([trade for outcome in outcomes for trade in outcome.trades])
        wanted_e2 = max(1, sum(outcome.wanted_e2 for outcome in outcomes))
        filled = sum(outcome.got_e2 for outcome in outcomes) / wanted_e2
        counts = (
            f"{name:<12} {sums.trades:>6} {sum(outcome.orders for outcome in outcomes):>7} {filled:>8.1%}"
        )
        firsts = f"{sums.even:>6} {sums.missed:>7} {sums.nothing:>8}"
        lines.append(f"{counts} {firsts} {_dollars([outcome.a_day_e6 / 1e6 for outcome in outcomes])}")
    apart = [(run.paper.a_day_e6 - run.exchange.outcome.a_day_e6) / 1e6 for run in runs]
    lines.append(f"{'paper more':<60} {_dollars(apart)}")
    return "\n".join(lines)


def _dollars(values: Sequence[float]) -> str:
    found: Estimate = estimate(values)
    return f"{found.mean:>13.2f} {'' if found.half is None else f'{found.half:.2f}':>9}"

"""How wrong the fill model of recordings is: the same orders at the exchange's matching and on paper.

The trader trades against the exchange. Each of its orders goes to a paper broker as well, which sees the same
markets at the same moments; what both fill is compared order by order. What a recording lacks beyond that,
that others see our orders, is in it too: after an order has taken a level, the paper broker sees it gone.
"""

import tempfile
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import msgspec

from bus.scan.membership import scan_limits
from markets.opportunities import MarketView
from markets.orders import AnyOrderEvent, Filled, Intent
from markets.records import Trade
from trader.brokers.base import Markets, OpenOrder, QueuePlace
from trader.brokers.paper import PaperBroker
from trader.engine.inputs import Present
from trader.worker import risk_limits

from .matching import MatchingBroker
from .outcome import Plan
from .quiet import quiet
from .simulated import Simulated
from .stand import settings_of


class Pair(msgspec.Struct):
    """What an order got of each: contracts, and what they cost with fees."""

    wanted_e2: int
    rests: bool
    got_e2: int = 0
    cost_e6: int = 0
    model_e2: int = 0
    model_cost_e6: int = 0


class Shadowed:
    """The broker of a simulated run, and a model given the same orders; nobody hears of its fills."""

    def __init__(self, broker: MatchingBroker, shadow: PaperBroker) -> None:
        self.pairs: dict[int, Pair] = {}
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
        self.pairs[intent.number] = Pair(intent.count_e2, intent.time_in_force == "gtc")
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
        # The model first: it is to see the book as it is before our order changes it, as in a recording.
        for event in self._shadow.due(present, market, refuse, floor_ms):
            if isinstance(event, Filled):
                pair = self.pairs[event.number]
                pair.model_e2 += event.fill.count_e2
                pair.model_cost_e6 += event.fill.cost_e6 + event.fill.fee_e6
        heard = self._broker.due(present, market, refuse, floor_ms)
        for event in heard:
            if isinstance(event, Filled):
                pair = self.pairs[event.number]
                pair.got_e2 += event.fill.count_e2
                pair.cost_e6 += event.fill.cost_e6 + event.fill.fee_e6
        return heard


def shadowed(plan: Plan) -> list[Pair]:
    """Return what the orders of a simulated run got of the exchange, and of the model.

    Raises:
        StartupError: a setting or strategy of the plan cannot be used.
    """
    with quiet(), tempfile.TemporaryDirectory(prefix="kb-lab-") as name:
        settings = settings_of(plan, Path(name))
        shadow = PaperBroker(plan.latency_ms, risk_limits(settings).leg_age_ms, scan_limits(settings))
        run = Simulated(plan, Path(name), lambda broker: Shadowed(broker, shadow))
        run.run()
        assert isinstance(run.broker, Shadowed)
        return list(run.broker.pairs.values())


class FillError(msgspec.Struct, frozen=True):
    """How far the model is from the exchange, in parts of 1.

    `cents`: by how much more the model paid for a contract that both filled.
    """

    orders: int
    same: float
    model_more: float
    model_less: float
    filled: float
    model_filled: float
    cents: float


def error_of(pairs: Sequence[Pair]) -> FillError:
    """Return the error over orders."""
    count, wanted = max(1, len(pairs)), max(1, sum(pair.wanted_e2 for pair in pairs))
    both = [pair for pair in pairs if pair.got_e2 == pair.model_e2 > 0]
    contracts = sum(pair.got_e2 for pair in both) / 100
    return FillError(
        orders=len(pairs),
        same=sum(pair.got_e2 == pair.model_e2 for pair in pairs) / count,
        model_more=sum(pair.model_e2 > pair.got_e2 for pair in pairs) / count,
        model_less=sum(pair.model_e2 < pair.got_e2 for pair in pairs) / count,
        filled=sum(pair.got_e2 for pair in pairs) / wanted,
        model_filled=sum(pair.model_e2 for pair in pairs) / wanted,
        cents=sum(pair.model_cost_e6 - pair.cost_e6 for pair in both) / 1e4 / contracts if contracts else 0.0,
    )


def table(runs: Sequence[Sequence[Pair]]) -> str:
    """Return the errors as text: orders that take at once, and those that rest."""
    heads = f"{'orders':<12} {'count':>6} {'same fill':>10} {'model more':>11} {'model less':>11}"
    lines = [f"{heads} {'filled':>8} {'by model':>9} {'c/contract':>11}"]
    for name, rests in (("taking", False), ("resting", True)):
        found = error_of([pair for pairs in runs for pair in pairs if pair.rests is rests])
        if found.orders:
            counts = f"{name:<12} {found.orders:>6} {found.same:>10.1%} {found.model_more:>11.1%}"
            parts = f"{found.model_less:>11.1%} {found.filled:>8.1%} {found.model_filled:>9.1%}"
            lines.append(f"{counts} {parts} {found.cents:>+11.3f}")
    return "\n".join(lines)

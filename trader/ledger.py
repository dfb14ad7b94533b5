"""The ledger: cash, positions, open orders, exact to the micro-dollar. Pure.

Every micro-dollar has one way in and one way out, so at any time::

    cash            = start - spent - fees + payouts + netted
    cash + at_cost  = start + realised - fees

`check` holds both against the sums kept here, `python -m trader reconcile` against the journal's rows.
"""

from collections import Counter
from functools import cached_property
from typing import NamedTuple

import msgspec

from markets.errors import KalshiBusError
from markets.orders import Fill, Intent, Position, Settlement
from markets.units import PRICE_ONE_E4


class LedgerError(KalshiBusError):
    """The ledger does not add up, or a fill contradicts its order: stop trading and look at the journal."""


class BasketLeg(msgspec.Struct, frozen=True, array_like=True):
    """One leg of a trade: what was ordered at first and what it has now."""

    ticker: str
    side: str
    planned_e2: int
    got_e2: int = 0


class Basket(msgspec.Struct, frozen=True, array_like=True):
    """The legs of one trade, and how often it was tried to even them out."""

    strategy: str
    event_ticker: str
    legs: tuple[BasketLeg, ...] = ()
    tries: int = 0


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """What an open order has got so far: contracts, and what they cost with fees."""

    count_e2: int = 0
    paid_e6: int = 0


class Stake(NamedTuple):
    """What a position or an open order puts at stake in a market, and whose it is."""

    ticker: str
    stake_e6: int
    trades: tuple[int, ...]


class Stakes:
    """Sums over positions and open orders, kept as these change: no decision adds up the whole account."""

    def __init__(
        self, positions: dict[str, Position], orders: dict[int, Intent], progress: dict[int, Progress]
    ) -> None:
        self.cost_e6 = self.reserved_e6 = 0
        self.orders_of: Counter[int] = Counter()
        self.in_event: dict[str, dict[str | int, Stake]] = {}
        for position in positions.values():
            self.add_position(position)
        for intent in orders.values():
            self.add_order(intent, intent.reserve_e6 - progress.get(intent.number, Progress()).paid_e6)

    def add_position(self, position: Position) -> None:
        """Count a position."""
        self.cost_e6 += position.cost_e6
        stake = Stake(position.ticker, position.cost_e6, position.trades)
        self.in_event.setdefault(position.event_ticker, {})[position.ticker] = stake

    def remove_position(self, position: Position) -> None:
        """Count a position no more."""
        self.cost_e6 -= position.cost_e6
        self._remove(position.event_ticker, position.ticker)

    def add_order(self, intent: Intent, left_e6: int) -> None:
        """Count an order that can still cost `left_e6`."""
        self.reserved_e6 += left_e6
        self.orders_of[intent.trade] += 1
        stake = Stake(intent.ticker, left_e6, (intent.trade,))
        self.in_event.setdefault(intent.event_ticker, {})[intent.number] = stake

    def remove_order(self, intent: Intent) -> None:
        """Count an order no more."""
        self.reserved_e6 -= self._remove(intent.event_ticker, intent.number).stake_e6
        self.orders_of[intent.trade] -= 1
        if not self.orders_of[intent.trade]:
            del self.orders_of[intent.trade]

    def _remove(self, event_ticker: str, key: str | int) -> Stake:
        rest = self.in_event[event_ticker]
        stake = rest.pop(key)
        if not rest:
            del self.in_event[event_ticker]
        return stake


class Ledger(msgspec.Struct, array_like=True, dict=True):
    """All that counts, as it travels in a start input.

    Attributes:
        start_e6: cash at the journal's beginning.
        spent_e6: cost of all fills, without fees.
        payouts_e6: what settlements paid.
        netted_e6: what YES and NO of one market paid as pairs.
        realised_e6: payouts less the cost of what they closed, before fees.
        positions: by ticker. open: orders that have not ended, by number.
        baskets: by trade, from its orders until one of its markets is settled or nothing of it is held.
        progress: of open orders that were filled in part, by number.
    """

    start_e6: int
    cash_e6: int = 0
    spent_e6: int = 0
    fees_e6: int = 0
    payouts_e6: int = 0
    netted_e6: int = 0
    realised_e6: int = 0
    positions: dict[str, Position] = {}
    open: dict[int, Intent] = {}
    settled: dict[str, int] = {}
    baskets: dict[int, Basket] = {}
    progress: dict[int, Progress] = {}

    @classmethod
    def new(cls, start_e6: int) -> "Ledger":
        """Return the ledger of an account with this much cash and nothing else."""
        return cls(start_e6=start_e6, cash_e6=start_e6)

    def copy(self) -> "Ledger":
        """Return ledger that change on their own."""
        return msgspec.structs.replace(
            self,
            positions=dict(self.positions),
            open=dict(self.open),
            settled=dict(self.settled),
            baskets=dict(self.baskets),
            progress=dict(self.progress),
        )

    @cached_property
    def stakes(self) -> Stakes:
        """Sums over positions and open orders. Whatever changes these changes the sums first."""
        return Stakes(self.positions, self.open, self.progress)

    # -- reading

    @property
    def at_cost_e6(self) -> int:
        """Cost of all positions."""
        return sum(position.cost_e6 for position in self.positions.values())

    @property
    def reserved_e6(self) -> int:
        """The most that all open orders can still cost."""
        return self.stakes.reserved_e6

    @property
    def free_e6(self) -> int:
        """Cash that no open order holds."""
        return self.cash_e6 - self.reserved_e6

    def at_stake_e6(self, event_ticker: str | None = None, *, ticker: str | None = None) -> int:
        """Return cost of positions and reserve of orders: of all, of an event, or of a market in it."""
        if event_ticker is None:
            assert ticker is None, "a market is looked up in its event"
            return self.stakes.cost_e6 + self.stakes.reserved_e6
        return sum(
            stake.stake_e6
            for stake in self.stakes.in_event.get(event_ticker, {}).values()
            if ticker is None or stake.ticker == ticker
        )

    def trades_in(self, event_ticker: str) -> set[int]:
        """Return the trades that are open in an event: held, or ordered and not ended."""
        trades: set[int] = set()
        for stake in self.stakes.in_event.get(event_ticker, {}).values():
            trades.update(stake.trades)
        return trades

    def events(self) -> set[str]:
        """Return the events with a position or an open order."""
        return set(self.stakes.in_event)

    def ordered(self, trade: int) -> bool:
        """Whether an order of this trade has not ended."""
        return trade in self.stakes.orders_of

    def filled(self, number: int) -> Progress:
        """Return what an open order has got so far."""
        return self.progress.get(number, Progress())

    # -- changing

    def place(self, intent: Intent) -> None:
        """Hold an order's reserve."""
        self.stakes.add_order(intent, intent.reserve_e6)
        self.open[intent.number] = intent
        basket = self.baskets.get(intent.trade) or Basket(intent.strategy, intent.event_ticker)
        if intent.attempt:
            basket = msgspec.structs.replace(basket, tries=max(basket.tries, intent.attempt))
        else:
            leg = BasketLeg(intent.ticker, intent.side, intent.count_e2)
            basket = msgspec.structs.replace(basket, legs=(*basket.legs, leg))
        self.baskets[intent.trade] = basket

    def fill(self, number: int, fill: Fill) -> Intent | None:
        """Book a part of an order, at any time before it ends; None if it has ended: nothing is booked.

        Raises:
            LedgerError: the fill is not what the order allows.
        """
        intent = self.open.get(number)
        if intent is None:
            return None
        before = self.filled(number)
        count_e2 = before.count_e2 + fill.count_e2
        paid_e6 = before.paid_e6 + fill.cost_e6 + fill.fee_e6
        if fill.count_e2 <= 0 or fill.fee_e6 < 0 or not 0 < fill.price_e4 <= intent.price_e4:
            raise LedgerError(f"order {number}: a fill beyond its limit of {intent.price_e4}: {fill}")
        if count_e2 > intent.count_e2 or paid_e6 > intent.reserve_e6:
            raise LedgerError(f"order {number}: filled {count_e2} for {paid_e6}, more than it allows")
        self.stakes.remove_order(intent)
        self.progress[number] = Progress(count_e2, paid_e6)
        self.stakes.add_order(intent, intent.reserve_e6 - paid_e6)
        self._buy(intent, fill)
        self._count(intent, fill.count_e2)
        return intent

    def end(self, number: int) -> Intent | None:
        """Free what an order still reserves; None if it has ended before."""
        intent = self.open.pop(number, None)
        if intent is None:
            return None
        self.stakes.remove_order(intent)
        self.progress.pop(number, None)
        basket = self.baskets.get(intent.trade)
        if (
            basket is not None
            and not self.ordered(intent.trade)
            and not any(leg.got_e2 for leg in basket.legs)
        ):
            del self.baskets[intent.trade]
        return intent

    def _count(self, intent: Intent, count_e2: int) -> None:
        """Add what an order got to its basket's leg; the other outcome takes away from it."""
        basket = self.baskets.get(intent.trade)
        if basket is None:
            return  # one of its markets is settled: nothing is evened out any more
        legs = tuple(
            msgspec.structs.replace(
                leg, got_e2=leg.got_e2 + (count_e2 if leg.side == intent.side else -count_e2)
            )
            if leg.ticker == intent.ticker
            else leg
            for leg in basket.legs
        )
        self.baskets[intent.trade] = msgspec.structs.replace(basket, legs=legs)

    def _buy(self, intent: Intent, fill: Fill) -> None:
        self.spent_e6 += fill.cost_e6
        self.fees_e6 += fill.fee_e6
        self.cash_e6 -= fill.cost_e6 + fill.fee_e6
        held = self.positions.get(intent.ticker)
        if held is not None and held.side != intent.side:
            held, fill = self._net(held, fill)
        if fill.count_e2 == 0:
            return
        trade = () if held is not None and intent.trade in held.trades else (intent.trade,)
        if held is None:
            held = Position(
                ticker=intent.ticker,
                event_ticker=intent.event_ticker,
                series_ticker=intent.series_ticker,
                label=intent.label,
                strategy=intent.strategy,
                side=intent.side,
                count_e2=0,
                cost_e6=0,
                fees_e6=0,
                opened_ms=fill.time_ms,
                trades=(),
            )
        self._hold(
            msgspec.structs.replace(
                held,
                count_e2=held.count_e2 + fill.count_e2,
                cost_e6=held.cost_e6 + fill.cost_e6,
                fees_e6=held.fees_e6 + fill.fee_e6,
                trades=held.trades + trade,
            )
        )

    def _hold(self, position: Position) -> None:
        """Put a position in the place of the market's former one; without contracts none is left."""
        before = self.positions.get(position.ticker)
        if before is not None:
            self.stakes.remove_position(before)
            del self.positions[position.ticker]
        if position.count_e2:
            self.stakes.add_position(position)
            self.positions[position.ticker] = position

    def _net(self, held: Position, fill: Fill) -> tuple[Position | None, Fill]:
        """Pay out pairs of YES and NO, 1 dollar each; return what is left of the position and of the fill."""
        pairs_e2 = min(held.count_e2, fill.count_e2)
        payout_e6 = pairs_e2 * PRICE_ONE_E4
        closed_e6 = held.cost_e6 * pairs_e2 // held.count_e2
        self.netted_e6 += payout_e6
        self.cash_e6 += payout_e6
        self.realised_e6 += payout_e6 - closed_e6 - fill.price_e4 * pairs_e2
        rest = msgspec.structs.replace(
            held, count_e2=held.count_e2 - pairs_e2, cost_e6=held.cost_e6 - closed_e6
        )
        self._hold(rest)
        left = msgspec.structs.replace(fill, count_e2=fill.count_e2 - pairs_e2)
        return (None if rest.count_e2 == 0 else rest), left

    def settle(self, ticker: str, result: str, value_e4: int, time_ms: int) -> Settlement | None:
        """Pay a position out at `value_e4` of YES; None if there is none, so nothing is paid twice."""
        position = self.positions.get(ticker)
        if position is None:
            return None
        for trade in self.trades_in(position.event_ticker):
            basket = self.baskets.get(trade)
            if basket is not None and any(leg.ticker == ticker for leg in basket.legs):
                del self.baskets[trade]
        self.stakes.remove_position(position)
        del self.positions[ticker]
        payout_e6 = position.value_e6(value_e4)
        self.payouts_e6 += payout_e6
        self.cash_e6 += payout_e6
        self.realised_e6 += payout_e6 - position.cost_e6
        self.settled[ticker] = time_ms
        return Settlement(
            ticker=ticker,
            event_ticker=position.event_ticker,
            side=position.side,
            count_e2=position.count_e2,
            result=result,
            value_e4=value_e4,
            cost_e6=position.cost_e6,
            payout_e6=payout_e6,
            time_ms=time_ms,
        )

    def check(self) -> None:
        """Hold the sums against each other.

        Raises:
            LedgerError: they differ, by so many micro-dollars.
        """
        flows_e6 = self.start_e6 - self.spent_e6 - self.fees_e6 + self.payouts_e6 + self.netted_e6
        if self.cash_e6 != flows_e6:
            raise LedgerError(f"cash is {self.cash_e6}, fills, fees and settlements make it {flows_e6}")
        held_e6, earned_e6 = self.cash_e6 + self.at_cost_e6, self.start_e6 + self.realised_e6 - self.fees_e6
        if held_e6 != earned_e6:
            raise LedgerError(f"cash and positions are {held_e6}, start and profit make them {earned_e6}")
        stakes, reserves_e6 = self.stakes, sum(intent.reserve_e6 for intent in self.open.values())
        reserves_e6 -= sum(progress.paid_e6 for progress in self.progress.values())
        if (stakes.cost_e6, stakes.reserved_e6) != (self.at_cost_e6, reserves_e6):
            raise LedgerError(
                f"{stakes.cost_e6} and {stakes.reserved_e6} are at stake in positions that cost"
                f" {self.at_cost_e6} and orders that hold {reserves_e6}"
            )

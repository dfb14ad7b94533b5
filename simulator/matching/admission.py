"""Which orders can be paid for, beside those that rest and what is held."""

from dataclasses import dataclass, field

from .fees import net_fee_e6, trade_fee_e6
from .holdings import Holder, Holdings, Purse
from .orders import BID, Instrument, Order, Party
from .resting import (
    MarketOrders,
    Resting,
    SideOfMarket,
    closing_e2,
    resting,
    value_e6,
    value_with_return_e6,
)
from .returns import Returned
from .settlement import ONE_E4


@dataclass(slots=True, eq=False)
class Admission:
    """The resting orders as their parties' books know them, and their value; see `Ledger`."""

    holdings: Holdings
    _resting: dict[int, Resting] = field(init=False, default_factory=dict)

    def admit(self, order: Order, remaining_e2: int | None = None) -> bool:
        """Tell whether its party can pay for an order beside what rests, including its fee as a taker.

        Args:
            order: not among the resting ones; or one of them with a new price, which then counts once.
            remaining_e2: its contracts, if not those still left.
        """
        holder = self.holdings.holders.get(order.party)
        if holder is None:
            return False
        instrument, side = order.instrument, order.side
        purse = self.holdings.purse(holder, instrument.exchange_index)
        count_e2 = order.remaining_e2 if remaining_e2 is None else remaining_e2
        entry = resting(order, count_e2, not order.post_only, self.holdings.grid_e6)
        market = holder.orders.get(instrument.ticker)
        here = market.of(side) if market else SideOfMarket(side)
        old = self._resting.get(order.number)
        held = holder.positions.get(instrument.ticker)
        if (held is None or not closing_e2(side, held.count_e2)) and not (
            holder.netting and instrument.exclusive
        ):
            now_e6 = here.opening_e6 + entry.opening_e6 - (old.opening_e6 if old else 0)
        else:
            tried = SideOfMarket(side, list(here.orders), here.opening_e6)
            if old is not None:
                tried.take(old)
            tried.put(entry)
            now_e6 = self.value_e6(holder, instrument, tried)
        if self.holdings.switches.resting_value == "sum":
            return purse.value_sum_e6 - here.value_e6 + now_e6 <= purse.cash_e6
        there_e6 = 0
        if market:
            there_e6 = (market.asks if side == BID else market.bids).value_e6
        value = purse.value_max_e6 - max(here.value_e6, there_e6) + max(now_e6, there_e6)
        return value <= purse.cash_e6

    def add(self, order: Order) -> None:
        """Add an order that rests from now on."""
        holder, instrument = self.holdings.holders[order.party], order.instrument
        market = holder.orders.get(instrument.ticker)
        if market is None:
            market = holder.orders[instrument.ticker] = MarketOrders(instrument)
            holder.tickers.setdefault(instrument.event_ticker, {})[instrument.ticker] = None
        entry = resting(order, order.remaining_e2, False, self.holdings.grid_e6)
        self._resting[order.number] = entry
        here = market.of(order.side)
        here.put(entry)
        self._revalue_side(holder, market, here)

    def drop(self, order: Order) -> None:
        """Remove an order that no longer rests."""
        entry = self._resting.pop(order.number, None)
        if entry is None:
            return
        holder, instrument = self.holdings.holders[order.party], order.instrument
        market = holder.orders[instrument.ticker]
        here = market.of(order.side)
        here.take(entry)
        self._revalue_side(holder, market, here)
        if not market.bids.orders and not market.asks.orders:
            del holder.orders[instrument.ticker]
            tickers = holder.tickers[instrument.event_ticker]
            del tickers[instrument.ticker]
            if not tickers:
                del holder.tickers[instrument.event_ticker]

    def touch(self, order: Order) -> None:
        """Note the new price or remaining count of a resting order, whose number stays the same."""
        old = self._resting[order.number]
        holder = self.holdings.holders[order.party]
        market = holder.orders[order.instrument.ticker]
        here = market.of(order.side)
        here.take(old)
        entry = self._resting[order.number] = resting(order, order.remaining_e2, False, self.holdings.grid_e6)
        here.put(entry)
        self._revalue_side(holder, market, here)

    def repriced(self) -> None:
        """Revalue all resting orders: a switch, or the fees of an event, have changed."""
        for holder in self.holdings.holders.values():
            for market in holder.orders.values():
                for here in (market.bids, market.asks):
                    entries = [
                        resting(old.order, old.count_e2, False, self.holdings.grid_e6) for old in here.orders
                    ]
                    here.orders, here.opening_e6 = [], 0
                    for entry in entries:
                        self._resting[entry.order.number] = entry
                        here.put(entry)
            self.revalue_all(holder)

    def unpayable(self, party: Party, exchange_index: int) -> list[Order]:
        """Return the resting orders that can no longer be paid for, newest first: those to cancel."""
        holder = self.holdings.holders[party]
        purse = self.holdings.purse(holder, exchange_index)
        if self.holdings.required_e6(purse) <= purse.cash_e6:
            return []
        cancelled: dict[int, Order] = {}
        entries = [
            entry
            for market in holder.orders.values()
            if market.instrument.exchange_index == exchange_index
            for here in (market.bids, market.asks)
            for entry in here.orders
        ]
        entries.sort(key=lambda entry: entry.order.number, reverse=True)
        # If only the larger side counts, an order on the smaller one goes only if nothing else helps.
        for by_sum in (False, True):
            for entry in entries:
                if self.holdings.required_e6(purse) <= purse.cash_e6:
                    break
                if entry.order.number not in cancelled and self._relieves(holder, purse, entry, by_sum):
                    cancelled[entry.order.number] = entry.order
        for order in cancelled.values():  # until dropped, they rest
            market = holder.orders[order.ticker]
            here = market.of(order.side)
            here.put(self._resting[order.number])
            self._revalue_side(holder, market, here)
        return [cancelled[number] for number in sorted(cancelled, reverse=True)]

    def pays(self, order: Order, price_e4: int, count_e2: int) -> bool:
        """Tell whether the cash of an incoming order's party covers one more fill.

        Many fills of one order may cost more in rounding than a single fill of all of it, which `admit`
        assumes.
        """
        holder, instrument = self.holdings.holders[order.party], order.instrument
        cash_e6 = self.holdings.purse(holder, instrument.exchange_index).cash_e6
        if cash_e6 >= 4 * count_e2 * ONE_E4:  # cost, fee, collateral and rounding are at most a dollar each
            return True
        fee_e6 = trade_fee_e6(instrument, price_e4, count_e2, is_taker=True)
        fee_e6, _ = net_fee_e6(
            fee_e6, order.side, price_e4, count_e2, order.fee_accumulator_e6, self.holdings.grid_e6
        )
        held = holder.positions.get(instrument.ticker)
        position_e2 = held.count_e2 if held else 0
        closed_e2 = min(count_e2, closing_e2(order.side, position_e2))
        unit_e4 = price_e4 if order.side == BID else ONE_E4 - price_e4
        cash_e6 += closed_e2 * ONE_E4 - count_e2 * unit_e4 - fee_e6
        if holder.netting and instrument.exclusive:
            after_e2 = position_e2 + (count_e2 if order.side == BID else -count_e2)
            returned = holder.returns.get(instrument.event_ticker) or Returned(instrument.exchange_index)
            others = returned.others(instrument.ticker)
            cash_e6 += returned.returned_if_e6(others, max(0, -after_e2)) - returned.returned_e6
        return cash_e6 >= 0

    def value_e6(self, holder: Holder, instrument: Instrument, here: SideOfMarket) -> int:
        """Return what the orders of one side may cost; `revalue` keeps it up to date."""
        if not here.orders:
            return 0
        held = holder.positions.get(instrument.ticker)
        position_e2 = held.count_e2 if held else 0
        closes = closing_e2(here.side, position_e2) > 0
        returned = None
        if holder.netting and instrument.exclusive and (closes or here.side != BID):
            returned = holder.returns.get(instrument.event_ticker)
        if returned is not None:
            return value_with_return_e6(
                here.side, here.orders, position_e2, returned, instrument.ticker, self.holdings.grid_e6
            )
        return (
            value_e6(here.side, here.orders, position_e2, self.holdings.grid_e6)
            if closes
            else here.opening_e6
        )

    def revalue(self, holder: Holder, market: MarketOrders) -> None:
        """Revalue both sides of a market: the position there, or what is returned, has changed."""
        self._revalue_side(holder, market, market.bids)
        self._revalue_side(holder, market, market.asks)

    def _revalue_side(self, holder: Holder, market: MarketOrders, here: SideOfMarket) -> None:
        now_e6 = self.value_e6(holder, market.instrument, here)
        if now_e6 != here.value_e6:
            there_e6 = (market.asks if here is market.bids else market.bids).value_e6
            purse = self.holdings.purse(holder, market.instrument.exchange_index)
            purse.value_sum_e6 += now_e6 - here.value_e6
            purse.value_max_e6 += max(now_e6, there_e6) - max(here.value_e6, there_e6)
            here.value_e6 = now_e6

    def revalue_event(self, holder: Holder, event_ticker: str) -> None:
        for ticker in holder.tickers.get(event_ticker, ()):
            self.revalue(holder, holder.orders[ticker])

    def revalue_all(self, holder: Holder) -> None:
        for market in holder.orders.values():
            self.revalue(holder, market)

    def _relieves(self, holder: Holder, purse: Purse, entry: Resting, by_sum: bool) -> bool:
        """Take out an order if that lowers the value of what rests; one that only closes stays."""
        market = holder.orders[entry.order.ticker]
        here = market.of(entry.order.side)
        before_e6 = purse.value_sum_e6 if by_sum else self.holdings.required_e6(purse)
        here.take(entry)
        self._revalue_side(holder, market, here)
        if (purse.value_sum_e6 if by_sum else self.holdings.required_e6(purse)) < before_e6:
            return True
        here.put(entry)
        self._revalue_side(holder, market, here)
        return False
